"""A source's time limit is for the source; what this tool needs before it can ask is not counted. What takes a while can be begun early."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from flowrex_ops.model import Reading
from flowrex_ops.reading import FRESH_SECONDS, Source, begin, reads
from flowrex_ops.web import ssl_context


class Quick(Source):
    """Answers at once, once its library is there."""

    name = "quick"
    libraries: ClassVar[tuple[str, ...]] = ("slow_to_import",)

    @reads("an answer")
    def get_answer(self) -> str:
        """What the library gives."""
        import slow_to_import  # type: ignore[import-not-found]  # made by the test

        return str(slow_to_import.ANSWER)


def test_one_that_hangs_keeps_nobody_from_ending() -> None:
    """Three of four replicas answer; the reading ends in its time, and the interpreter with it."""
    asked = "side_by_side(lambda replica: time.sleep(0 if replica else 3600), range(4))"
    program = f"""import time
from flowrex_ops.reading import call_within
from flowrex_ops.side_by_side import side_by_side
try:
    call_within(0.2, lambda: {asked}, "the stack")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("the stack did not answer in 0.2 s")


def test_time_in_which_a_library_loads_is_not_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.5)\nANSWER = 'here'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    reading = Quick(limit_seconds=0.25).get_answer()
    assert (reading.value, reading.error) == ("here", None)
    assert reading.seconds < 0.25


class Counting(Source):
    """Answers how often it was asked, once it may."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(limit_seconds=5)
        self.asked, self.may = 0, threading.Event()
        self.noted: list[Reading[Any]] = []
        self.on_reading = self.noted.append

    @reads("the count", extra_seconds="window_seconds")
    def sample(self, *, window_seconds: float) -> int:
        """How often it was asked until now."""
        self.asked += 1
        self.may.wait(window_seconds)
        return self.asked


class TestBegin:
    """A reading that takes a while is begun before its cell asks for it."""

    def test_is_given_once_and_noted_when_asked_for(self) -> None:
        source = Counting()
        begin(source.sample, window_seconds=4.0)
        assert source.noted == []
        source.may.set()
        assert [source.sample(window_seconds=4.0).value for _ in range(2)] == [1, 2]
        assert [one.value for one in source.noted] == [1, 2]
        assert source.noted[0].asked == source.noted[1].asked == "window_seconds=4.0"

    def test_other_words_are_another_question(self) -> None:
        source = Counting()
        source.may.set()
        begin(source.sample, window_seconds=4.0)
        source.sample(window_seconds=3.0)
        source.sample(window_seconds=4.0)
        assert source.asked == 2

    def test_what_is_no_longer_fresh_is_read_anew(self) -> None:
        source = Counting()
        source.may.set()
        begin(source.sample, window_seconds=4.0)
        now = source.now
        for call in source.begun.values():
            call.join()
        source.now = lambda: now() + timedelta(seconds=FRESH_SECONDS + 1)
        assert source.sample(window_seconds=4.0).value == 2

    def test_a_replay_is_not_asked_early(self) -> None:
        source = Counting()
        source.replayed = Reading
        begin(source.sample, window_seconds=4.0)
        assert source.sample(window_seconds=4.0).value == "window_seconds=4.0"
        assert source.asked == 0


class TestTrusted:
    """httpx is given authorities that were read before."""

    def test_are_read_once(self) -> None:
        assert ssl_context() is ssl_context()

    def test_are_those_that_httpx_would_read(self) -> None:
        names = [authority["subject"] for authority in ssl_context().get_ca_certs()]
        assert names == [authority["subject"] for authority in httpx.create_ssl_context().get_ca_certs()]
        assert names

    def test_follow_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = ssl_context()
        (tmp_path / "own").mkdir()
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "own"))
        assert ssl_context() is not before
