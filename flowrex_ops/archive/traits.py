"""What a record is found and recognized by, drawn from its metadata alone; everything in it is redacted already.

Error signatures come from evidence that counts lines of a log or rows of failed trades (``12 requests``, ``3 recent
tracebacks``) or says where an error was raised: its text with numbers and quoted values masked, and the exception's name.

A record's services are those that its confirmed causes are about (``db.*``: postgres, ``tls.*``: nginx …), those that evidence,
titles and targets of mitigations name (``backend-2`` is a replica of backend), and the platform it ran against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowrex_ops.model import MitigationState, VerdictKind

ACTED = (MitigationState.VERIFIED.value, MitigationState.APPLIED_UNVERIFIED.value)
SERVICES = (
    "backend",
    "frontend",
    "postgres",
    "redis",
    "nginx",
    "certbot",
    "prometheus",
    "grafana",
    "sentry",
    "broker",
)
"""The playbook's services, and what is outside."""
_ABOUT = (
    ("memory.redis-", "redis"),
    ("memory.host-", "host"),
    ("memory.", "backend"),
    ("db.", "postgres"),
    ("tls.", "nginx"),
    ("ws.proxy-", "nginx"),
    ("http.upstream-", "nginx"),
    ("ws.", "backend"),
    ("http.", "backend"),
    ("trades.broker-", "broker"),
    ("trades.database", "postgres"),
    ("trades.", "backend"),
    ("external.", "outside"),
)
_SIGNED = re.compile(r"\d+ |raised at$|error$|refusal$")
_ACCESS_LOG = "access log"
_MASKED = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+\b|\b[0-9a-f]{12,}\b|\d+(?:\.\d+)*")
_EXCEPTION = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Timeout|Interrupt|Detected|Violation|Refused|Connections)\b")
_NAMED = re.compile(rf"\b({'|'.join(SERVICES)})\b")
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Traits:
    """``causes``: confirmed, the diagnosis first. ``suggests``: runbooks that triage named. ``resolved_by``: mitigations that acted."""

    causes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    resolved_by: tuple[str, ...] = ()

    def items(self) -> list[tuple[str, str]]:
        """``(kind, value)`` of each, as the index keeps them."""
        kinds = {
            "cause": self.causes,
            "service": self.services,
            "signature": self.signatures,
            "suggests": self.suggests,
            "resolved": self.resolved_by,
        }
        return [(kind, value) for kind, values in kinds.items() for value in values]


def find_traits(record: Mapping[str, Any]) -> Traits:
    """The traits of ``metadata.flowrex_ops.record``; members that are missing or of another shape count as empty."""
    findings, mitigations = dicts(record.get("findings")), dicts(record.get("mitigations"))
    causes = tuple(dict.fromkeys(str(finding["cause"]) for finding in findings if finding.get("cause")))
    return Traits(
        causes=causes,
        services=tuple(sorted(_services(record, causes))),
        signatures=tuple(dict.fromkeys(_signatures(record))),
        suggests=tuple(str(slug) for slug in record.get("next_runbooks") or ()),
        resolved_by=tuple(str(one.get("slug")) for one in mitigations if one.get("state") in ACTED),
    )


def find_words(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What full text search looks through: title, findings, evidence and signatures, mitigations.

    What was ruled out is not in it: each record names every cause that it ruled out.
    """
    findings = dicts(record.get("findings"))
    about = [f"{f.get('cause')} {f.get('severity') or ''} {f.get('title')}. {f.get('reason') or ''}" for f in findings]
    evidence = [f"{e.get('name')}: {e.get('value')}" for e in _evidence(record)]
    mitigations = [
        f"{m.get('slug')} {m.get('state')}: {m.get('reason')} {m.get('action') or ''} {' '.join(map(str, m.get('targets') or ()))}"
        for m in dicts(record.get("mitigations"))
        if m.get("plan_hash")
    ]
    title = " ".join(str(record.get(key) or "") for key in ("title", "runbook", "operator", "trigger", "reason"))
    return title, "\n".join(about), "\n".join(evidence), "\n".join(mitigations)


def mask(text: str) -> str:
    """*text* without what differs from one occurrence to the next: numbers, addresses in memory, quoted values."""
    return " ".join(_MASKED.sub("#", text).split())[:_LONGEST]


def dicts(value: object) -> list[Mapping[str, Any]]:
    """The dicts in a list; whatever else stands there is left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _evidence(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of findings, and of hypotheses that stayed open: what was seen counts also where it proved nothing."""
    for finding in dicts(record.get("findings")):
        yield from dicts(finding.get("evidence"))
    for verdict in dicts(record.get("verdicts")):
        if verdict.get("verdict") == VerdictKind.INCONCLUSIVE.value:
            yield from dicts(verdict.get("evidence"))


def _signatures(record: Mapping[str, Any]) -> Iterator[str]:
    for evidence in _evidence(record):
        value = str(evidence.get("value") or "")
        if _SIGNED.match(str(evidence.get("name"))) and evidence.get("source") != _ACCESS_LOG and value:
            yield mask(value)
            yield from _EXCEPTION.findall(value)


def _services(record: Mapping[str, Any], causes: tuple[str, ...]) -> set[str]:
    found = {str(record["platform"])} if record.get("platform") else set()
    for cause in causes:
        found.update(service for prefix, service in _ABOUT if cause.startswith(prefix) and _first(prefix, cause))
    texts = [f"{f.get('title')}" for f in dicts(record.get("findings"))]
    texts += [str(evidence.get("name")) for f in dicts(record.get("findings")) for evidence in dicts(f.get("evidence"))]
    texts += [str(target) for m in dicts(record.get("mitigations")) for target in m.get("targets") or ()]
    return found | {name for text in texts for name in _NAMED.findall(text)}


def _first(prefix: str, cause: str) -> bool:
    """Whether no more exact rule stands before that of *prefix*."""
    return next(known for known, _ in _ABOUT if cause.startswith(known)) == prefix
