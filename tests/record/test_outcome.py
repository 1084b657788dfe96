"""What a run found, gathered output by output."""

from __future__ import annotations

import pytest
from record_bench import confirmed, verdict

from flowrex_ops.model import RunStatus
from flowrex_ops.record.events import MitigationSeen, VerdictSeen
from flowrex_ops.record.outcome import Findings


class TestFindings:
    """Later answers replace earlier ones; findings are ranked; the first is the diagnosis."""

    def test_a_later_verdict_replaces_the_earlier_one(self) -> None:
        findings = Findings()
        findings.take(confirmed())
        event = findings.take(verdict("db.idle-in-transaction", "ruled out"))
        assert isinstance(event, VerdictSeen)
        assert event.finding is None
        assert findings.findings == []
        assert [v["verdict"] for v in findings.verdicts] == ["ruled out"]

    def test_the_worst_comes_first_then_the_nearest_to_the_root(self) -> None:
        findings = Findings()
        for cause, severity in (("db.pool-saturated", "P1"), ("db.lock-contention", "P1"), ("db.unreachable", "P0")):
            findings.take(confirmed(cause, severity))
        assert [f["cause"] for f in findings.findings] == ["db.unreachable", "db.lock-contention", "db.pool-saturated"]
        assert (findings.diagnosis, findings.severity) == ("db.unreachable", "P0")

    def test_a_later_state_of_a_mitigation_replaces_the_earlier_one(self) -> None:
        findings = Findings()
        for state in ("planned", "verified"):
            event = findings.take({"kind": "mitigation", "slug": "restart-backend", "state": state})
        assert event == MitigationSeen({"slug": "restart-backend", "state": "verified"})
        assert [m["state"] for m in findings.mitigations] == ["verified"]

    def test_the_closing_outcome_is_the_last_word(self) -> None:
        findings = Findings()
        findings.take(confirmed())
        closing = {"diagnosis": None, "severity": None, "findings": [], "verdicts": [], "platform": "flowrex eu"}
        findings.take({"kind": "outcome", **closing})
        assert findings.to_metadata()["findings"] == []
        assert findings.to_metadata()["platform"] == "flowrex eu"
        assert findings.status is RunStatus.COMPLETE

    @pytest.mark.parametrize("payload", [None, [], "x", {}, {"kind": "verdict"}, {"kind": "verdict", "cause": 3}])
    def test_what_is_malformed_is_ignored(self, payload: object) -> None:
        findings = Findings()
        assert findings.take(payload) is None
        assert findings.to_metadata()["verdicts"] == []
