"""The checklist before an incident is over: what the tool saw, and what people said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.events import HEALTHY, UNHEALTHY, UNKNOWN, merge_events
from flowrex_ops.incident.incident import load, open_new
from flowrex_ops.incident.resolution import Resolution, answer, judge_run, watched
from flowrex_ops.model import RunStatus, Severity, Verdict, VerdictKind
from flowrex_ops.record.result import RunResult
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

BEGAN = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)


def looks(*states: str) -> list[dict[str, Any]]:
    """One look a minute; an empty state is a minute in which nobody looked."""
    return [
        {"kind": "watch", "state": state, "interval_seconds": 60, "at": (BEGAN + timedelta(minutes=minute)).isoformat()}
        for minute, state in enumerate(states)
        if state
    ]


def event(minute: float, **facts: Any) -> dict[str, Any]:
    return {"at": (BEGAN + timedelta(minutes=minute)).isoformat(), **facts}


@pytest.mark.parametrize(
    ("states", "minutes"),
    [
        ((HEALTHY, HEALTHY, HEALTHY), 2),
        ((HEALTHY, HEALTHY, UNHEALTHY, HEALTHY, HEALTHY), 1),
        (("well", "well", "not well", "well", HEALTHY), 1),
        ((HEALTHY, HEALTHY, UNKNOWN, HEALTHY), 0),
        ((HEALTHY, HEALTHY, "", "", "", "", HEALTHY, HEALTHY), 1),
        ((), 0),
    ],
    ids=["healthy", "a relapse", "in the words of before", "unknown is not healthy", "a hole", "never"],
)
def test_watched_without_a_break(states: tuple[str, ...], minutes: float) -> None:
    """Only the last stretch counts, and only where it was really looked at."""
    assert watched(looks(*states)) == timedelta(minutes=minutes)


def test_a_verification_from_before_the_last_change_does_not_count() -> None:
    """What was healthy before a mitigation says nothing of after."""
    lines = [
        event(1, kind="health-run", state="well", record="x", text="nothing found"),
        event(2, kind="mitigation-result"),
    ]
    verified = {item.name: item.done for item in answer(lines)}["verified"]
    assert verified is False
    again = [*lines, event(3, kind="health-run", state="well", record="y", text="nothing found")]
    assert {item.name: item.done for item in answer(again)}["verified"] is True


class TestResolving:
    """Nothing is resolved by forgetting, and what is done is kept."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return open_new(tmp_path, {"title": "x"}, by="ada", redactor=Redactor())

    def work(self, folder: Path) -> Resolution:
        settings = Settings(outputs=folder.parent)
        return Resolution(folder, settings, "", by="ada", minutes=30, tell=lambda _line: None)

    def test_open_items_keep_it_open(self, folder: Path) -> None:
        work = self.work(folder)
        work.confirm(["fix-deployed"])
        assert [item.name for item in work.items if item.done] == ["fix-deployed"]
        assert work.close(work.items) is False
        assert load(folder.parent, folder.name)[1].over is False

    def test_force_says_why(self, folder: Path) -> None:
        work = self.work(folder)
        assert work.close(work.items, force="a false alarm") is True
        last = timeline.read(folder)[-1]["text"]
        assert last.endswith("open: a false alarm")
        assert load(folder.parent, folder.name)[1].over is True

    def test_an_unknown_item_is_refused(self, folder: Path) -> None:
        with pytest.raises(ParameterError, match="'verified' is not an item that people confirm"):
            self.work(folder).confirm(["verified"])


