"""The last while of readings: whole rounds, bounded, whatever happens to whoever writes them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import in_process
import pytest

from flowrex_ops.archive.readings import SUFFIX, captures_in, readings_of
from flowrex_ops.errors import ParameterError
from flowrex_ops.record import ring

HOUR = timedelta(hours=1)


def name(age: timedelta) -> str:
    """Of a round of so long ago."""
    return f"{datetime.now(UTC) - age:%Y%m%dT%H%M%SZ}"


def earlier(folder: Path, age: timedelta, size: int = 10) -> Path:
    """A round that is there already."""
    file = folder / name(age) / f"001-triage{SUFFIX}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x" * size)
    return file.parent


def reads(folder: Path) -> int:
    """One run that kept its readings."""
    file = folder / "RUN-1" / "evidence" / f"001-triage{SUFFIX}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    (folder / "index.html").write_text("a page")
    return 1


def watch(folder: Path, read: Callable[[Path], int], rounds: int = 1) -> list[str]:
    """What is said of so many rounds."""
    said: list[str] = []

    def stop(_seconds: float) -> None:
        if len(said) >= rounds:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ring.watch(folder, read, interval=timedelta(minutes=1), keep=HOUR, say=said.append, sleep=stop)
    return said


def rounds_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


class TestRing:
    """A folder for each round."""

    def test_keeps_readings_alone(self, tmp_path: Path) -> None:
        said = watch(tmp_path / "ring", reads)
        (kept,) = rounds_of(tmp_path / "ring")
        assert said == [f"kept {kept}"]
        assert [file.name for file in (tmp_path / "ring" / kept).iterdir()] == [f"001-triage{SUFFIX}"]

    def test_what_is_too_old_goes(self, tmp_path: Path) -> None:
        """And nothing else that lies there."""
        old, young = earlier(tmp_path, 2 * HOUR), earlier(tmp_path, HOUR / 2)
        (tmp_path / "notes").mkdir()
        watch(tmp_path, reads)
        assert (old.exists(), young.exists(), (tmp_path / "notes").exists()) == (False, True, True)

    def test_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The oldest give way."""
        monkeypatch.setattr(ring, "MOST_BYTES", 25)
        kept = [earlier(tmp_path, HOUR / part) for part in (2, 3, 4)]
        watch(tmp_path, reads)
        assert [path.exists() for path in kept] == [False, True, True]

    def test_a_full_disk_costs_the_round(self, tmp_path: Path) -> None:
        """And the next one is taken again."""
        said = watch(tmp_path, _on_a_full_disk_once(), rounds=2)
        assert said[0] == "this round is left out: [Errno 28] No space left on device"
        assert rounds_of(tmp_path) == [said[1].removeprefix("kept ")]

    def test_a_round_without_its_readings_is_none(self, tmp_path: Path) -> None:
        """A run ends well on a full disk, but for what it was to keep."""
        said = watch(tmp_path, lambda folder: reads(folder) + 1)
        assert said == ["this round is left out: 1 of 2 runs kept no readings; see whether the disk is full"]
        assert rounds_of(tmp_path) == []

    def test_killed(self, tmp_path: Path) -> None:
        """With kill -9 in the middle of a round: it is not there, the others are, and the next one is."""
        young = earlier(tmp_path, HOUR / 2)
        code = (
            "import sys, time; from datetime import timedelta; from pathlib import Path; from flowrex_ops.record.ring import watch\n"
            "def read(folder):\n (folder / 'half').write_text('x'); print('reading', flush=True); time.sleep(60)\n"
            "watch(Path(sys.argv[1]), read, interval=timedelta(1), keep=timedelta(1), say=print)"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"reading\n"
            with pytest.raises(ParameterError, match="another capture writes there; name another folder"):
                watch(tmp_path, reads)
            os.kill(process.pid, signal.SIGKILL)
        assert (tmp_path / ".partial" / "runs" / "half").exists()
        assert len(captures_in(tmp_path)) == 1
        watch(tmp_path, reads)
        assert len(rounds_of(tmp_path)) == 2
        assert young.exists()
        assert not (tmp_path / ".partial").exists()


def _on_a_full_disk_once() -> Callable[[Path], int]:
    asked: list[Path] = []

    def read(folder: Path) -> int:
        asked.append(folder)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return reads(folder)

    return read


def test_the_newest_round_is_judged(tmp_path: Path) -> None:
    """Of the runbook that is asked for; one that is being written is none."""
    old, young, half = (earlier(tmp_path, HOUR / part) for part in (2, 3, 4))
    os.utime(old / f"001-triage{SUFFIX}", (0, time.time() - 60))
    half.rename(tmp_path / ".partial")
    assert [file.parent for file in captures_in(tmp_path)] == [old, young]
    for round_ in (old, young):
        (round_ / f"001-triage{SUFFIX}").write_bytes(b"")
    with pytest.raises(ParameterError, match="has no readings of error_rate; give a runbook that was captured there"):
        readings_of(str(tmp_path), tmp_path, "error_rate")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--interval", "often"), "--interval: 'often' is not a span of time"),
        (("--interval", "1m", "--keep", "0m"), "--keep: '0m' is not a span of time"),
        (("--runbook", "service_restart"), "--runbook: 'service_restart' judges no causes; give one of "),
    ],
)
def test_bad_input(given: tuple[str, ...], says: str, tmp_path: Path) -> None:
    code, _, err = in_process.call("capture", "-o", "ring", *given, cwd=tmp_path)
    assert (code, says in err) == (2, True), err
