"""How severe, who by when, and which runbook is next: the playbook's tables as examples."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from certificate_examples import certificate, dead, endpoint
from certificate_examples import reading as certificate_reading
from database_examples import silent
from triage_examples import alerts, disks, front_door, health, issues, survey, usage

from flowrex_ops.causes import find_causes
from flowrex_ops.checks import confirmed
from flowrex_ops.incident.checklist import answer_checklist
from flowrex_ops.incident.severity import assess_severity, channel, escalate, notify_by
from flowrex_ops.incident.symptoms import Survey, find_symptoms, rank_runbooks
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.metrics.backend import POOL_COLUMNS
from flowrex_ops.model import Reading, Severity
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.services.checks import check_disk_full
from flowrex_ops.services.impact import Thresholds

NOTICED = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
NEW = (True,)
ANSWERED_BY = {"HighErrorRate": "error_rate"}


def log(**counts: int) -> Reading[LogSummary]:
    return Reading("logs", "backend log", LogSummary(lines=100, requests=100, **counts))


def limits(used: int) -> Reading[ConnectionLimits]:
    known: dict[str, Any] = dict.fromkeys(ConnectionLimits.__dataclass_fields__, 0)
    return Reading(
        "postgres",
        "limits",
        ConnectionLimits(**known | {"used": used, "max_connections": 40, "reserved": 3, "server_version": "18.6"}),
    )


def trades(filled: int, failed: int) -> Reading[pd.DataFrame]:
    rows = [("filled", filled, filled + failed), ("failed", failed, filled + failed)]
    return Reading("postgres", "trades", pd.DataFrame(rows, columns=["status", "recent", "all_recent"]))


def pools(in_use: int) -> Reading[pd.DataFrame]:
    row = {"at": NOTICED, "replica": "backend-1", "error": None, "in_use": in_use, "maximum": 5}
    return Reading("backend", "pool gauges", pd.DataFrame([row], columns=POOL_COLUMNS))


WELL = survey(pools=pools(1), log=log(), limits=limits(10), trades=trades(50, 0), usage=usage(**{"backend-1": 0.3}))


def seen(**changes: Any) -> pd.DataFrame:
    return find_symptoms(replace(WELL, **changes), alerts=ANSWERED_BY)


@pytest.mark.parametrize(
    ("changes", "runbook", "severity"),
    [
        ({"front_door": front_door(502)}, "error_rate", "P0"),
        ({"health": health(503, 503)}, "database_connections", "P1"),
        ({"health": health(200, 503)}, "database_connections", "P2"),
        ({"pools": pools(5)}, "database_connections", "P1"),
        ({"log": log(pool_errors=3)}, "database_connections", "P1"),
        ({"log": log(slow_requests=3)}, "slow_responses", "P2"),
        ({"log": log(server_errors=8)}, "error_rate", "P2"),
        ({"log": log(server_errors=60)}, "error_rate", "P1"),
        ({"proxy_log": log(server_errors=60)}, "error_rate", "P1"),
        ({"limits": limits(37)}, "database_connections", "P1"),
        ({"trades": trades(50, 2)}, "trade_failures", "P1"),
        ({"trades": trades(0, 9)}, "trade_failures", "P0"),
        ({"usage": usage(**{"backend-1": 0.9})}, "memory_usage", "P2"),
        ({"issues": issues(*NEW)}, "error_rate", "P2"),
        ({"alerts": alerts("HighErrorRate")}, "error_rate", "P1"),
    ],
)
def test_symptom_leads_to_its_runbook(changes: dict[str, Any], runbook: str, severity: str) -> None:
    ranked = rank_runbooks(seen(**changes))
    assert ranked[["runbook", "severity"]].to_numpy().tolist() == [[runbook, severity]]


def test_nothing_seen_ranks_nothing() -> None:
    assert rank_runbooks(seen()).empty


def test_most_severe_first() -> None:
    ranked = rank_runbooks(seen(trades=trades(0, 9), log=log(slow_requests=3)))
    assert ranked["runbook"].tolist() == ["trade_failures", "slow_responses"]


@pytest.mark.parametrize(
    ("answer", "certificate", "runbooks"),
    [
        (front_door(None, "no answer: timed out"), dead("timeout"), ["error_rate"]),
        (front_door(200), dead("timeout"), ["certificate_expiry"]),
        (front_door(None, "no answer: timed out"), endpoint(verify_code=10), ["certificate_expiry", "error_rate"]),
    ],
    ids=["the edge is silent", "only TLS is", "it is refused besides"],
)
def test_an_edge_that_is_silent_is_no_matter_of_certificates(
    answer: Reading[pd.DataFrame], certificate: dict[str, Any], runbooks: list[str]
) -> None:
    ranked = rank_runbooks(seen(front_door=answer, certificates=certificate_reading(certificate)))
    assert ranked["runbook"].tolist() == runbooks


@pytest.mark.parametrize(("days", "runbooks"), [(60, []), (-1, ["certificate_expiry"])])
def test_certificate_of_an_authority_that_nobody_named(days: float, runbooks: list[str]) -> None:
    """Whether clients know a private authority cannot be told from here; that its certificate has ended can."""
    unknown = endpoint(certificate(days, signed_by=None), verify_code=20, trust_code=20)
    assert rank_runbooks(seen(certificates=certificate_reading(unknown)))["runbook"].tolist() == runbooks


def test_slow_requests_are_the_databases_while_pools_are_full() -> None:
    ranked = rank_runbooks(seen(pools=pools(5), log=log(slow_requests=3, server_errors=8)))
    assert ranked["runbook"].tolist() == ["database_connections", "error_rate", "slow_responses"]


def test_nearest_to_the_root_first_where_severity_is_equal() -> None:
    """Full pools make trades fail, and both make 5xx."""
    ranked = rank_runbooks(seen(pools=pools(5), log=log(server_errors=60), trades=trades(1, 2)))
    assert ranked["runbook"].tolist() == ["database_connections", "trade_failures", "error_rate"]


def test_a_full_database_comes_before_the_trading_that_it_blocks() -> None:
    """P0 and P1 are both answered at once."""
    ranked = rank_runbooks(seen(pools=pools(5), trades=trades(0, 9)))
    assert ranked["runbook"].tolist() == ["database_connections", "trade_failures"]
    assert ranked["severity"].tolist() == ["P1", "P0"]


def test_what_cannot_be_seen_is_unknown() -> None:
    symptoms = seen(pools=silent("pool gauges"))
    assert symptoms.set_index("symptom").loc["connection pools are full", "seen"] == "unknown"
    assert assess_severity(symptoms, []).unknown == assess_severity(seen(), []).unknown + 1


@pytest.mark.parametrize(("word", "level"), [("critical", "P1"), ("warning", "P2"), ("", "P2"), ("odd", "P2")])
def test_alerts_in_words_of_other_platforms(word: str, level: str) -> None:
    assert seen(alerts=alerts("KubePodCrashLooping", severity=word)).iloc[0]["severity"] == level


@pytest.mark.parametrize("word", ["none", "info"])
def test_an_alert_that_calls_nobody_is_no_symptom(word: str) -> None:
    """Watchdog fires always: a healthy platform stays healthy."""
    assert "yes" not in set(seen(alerts=alerts("Watchdog", severity=word))["seen"])


def test_alert_that_no_runbook_answers_is_seen_and_leads_nowhere() -> None:
    symptoms = seen(alerts=alerts("Unanswered"))
    assert symptoms.iloc[0]["symptom"] == "alert Unanswered"
    assert rank_runbooks(symptoms).empty


@pytest.mark.parametrize(
    ("door", "replicas", "severity"),
    [
        (front_door(301), health(200, 200), []),
        (front_door(401), health(200, 200), []),
        (front_door(404), health(404, 404), []),
        (silent("answer to users"), silent("readiness"), []),
        (front_door(503), health(503, 503), ["P1", "P1"]),
        (front_door(503), health(None, None, refused=True), ["P0", "P1"]),
        (front_door(503), health(200, 200), ["P1"]),
        (front_door(None, "no answer: timed out"), health(503, 503), ["P1", "P1"]),
        (front_door(None, "no answer: timed out"), health(200, 200), ["P0"]),
        (front_door(502), health(200, 200), ["P0"]),
    ],
)
def test_only_who_gets_nothing_is_a_complete_outage(
    door: Reading[pd.DataFrame], replicas: Reading[pd.DataFrame], severity: list[str]
) -> None:
    """A redirect and a login are answers, a 404 and a source that is missing are unknown; busy replicas are a part."""
    found = seen(front_door=door, health=replicas)
    found = found[found["runbook"].isin(["error_rate", "database_connections"]) & found["seen"].eq("yes")]
    assert found["severity"].tolist() == severity


def test_one_page_says_one_thing() -> None:
    """A disk at 85 % with the threshold there is confirmed and wants a look; what is a symptom is no green line."""
    tight = Thresholds(full_share=0.8, memory_share=0.5)
    changed = replace(WELL, disks=disks(0.85), usage=usage(**{"backend-1": 0.6}), log=log(server_errors=2))
    states = answer_checklist(changed, tight).set_index("item")["state"]
    symptoms = find_symptoms(changed, alerts={}, thresholds=tight).set_index("symptom")["seen"]
    assert check_disk_full(changed.disks, full_share=tight.full_share).confirmed
    assert states[["disk", "memory", "error lines"]].tolist() == ["unhealthy", "unhealthy", "healthy"]
    assert symptoms[["memory near its limit", "5xx among the backend's answers"]].tolist() == ["yes", "no"]


def test_postgresql_that_cannot_be_reached_is_as_severe_as_its_runbook_says() -> None:
    """``db.unreachable`` is P0 there, so it is here."""
    gone: Reading[ConnectionLimits] = Reading("postgres", "limits", error="connection refused", code="unreachable")
    ranked = rank_runbooks(seen(limits=gone))
    assert ranked[["runbook", "severity"]].to_numpy().tolist() == [
        ["database_connections", find_causes()["db.unreachable"].severity.value]
    ]


class TestSeverity:
    def test_nothing_wrong(self) -> None:
        assessment = assess_severity(seen(), [])
        assert assessment.severity is None
        assert "no incident" in str(assessment)

    def test_worst_decides_and_is_the_reason(self) -> None:
        assessment = assess_severity(seen(front_door=front_door(502), log=log(slow_requests=3)), [])
        assert assessment.severity is Severity.P0
        assert "users get no good answer" in assessment.reason

    def test_findings_count_too(self) -> None:
        assessment = assess_severity(seen(), [confirmed("service.down", "redis is down")])
        assert assessment.severity is find_causes()["service.down"].severity

    def test_unknown_is_said(self) -> None:
        assert "may be worse" in str(assess_severity(seen(pools=silent("pool gauges")), []))


@pytest.mark.parametrize(
    ("severity", "due"),
    [
        (Severity.P0, ["immediately", "immediately", "04:27 UTC"]),
        (Severity.P1, ["immediately", "04:27 UTC", "05:12 UTC"]),
        (Severity.P2, ["05:12 UTC", "08:12 UTC", "not notified"]),
        (Severity.P3, ["Mon 09:00 UTC", "not notified", "not notified"]),
    ],
)
def test_escalation_matrix(severity: Severity, due: list[str]) -> None:
    """The playbook's, as times of day; in one line those who are notified."""
    assert escalate(severity, noticed=NOTICED)["by"].tolist() == due
    said = notify_by(severity, noticed=NOTICED)
    assert said.count(",") + 1 == len([by for by in due if by != "not notified"])
    assert all(by in said for by in due if by != "not notified")