class TestWatch:
    """Every look is on the timeline; it ends at the first relapse."""

    def run(
        self, tmp_path: Path, *states: str, wait: float = 9, said: list[str] | None = None
    ) -> tuple[bool, list[str]]:
        said = [] if said is None else said
        folder = open_new(tmp_path, {"title": "x"}, by="ada", redactor=Redactor())
        left = iter(states)
        work = Resolution(
            folder, Settings(outputs=tmp_path), "", by="ada", minutes=0.0005, tell=said.append, wait_minutes=wait
        )
        ended = work.watch(every_seconds=0.02, look=lambda _settings: (next(left), "seen"))
        return ended, [line["state"] for line in timeline.read(folder) if line["kind"] == "watch"]

    def test_healthy_long_enough(self, tmp_path: Path) -> None:
        ended, seen = self.run(tmp_path, *[HEALTHY] * 50)
        assert (ended, set(seen)) == (True, {HEALTHY})

    def test_waits_until_it_is_healthy(self, tmp_path: Path) -> None:
        """What the log still tells of before a cure ends nothing, is no relapse, and is said."""
        said: list[str] = []
        ended, seen = self.run(tmp_path, *[UNHEALTHY] * 20, *[HEALTHY] * 50, said=said)
        assert (ended, seen[:20], set(seen[20:])) == (True, [UNHEALTHY] * 20, {HEALTHY})
        assert (said[0], said[-1]) == ("  not healthy yet, waiting: seen", "  healthy: seen")
        (folder,) = tmp_path.glob("INC-*")
        reported = merge_events(timeline.read(folder), pd.DataFrame(columns=["at", "event"]))["event"]
        assert "unhealthy" not in " ".join(reported)

    def test_waits_no_longer_than_it_may(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, *[UNHEALTHY] * 9, wait=0) == (False, [UNHEALTHY])

    def test_ends_at_a_relapse(self, tmp_path: Path) -> None:
        expected = [UNKNOWN, HEALTHY, UNHEALTHY]
        assert self.run(tmp_path, *expected, HEALTHY) == (False, expected)


@pytest.mark.parametrize(("minutes", "says"), [(1 / 3, "healthy for 0 of 20 s"), (30, "healthy for 1 of 30 min")])
def test_how_long_it_was_healthy_is_said_in_its_unit(minutes: float, says: str) -> None:
    """Whoever watches for twenty seconds reads seconds."""
    seen = looks(HEALTHY, HEALTHY) if minutes > 1 else []
    assert {item.name: item.says for item in answer(seen, minutes=minutes)}["watched"] == f"{says}; give --watch"


def test_who_confirmed_stands_on_the_timeline(tmp_path: Path) -> None:
    """With the name, in brackets."""
    folder = open_new(tmp_path, {"title": "x"}, by="ada", redactor=Redactor())
    work = Resolution(folder, Settings(outputs=tmp_path), "", by="ada", minutes=30, tell=lambda _line: None)
    work.confirm(["fix-deployed"])
    assert timeline.read(folder)[-1]["text"] == "the permanent fix is deployed (confirmed by ada)"


@pytest.mark.parametrize(("unknown", "state"), [("monitoring.blind", HEALTHY), ("service.disk-full", UNKNOWN)])
def test_a_platform_that_nobody_watches_may_be_healthy(tmp_path: Path, unknown: str, state: str) -> None:
    """Whether an alert would come says nothing of users; every other unknown keeps the incident open."""
    metadata = RecordMetadata(
        status=RunStatus.PARTIAL,
        verdicts=(
            Verdict("service.down", VerdictKind.RULED_OUT, "all run"),
            Verdict(unknown, VerdictKind.INCONCLUSIVE, "not known"),
        ),
    )
    assert judge_run(RunResult.of(metadata, tmp_path, tmp_path))[0] == state


@pytest.mark.parametrize(("severity", "state"), [(Severity.P3, HEALTHY), (Severity.P2, UNHEALTHY)])
def test_a_disk_that_is_full_tomorrow_keeps_no_incident_open(tmp_path: Path, severity: Severity, state: str) -> None:
    """A finding for later, of which no user feels anything; within four hours it is worse."""
    found = Verdict("service.disk-filling", VerdictKind.CONFIRMED, "gone in 20 h", severity=severity)
    metadata = RecordMetadata(status=RunStatus.COMPLETE, severity=severity, findings=(found,), verdicts=(found,))
    assert judge_run(RunResult.of(metadata, tmp_path, tmp_path))[0] == state
