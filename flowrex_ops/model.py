"""The words of this project as plain frozen data; imports nothing of ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")

OUTCOME_MIME_TYPE = "application/vnd.flowrex-ops.outcome+json"
"""MIME type of a record's machine-readable outputs; each output carries ``{"kind": ..., ...}``."""


class Severity(StrEnum):
    """The playbook's levels; the lower the number, the worse."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    def at_least(self, other: Severity) -> bool:
        """Whether this level is as severe as *other*, or worse."""
        return self.value <= other.value

    @classmethod
    def of_word(cls, word: str) -> Severity | None:
        """What an alert's label ``severity`` means, whatever its words; ``None`` where they are not known."""
        word = word.strip().lower()
        return next((severity for severity, words in _SEVERITY_WORDS.items() if word in words.split()), None)


_SEVERITY_WORDS = {
    Severity.P0: "p0 fatal emergency disaster",
    Severity.P1: "p1 critical crit page error high urgent sev1 major",
    Severity.P2: "p2 warning warn medium sev2 average minor",
    Severity.P3: "p3 info informational low notice sev3 none debug",
}
"""Prometheus prescribes nothing; its own rules say critical, warning, info, and none for what always fires (Watchdog)."""


class VerdictKind(StrEnum):
    """The three answers to a hypothesis, never two; in the order in which people are shown them."""

    CONFIRMED = "confirmed"
    INCONCLUSIVE = "inconclusive"
    RULED_OUT = "ruled out"


MARKS: dict[str, str] = {VerdictKind.CONFIRMED: "●", VerdictKind.INCONCLUSIVE: "?", VerdictKind.RULED_OUT: "○"}
"""The one set of marks, for whoever sees no colour: in the notebook, the banner, the page and on the terminal."""


class MitigationState(StrEnum):
    """How far a mitigation came."""

    PLANNED = "planned"
    REFUSED = "refused"
    APPLIED_UNVERIFIED = "applied-unverified"
    VERIFIED = "verified"
    FAILED = "failed"


CHANGED = (MitigationState.VERIFIED, MitigationState.APPLIED_UNVERIFIED, MitigationState.FAILED)
"""States in which something was changed, the best first."""


