"""What is asked of all incidents at once: what is left to do, and how long they took."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import in_process
import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.incident.escalation import remind
from flowrex_ops.incident.history import measure_incidents, open_actions
from flowrex_ops.incident.incident import close, open_new, read_incident
from flowrex_ops.incident.severity import update_due
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

TODAY = date(2026, 11, 30)
TABLE = """## Action items
| Action | Owner | Due date | Status |
|---|---|---|---|
| limit reports | ada | 2026-11-01 | open |
| alert on slots | grace | 2026-12-24 | In progress |
| write it down |  |  | open |
| restart | ada | 2026-10-01 | Done |
"""
WHO = {"by": "ada", "redactor": Redactor([])}


def opened(outputs: Path, text: str = "", **facts: object) -> Path:
    folder = open_new(outputs, {"title": "Orders time out", **facts}, **WHO)
    if text:
        (folder / "post_mortem.md").write_text(text, encoding="utf-8")
    return folder


def test_what_is_not_done_is_listed_the_earliest_first(tmp_path: Path) -> None:
    folder = opened(tmp_path, TABLE)
    opened(tmp_path)
    found, unreadable = open_actions(tmp_path, today=TODAY)
    assert (found["action"].tolist(), unreadable) == (["limit reports", "alert on slots", "write it down"], [])
    assert found["overdue"].tolist() == [True, False, False]
    assert set(found["incident"]) == {folder.name}


def test_one_that_cannot_be_read_is_named_and_costs_no_other(tmp_path: Path) -> None:
    opened(tmp_path, TABLE)
    damaged = opened(tmp_path, TABLE.replace("2026-12-24", "soon"))
    found, unreadable = open_actions(tmp_path, today=TODAY)
    assert len(found) == 3
    assert unreadable == [f"{damaged.name}: post_mortem.md line 5: 'soon' is not a date; write it as 2026-01-31"]


@pytest.mark.parametrize(("text", "code", "says"), [(TABLE, 1, "OVERDUE 2026-11-01"), ("", 0, "nothing is left to do")])
def test_overdue_ends_with_one(text: str, code: int, says: str, tmp_path: Path) -> None:
    opened(tmp_path / "outputs", text)
    reported, out, _ = in_process.call("incident", "actions", cwd=tmp_path)
    assert (reported, says in out) == (code, True), out


def test_medians_by_severity_and_of_how_many(tmp_path: Path) -> None:
    """One that nobody has resolved counts, and is told as no trace."""
    now = datetime.now(UTC)
    for minutes in (10, 30):
        folder = opened(tmp_path, severity="P1", started=(now - timedelta(minutes=minutes)).isoformat())
        close(folder, text="over", **WHO)
    opened(tmp_path, severity="P1")
    found = measure_incidents(tmp_path).set_index(["severity", "time"])
    resolve = found.loc[("P1", "resolve")]
    assert (resolve["incidents"], resolve["of"]) == (3, 2)
    assert resolve["median_seconds"] == pytest.approx(20 * 60, abs=30)
    assert measure_incidents(tmp_path, since=now + timedelta(hours=1)).empty


def test_a_promised_update_is_reminded_of_once(tmp_path: Path) -> None:
    """As was promised; afterwards by how severe it is."""
    promise = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    folder = opened(tmp_path, severity="P1", roles={"commander": "ada"}, next_update=promise.isoformat())
    said = [remind(Settings(outputs=tmp_path)) for _ in range(2)]
    assert [[line for line in lines if "an update of" in line] for lines in said] == [
        [
            f"an update of {folder.name} (P1) was due at {promise:%H:%M} UTC; flowrex-ops message update {folder.name} --send"
        ],
        [],
    ]
    timeline.append(
        folder, {"kind": "message", "text": "message 001-update written", "message": "001-update", "by": "ada"}
    )
    due = update_due(read_incident(folder), timeline.read(folder))
    assert due is not None
    assert due - datetime.now(UTC) == pytest.approx(timedelta(minutes=30), abs=timedelta(minutes=1))
