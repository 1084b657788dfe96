"""Two runs held against one another, and the archive over time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from generated import BEGIN, about, add_incident, metadata

from flowrex_ops.archive.diff import TABLES, compare_records
from flowrex_ops.archive.outcome import RecordMetadata
from flowrex_ops.archive.trend import get_trend
from flowrex_ops.charts import plot_trend
from flowrex_ops.errors import ParameterError

END = BEGIN + timedelta(days=10)


def judged(name: str, value: str, **more: Any) -> RecordMetadata:
    """A record whose one verdict has one piece of evidence."""
    evidence = [{"name": name, "value": value, "source": "postgres"}]
    verdict = {"cause": "db.max-connections", "verdict": "ruled out", "reason": "as read", "evidence": evidence}
    return about("database_connections", None, BEGIN, verdicts=[verdict], **more)


class TestDiff:
    """What changed, and nothing else."""

    def test_a_record_does_not_differ_from_itself(self) -> None:
        record = about("error_rate", "http.new-exception", BEGIN)
        found = compare_records(record, record)
        assert [found[table] for table in TABLES] == [[]] * 4

    def test_findings_appear_and_go(self) -> None:
        before = about("database_connections", "db.lock-contention", BEGIN)
        after = about("database_connections", "db.pool-saturated", BEGIN)
        found = compare_records(before, after)
        assert {row["cause"]: row["change"] for row in found["findings"]} == {
            "db.pool-saturated": "appeared",
            "db.lock-contention": "gone",
        }
        verdicts = {row["cause"]: (row["before"], row["after"]) for row in found["verdicts"]}
        assert verdicts["db.pool-saturated"] == ("ruled out", "confirmed")

    def test_numbers_change_by_so_much(self) -> None:
        found = compare_records(judged("connections", "18 of 40 in use"), judged("connections", "31 of 40 in use"))
        assert found["numbers"] == [
            {
                "cause": "db.max-connections",
                "name": "connections",
                "before": "18 of 40 in use",
                "after": "31 of 40 in use",
                "change": "+13",
            }
        ]

    def test_parameters_versions_and_configuration(self) -> None:
        before = judged("a", "1", configuration={"backend": "3 replicas, 1.4.2"})
        after = judged("a", "1", configuration={"backend": "5 replicas, 1.5.0"}, parameters={"since": "1h"})
        rows = compare_records(before, after)["configuration"]
        assert {"name": "configuration: backend", "before": "3 replicas, 1.4.2", "after": "5 replicas, 1.5.0"} in rows
        assert {row["name"] for row in rows} > {"parameters: idle_after_seconds", "parameters: since"}

    def test_two_runbooks_are_refused(self) -> None:
        with pytest.raises(ParameterError, match="give two records of the same runbook"):
            compare_records(about("error_rate", None, BEGIN), about("triage", None, BEGIN))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """The same cause on the first day, and twice on the fourth; the last is not resolved."""
    for number, (hours, minutes) in enumerate([(1, 30), (73, 60), (75, None)]):
        at = BEGIN + timedelta(hours=hours)
        resolved = (at + timedelta(minutes=minutes)).isoformat() if minutes else None
        record = metadata("database_connections", "db.lock-contention", at, n=2)
        add_incident(tmp_path, at, [record, record], number=number, resolved=resolved)
    return tmp_path


class TestTrend:
    """How often, and how long."""

    def test_periods_have_gaps_too(self, outputs: Path) -> None:
        found = get_trend(outputs, "db.lock-contention", since=BEGIN, until=END)
        assert list(found.periods["times"]) == [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
        assert list(found.incidents["minutes"]) == [30.0, 60.0, 0.08]
        assert list(found.incidents["resolved"]) == [True, True, False]
        assert set(found.incidents["resolved_by"]) == {"terminate-root-blocker"}

    @pytest.mark.parametrize(("days", "period"), [(10, "day"), (100, "week"), (1000, "month")])
    def test_long_times_are_coarse(self, outputs: Path, days: int, period: str) -> None:
        found = get_trend(outputs, "database_connections", since=END - timedelta(days=days), until=END)
        assert (found.period, int(found.periods["times"].sum())) == (period, 3)

    def test_never(self, outputs: Path) -> None:
        found = get_trend(outputs, "tls.expired", until=END)
        assert (len(found.incidents), found.to_dict()["kind"]) == (0, "cause")

    def test_neither_cause_nor_runbook(self, outputs: Path) -> None:
        with pytest.raises(ParameterError, match=r"did you mean 'db.lock-contention'"):
            get_trend(outputs, "lock-contention")

    def test_chart(self, outputs: Path) -> None:
        """Axes are labelled with units, bars with how long it took."""
        found = get_trend(outputs, "db.lock-contention", since=BEGIN, until=END)
        (axes,) = plot_trend(found.periods, what=found.what, period=found.period).axes
        assert (axes.get_title(), axes.get_ylabel()) == ("db.lock-contention: 3 times", "times a day")
        assert [text.get_text() for text in axes.texts if text.get_text()] == ["30", "30"]

    def test_chart_of_nothing(self, outputs: Path) -> None:
        found = get_trend(outputs, "tls.expired", until=END)
        assert plot_trend(found.periods, what="x", period=found.period).axes[0].get_title() == "x: 0 times"