class RunStatus(StrEnum):
    """What became of a run.

    ``partial``: finished, but something stayed inconclusive for want of a source.
    ``failed``: a cell raised or timed out, or the kernel died. ``interrupted``: the runner was stopped or killed.
    """

    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """One bounded answer of one source, or the reason why there is none.

    ``value`` is ``None`` exactly when ``error`` is set. ``code`` is the source's own error code (SQLSTATE, HTTP status).
    ``truncated`` says that the source had more rows than the limit, ``asked`` with which arguments it was asked.
    """

    source: str
    what: str
    value: T | None = None
    error: str | None = None
    code: str | None = None
    truncated: bool = False
    seconds: float = 0.0
    taken_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    asked: str = ""

    @property
    def available(self) -> bool:
        """Whether the source answered."""
        return self.error is None

    def require(self) -> T:
        """The value; ``ValueError`` when the source did not answer."""
        if self.value is None:
            raise ValueError(f"{self.source} gave no {self.what}: {self.error}")
        return self.value


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact behind a verdict: a name, its value as text with its unit, and where it was read."""

    name: str
    value: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do about a finding: a mitigation's slug, a runbook's slug, or a link."""

    kind: str
    target: str
    text: str = ""

    @property
    def label(self) -> str:
        """What to type, or whom to ask; that ends in a colon, so that nobody types it."""
        return f"{self.target[:1].upper()}{self.target[1:]}:" if self.kind in ("person", "link") else self.target


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check's answer on one cause, always with its reason; a confirmed one is a finding."""

    cause: str
    kind: VerdictKind
    reason: str
    evidence: tuple[Evidence, ...] = ()
    severity: Severity | None = None
    title: str = ""
    next_steps: tuple[NextStep, ...] = ()
    share: float = 0.0
    """Of what goes wrong, how much this cause explains; findings of one severity are ranked by it."""

    @property
    def confirmed(self) -> bool:
        """Whether this verdict is a finding."""
        return self.kind is VerdictKind.CONFIRMED

    def with_steps(self, wanted: Callable[[NextStep], bool]) -> Verdict:
        """This verdict with those of its cause's next steps alone that fit what was found."""
        return replace(self, next_steps=tuple(filter(wanted, self.next_steps)))

    def to_dict(self) -> dict[str, Any]:
        """``{cause, verdict, reason, evidence, severity}`` as a record and ``run --json`` carry it."""
        return {
            "cause": self.cause,
            "verdict": self.kind.value,
            "reason": self.reason,
            "evidence": [{"name": e.name, "value": e.value, "source": e.source} for e in self.evidence],
            "severity": self.severity.value if self.severity else None,
            "share": round(self.share, 4),
        }

    def to_finding(self) -> dict[str, Any]:
        """``{cause, severity, title, evidence, next_steps}`` as a record and ``run --json`` carry it."""
        return {
            "cause": self.cause,
            "severity": self.severity.value if self.severity else None,
            "title": self.title or self.reason,
            "reason": self.reason,
            "evidence": [{"name": e.name, "value": e.value, "source": e.source} for e in self.evidence],
            "next_steps": [{"kind": s.kind, "target": s.target, "text": s.text} for s in self.next_steps],
        }


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a mitigation acts on.

    ``identity`` is what must still be true of it at the moment of acting, such as
    ``(pid, backend_start)`` of a PostgreSQL backend or a container's id; ``label`` is for people.
    """

    identity: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mitigation will do, to exactly what, at which cost, and how it is undone."""

    slug: str
    action: str
    cost: str
    undo: str
    targets: tuple[Target, ...] = ()
    causes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Twelve hex digits over slug, action and targets: the plan that a person approved, and no other."""
        payload = [self.slug, self.action, [list(t.identity) for t in self.targets]]
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a mitigation came and why, as it lands in the record and on the timeline."""

    slug: str
    state: MitigationState
    reason: str
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """What a replica was made from, as far as the stack tells: it says which part a service plays, whatever its name.

    ``environment`` and ``command`` may hold passwords, so neither shows in a ``repr``.
    """

    image: str = ""
    command: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict, repr=False)
    hostnames: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    """Where volumes and folders are mounted that it may write to."""
    mounts: tuple[str, ...] = ()
    """``source:destination`` of volumes with a name and of folders; of one that it alone has, the destination."""
    image_id: str = ""
    """Of what its image's name stood for when it was made."""
    health_check: str = field(default="", repr=False)
    """The command by which it is asked for its health."""
    restart_policy: str = ""
    """Docker's: ``no`` and ``on-failure`` let it end; empty where nobody tells."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One running (or not running) instance of a service.

    ``identity`` changes when it is restarted; ``addresses`` are those that other services see it come from;
    ``restarts`` counts those after it ended by itself, since it was last started by hand. ``created_at`` is when its container
    was made, which a restart leaves as it is.
    """

    service: str
    name: str
    state: str
    health: str
    identity: str
    started_at: datetime | None = None
    restarts: int = 0
    exit_code: int | None = None
    version: str = ""
    addresses: tuple[str, ...] = ()
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    oom_killed: bool = False
    created_at: datetime | None = None
    definition: Definition = Definition()

    @property
    def running(self) -> bool:
        """Whether its process exists."""
        return self.state == "running"

    def reach(self, port: int) -> tuple[str, int] | None:
        """Where its *port* can be reached from here: published, else at its own address, though no image EXPOSEs it."""
        own = (self.addresses[0], port) if self.addresses else None
        return self.ports.get(port, own)


@dataclass(frozen=True, slots=True)
class Usage:
    """What one running replica uses. ``memory_limit_bytes`` is ``None`` where it has no limit of its own.

    ``memory_bytes`` leaves out page cache that can be given back at once, ``cache_bytes`` is the page cache still in it,
    which the kernel gives back when memory is short; ``cpu_seconds`` is a running total.
    """

    service: str
    name: str
    memory_bytes: int
    memory_limit_bytes: int | None
    cpu_seconds: float
    cache_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """One filesystem as a service sees it; ``where`` is the replica or the machine, ``total_bytes`` what it may hold.

    ``inodes_total`` is 0 where it has no fixed number of them, None where it does not tell; ``read_only`` where it is, and was
    mounted to be written to.
    """

    where: str
    mount: str
    used_bytes: int
    total_bytes: int
    inodes_used: int | None = None
    inodes_total: int | None = None
    read_only: bool | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """What a command that ran inside a replica said; both streams are cut at a limit."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a service's log. ``at`` is ``None`` where the line carries no time that can be read."""

    service: str
    replica: str
    text: str
    at: datetime | None = None


def authority(host: str, port: int) -> str:
    """``host:port`` as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def worst(severities: Sequence[Severity]) -> Severity | None:
    """The most severe of *severities*, or ``None``."""
    return min(severities, key=lambda s: s.value, default=None)


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """Where to connect, and as whom clients know it. Without ``server_name`` no SNI is sent and no name is checked.

    ``certificate`` is the PEM file that the server is meant to serve, where it can be read from here.
    """

    host: str
    port: int
    server_name: str | None = None
    certificate: Path | None = None

    @property
    def label(self) -> str:
        """``flowrex.app:443``, with the address behind it where that is another."""
        where = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return where if self.server_name in (None, self.host) else f"{self.server_name} at {where}"