def test_contacts_stand_beside_their_roles() -> None:
    reported = escalate(Severity.P0, noticed=NOTICED, contacts={"team_lead": "+49 30 1", "On-call engineer": "@ada"})
    assert reported["contact"].tolist() == ["@ada", "+49 30 1", ""]


def test_nobody_is_notified_of_nothing() -> None:
    assert escalate(None, noticed=NOTICED).empty
    assert notify_by(None, noticed=NOTICED) == ""


def test_channel() -> None:
    assert channel(NOTICED + timedelta(hours=1)) == "#incident-20260131-0512"


class TestChecklist:
    def test_every_item_is_answered(self) -> None:
        answers = answer_checklist(WELL).set_index("item")["state"]
        assert answers.drop(["certificates", "dashboards: targets"]).eq("healthy").all()
        assert answers[["certificates", "dashboards: targets"]].eq("unknown").all()

    @pytest.mark.parametrize("part", [part for part in Survey.__dataclass_fields__ if part not in ("pools", "trades")])
    def test_silent_source_is_unknown_not_healthy(self, part: str) -> None:
        """And nothing else changes."""
        before, after = answer_checklist(WELL), answer_checklist(replace(WELL, **{part: silent(part)}))
        changed = before["state"].ne(after["state"]) | after["state"].eq("unknown")
        assert set(after.loc[changed, "state"]) == {"unknown"}
        assert after["state"].eq("unknown").sum() >= 2
