"""What a run found, typed: one shape for the kernel's outputs, a record's metadata, the index, the page, the terminal and ``--json``.

Reading is lenient, for what stands in an old or damaged record is still worth reading: an entry that cannot be read is left out
of its list, and a value falls back to its default. Writing is strict: only these members, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from flowrex_ops.model import MitigationState, Outcome, RunStatus, Severity, Verdict, VerdictKind


def iso(at: datetime | None) -> str | None:
    """UTC with milliseconds, as records write their times; these compare as texts."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds") if at else None


def _readable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """The items that can be read; all at once where nothing is wrong with any."""
    try:
        return read(value)
    except ValidationError:
        found: list[Any] = []
        for item in value if isinstance(value, list | tuple) else ():
            try:
                found += read([item])
            except ValidationError:
                continue
        return tuple(found)


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


def _written_verdict(value: Any) -> Any:
    return {"reason": "", **value, "kind": value.get("verdict")} if isinstance(value, Mapping) else value


def _written_finding(value: Any) -> Any:
    return {"reason": "", **value, "kind": VerdictKind.CONFIRMED} if isinstance(value, Mapping) else value


Items = WrapValidator(_readable)
Level = Annotated[Severity | None, WrapValidator(_or_none)]
Judged = Annotated[Verdict, BeforeValidator(_written_verdict), PlainSerializer(Verdict.to_dict)]
"""A verdict, written as ``{cause, verdict, reason, evidence, severity, share}``."""
Finding = Annotated[Verdict, BeforeValidator(_written_finding), PlainSerializer(Verdict.to_finding)]
"""A confirmed verdict, written as ``{cause, severity, title, reason, evidence, next_steps}``."""
Moment = Annotated[datetime | None, WrapValidator(_or_none), PlainSerializer(iso, return_type=str | None)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return self.model_dump(mode="json", fallback=str)


class MitigationResult(_Part):
    """How far a mitigation came, as it is written; ``targets`` are labels, ``plan_hash`` and what follows are those of its plan."""

    slug: str
    state: MitigationState
    reason: str = ""
    plan_hash: str | None = None
    action: str | None = None
    cost: str | None = None
    undo: str | None = None
    targets: Annotated[tuple[str, ...], Items] = ()

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """What the guard came to."""
        plan = outcome.plan
        if plan is None:
            return cls(slug=outcome.slug, state=outcome.state, reason=outcome.reason)
        return cls(
            slug=outcome.slug,
            state=outcome.state,
            reason=outcome.reason,
            plan_hash=plan.hash,
            action=plan.action,
            cost=plan.cost,
            undo=plan.undo,
            targets=tuple(target.label for target in plan.targets),
        )

    @property
    def applied(self) -> bool:
        """Whether it changed what it was to change."""
        return self.state in (MitigationState.VERIFIED, MitigationState.APPLIED_UNVERIFIED)


class EarlierIncident(_Part):
    """An incident that was like this one: what both have in common, and what ended it. ``likeness`` is a share of 1."""

    incident: str
    record: str = ""
    started: Moment = None
    title: str = ""
    severity: Level = None
    diagnosis: str | None = None
    causes: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    resolved_by: tuple[str, ...] = ()
    likeness: float = 0.0

    @property
    def in_common(self) -> str:
        """In one line: causes and the first signature, or that the same runbook found something."""
        return ", ".join([*self.causes, *self.signatures[:1]]) or "the runbook that is next"


class RunOutcome(_Part):
    """What a run found; it belongs to an ``incident``, or is a ``run`` by itself. ``severity`` and ``impact`` are of the moment, which may be worse than what was found; ``notify`` says who is to know by when, ``users`` how they are once something was changed."""

    incident: str | None = None
    run: str | None = None
    runbook: str = ""
    platform: str = ""
    stack: str = ""
    configuration: dict[str, Any] = {}
    operator: str = ""
    severity: Level = None
    impact: str = ""
    notify: str = ""
    users: str = ""
    diagnosis: str | None = None
    findings: Annotated[tuple[Finding, ...], Items] = ()
    verdicts: Annotated[tuple[Judged, ...], Items] = ()
    next_runbooks: Annotated[tuple[str, ...], Items] = ()
    mitigations: Annotated[tuple[MitigationResult, ...], Items] = ()
    unavailable: Annotated[tuple[str, ...], Items] = ()
    started: Moment = None
    seconds: float | None = None

    @field_validator(
        "runbook", "platform", "stack", "operator", "impact", "notify", "users", "configuration", mode="before"
    )
    @classmethod
    def _empty(cls, value: Any, info: Any) -> Any:
        """Records of earlier versions write null where there is nothing."""
        return value if value is not None else cls.model_fields[info.field_name].get_default(call_default_factory=True)

    @property
    def finding(self) -> Verdict | None:
        """The one that the diagnosis names."""
        return next((one for one in self.findings if one.cause == self.diagnosis), None)


class RecordMetadata(RunOutcome):
    """``metadata.flowrex_ops.record`` of a record: the outcome, and who ran what, where, when, with what result."""

    id: str = ""
    title: str = ""
    status: RunStatus
    reason: str | None = None
    ended: Moment = None
    trigger: str = ""
    host: str = ""
    parameters: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    cells: str = ""
    seen_before: Annotated[tuple[EarlierIncident, ...], Items] = ()
    imported: dict[str, str] = {}

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """What stands in a notebook's metadata; ``None`` for what is no record."""
        try:
            return cls.model_validate(value)
        except ValidationError:
            return None

    @property
    def approved(self) -> list[str]:
        """The slugs of the mitigations that its operator approved, whether by name or by a plan's hash."""
        return [str(one).partition("@")[0] for one in self.parameters.get("approve") or ()]

    @property
    def started_text(self) -> str:
        """``2026-11-01 04:12:33``, UTC."""
        return f"{self.started:%Y-%m-%d %H:%M:%S}" if self.started else "at an unknown time"
