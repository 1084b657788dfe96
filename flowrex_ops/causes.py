"""The catalogue of causes: stable slugs that tests, alerts and archived records depend on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowrex_ops.model import NextStep, Severity


@dataclass(frozen=True, slots=True)
class Cause:
    """What can be wrong: its slug, what it means, its usual severity, and what to do about it.

    ``rank`` orders findings of equal severity: the lower, the nearer to the root.
    """

    slug: str
    title: str
    meaning: str
    severity: Severity
    rank: int
    next_steps: tuple[NextStep, ...] = ()


def _mitigation(slug: str, text: str) -> NextStep:
    return NextStep("mitigation", slug, text)


def _runbook(slug: str, text: str) -> NextStep:
    return NextStep("runbook", slug, text)


_DATABASE = (
    Cause(
        "db.unreachable",
        "PostgreSQL cannot be reached",
        "No connection is answered, so nothing that needs the database works.",
        Severity.P0,
        10,
        (
            NextStep("command", "flowrex-ops doctor", "see which source does not answer, and why"),
            NextStep("command", "docker-compose -f docker-compose.prod.yml logs --tail=100 postgres", "read its log"),
        ),
    ),
    Cause(
        "db.orphaned-prepared-transaction",
        "A prepared transaction was never finished",
        "It keeps its locks without any session, also across a restart of PostgreSQL.",
        Severity.P1,
        20,
        (
            NextStep(
                "command",
                "COMMIT PREPARED '<gid>' or ROLLBACK PREPARED '<gid>'",
                "decide with the owner of the transaction; no tool can know which is right",
            ),
        ),
    ),
    Cause(
        "db.lock-contention",
        "Sessions wait behind one root blocker",
        "One session holds a lock that the others need; they hold their connections while they wait.",
        Severity.P1,
        30,
        (_mitigation("terminate-root-blocker", "end the session at the root of the blocking tree"),),
    ),
    Cause(
        "db.idle-in-transaction",
        "Sessions sit idle inside an open transaction",
        "The application took connections, opened transactions and never ended them: the pool leaks.",
        Severity.P1,
        40,
        (
            _mitigation("terminate-idle-in-transaction", "end these sessions; their pool gets the slots back"),
            _mitigation("restart-backend", "restart the replicas that leak, one at a time"),
        ),
    ),
    Cause(
        "db.long-running-query",
        "Queries run far longer than they should",
        "Each holds its connection for as long as it runs.",
        Severity.P1,
        50,
        (_mitigation("cancel-long-queries", "cancel these queries; their sessions stay"),),
    ),
    Cause(
        "db.max-connections",
        "PostgreSQL has no connection slots left",
        "New connections are refused (SQLSTATE 53300) whatever the pools allow.",
        Severity.P1,
        60,
        (NextStep("person", "owner of the largest holder", "ask for its connections to be closed"),),
    ),
    Cause(
        "db.pool-saturated",
        "The backend's connection pools are full",
        "All pooled connections are taken and requests wait, though nothing is stuck in PostgreSQL.",
        Severity.P1,
        70,
        (
            _mitigation("restart-backend", "only where connections leak: gives each replica a new pool"),
            _runbook("error_rate", "see whether a few clients send most of the requests"),
        ),
    ),
)

CAUSES: dict[str, Cause] = {cause.slug: cause for cause in _DATABASE}

RUNBOOK_CAUSES: dict[str, tuple[str, ...]] = {
    "database_connections": tuple(cause.slug for cause in _DATABASE),
}
"""The causes that each runbook tells apart; runbook lint holds the notebooks to it."""


def rank_of(slugs: Iterable[str]) -> list[str]:
    """*slugs* ordered from the root of the trouble to its symptoms; unknown ones last."""
    return sorted(slugs, key=lambda slug: (CAUSES[slug].rank if slug in CAUSES else 10_000, slug))
