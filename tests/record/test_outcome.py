"""What a run found, gathered output by output."""

from __future__ import annotations

import pytest
from record_bench import confirmed, verdict

from flowrex_ops.archive.outcome import MitigationResult, RecordMetadata
from flowrex_ops.model import MitigationState, RunStatus
from flowrex_ops.record.events import MitigationSeen, VerdictSeen
from flowrex_ops.record.outcome import Findings


class TestFindings:
    """Later answers replace earlier ones; findings are ranked; the first is the diagnosis."""

    def test_a_later_verdict_replaces_the_earlier_one(self) -> None:
        findings = Findings()
        findings.take(confirmed())
        event = findings.take(verdict("db.idle-in-transaction", "ruled out"))
        assert isinstance(event, VerdictSeen)
        assert not event.verdict.confirmed
        assert findings.outcome.findings == ()
        assert [one.kind for one in findings.outcome.verdicts] == ["ruled out"]

    def test_the_worst_comes_first_then_the_nearest_to_the_root(self) -> None:
        findings = Findings()
        for cause, severity in (("db.pool-saturated", "P1"), ("db.lock-contention", "P1"), ("db.unreachable", "P0")):
            findings.take(confirmed(cause, severity))
        assert [f.cause for f in findings.outcome.findings] == [
            "db.unreachable",
            "db.lock-contention",
            "db.pool-saturated",
        ]
        assert (findings.outcome.diagnosis, findings.outcome.severity) == ("db.unreachable", "P0")

    def test_a_later_state_of_a_mitigation_replaces_the_earlier_one(self) -> None:
        findings = Findings()
        for state in ("planned", "verified"):
            event = findings.take({"kind": "mitigation", "slug": "restart-backend", "state": state})
        assert event == MitigationSeen(MitigationResult(slug="restart-backend", state=MitigationState.VERIFIED))
        assert [one.state for one in findings.mitigations] == ["verified"]

    def test_the_closing_outcome_is_the_last_word(self) -> None:
        findings = Findings()
        findings.take(confirmed())
        closing = {"diagnosis": None, "severity": None, "findings": [], "verdicts": [], "platform": "flowrex eu"}
        findings.take({"kind": "outcome", **closing})
        assert findings.outcome.findings == ()
        assert findings.outcome.platform == "flowrex eu"
        assert findings.status is RunStatus.COMPLETE

    @pytest.mark.parametrize("payload", [None, [], "x", {}, {"kind": "verdict"}, {"kind": "verdict", "cause": 3}])
    def test_what_is_malformed_is_ignored(self, payload: object) -> None:
        findings = Findings()
        assert findings.take(payload) is None
        assert findings.outcome.verdicts == ()


class TestReading:
    """What stands in a record, whoever wrote it."""

    def test_what_was_written_is_read_as_it_was(self) -> None:
        findings = Findings()
        findings.take(confirmed())
        findings.take({"kind": "mitigation", "slug": "restart-backend", "state": "verified", "targets": ["backend-1"]})
        record = RecordMetadata(**dict(findings.outcome), status=RunStatus.COMPLETE, id="INC-1/001-x")
        again = RecordMetadata.read(record.to_dict())
        assert again is not None
        assert again.to_dict() == record.to_dict()
        assert again.findings[0].title == "db.idle-in-transaction it is"

    def test_an_entry_that_cannot_be_read_costs_no_other(self) -> None:
        good = {"cause": "db.unreachable", "verdict": "confirmed", "reason": "it is gone"}
        odd = [3, {"verdict": "confirmed"}, {"cause": "db.unreachable", "verdict": "perhaps"}, good]
        record = RecordMetadata.read({"status": "partial", "severity": "P7", "verdicts": odd, "findings": None})
        assert record is not None
        assert ([one.cause for one in record.verdicts], record.findings, record.severity) == (
            ["db.unreachable"],
            (),
            None,
        )

    @pytest.mark.parametrize("value", [None, [], "x", {}, {"status": "odd"}])
    def test_what_is_no_record_is_none(self, value: object) -> None:
        assert RecordMetadata.read(value) is None
