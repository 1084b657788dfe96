"""The checklist before an incident is over: what the tool saw, and what people said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.lifecycle import load, open_new
from flowrex_ops.incident.resolution import answer, watched
from flowrex_ops.incident.resolve import Closing
from flowrex_ops.incident.watch import NOT_WELL, UNKNOWN, WELL, watch
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
        ((WELL, WELL, WELL), 2),
        ((WELL, WELL, NOT_WELL, WELL, WELL), 1),
        ((WELL, WELL, UNKNOWN, WELL), 0),
        ((WELL, WELL, "", "", "", "", WELL, WELL), 1),
        ((), 0),
    ],
    ids=["well", "a relapse", "unknown is not well", "a hole", "never"],
)
def test_watched_without_a_break(states: tuple[str, ...], minutes: float) -> None:
    """Only the last stretch counts, and only where it was really looked at."""
    assert watched(looks(*states)) == timedelta(minutes=minutes)


def test_a_verification_from_before_the_last_change_does_not_count() -> None:
    """What was well before a mitigation says nothing of after."""
    lines = [
        event(1, kind="health-run", state="well", record="x", text="nothing found"),
        event(2, kind="mitigation-result"),
    ]
    verified = {item.name: item.done for item in answer(lines)}["verified"]
    assert verified is False
    again = [*lines, event(3, kind="health-run", state="well", record="y", text="nothing found")]
    assert {item.name: item.done for item in answer(again)}["verified"] is True


class TestClosing:
    """Nothing is resolved by forgetting, and what is done is kept."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return open_new(tmp_path, {"title": "x"}, by="ada", redactor=Redactor())

    def closing(self, folder: Path) -> Closing:
        settings = Settings(outputs=folder.parent)
        return Closing(folder, settings, "", by="ada", minutes=30, tell=lambda _line: None)

    def test_open_items_keep_it_open(self, folder: Path) -> None:
        closing = self.closing(folder)
        closing.confirm(["fix-deployed"])
        assert [item.name for item in closing.items if item.done] == ["fix-deployed"]
        assert closing.close(closing.items) is False
        assert load(folder.parent, folder.name)[1].over is False

    def test_anyway_says_why(self, folder: Path) -> None:
        closing = self.closing(folder)
        assert closing.close(closing.items, anyway="a false alarm") is True
        last = timeline.read(folder)[-1]["text"]
        assert last.endswith("open: a false alarm")
        assert load(folder.parent, folder.name)[1].over is True

    def test_an_unknown_item_is_refused(self, folder: Path) -> None:
        with pytest.raises(ParameterError, match="'verified' is not an item that people confirm"):
            self.closing(folder).confirm(["verified"])


class TestWatch:
    """Every look is on the timeline; it ends at the first relapse."""

    def run(self, tmp_path: Path, *states: str) -> tuple[bool, list[str]]:
        folder = open_new(tmp_path, {"title": "x"}, by="ada", redactor=Redactor())
        left = iter(states)
        settings = Settings(outputs=tmp_path)
        ended = watch(folder, settings, minutes=0.0005, every_seconds=0.02, look=lambda _s: (next(left), "seen"))
        return ended, [line["state"] for line in timeline.read(folder) if line["kind"] == "watch"]

    def test_well_long_enough(self, tmp_path: Path) -> None:
        ended, seen = self.run(tmp_path, *[WELL] * 50)
        assert (ended, set(seen)) == (True, {WELL})

    def test_ends_at_a_relapse(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, UNKNOWN, WELL, NOT_WELL, WELL) == (False, [UNKNOWN, WELL, NOT_WELL])
