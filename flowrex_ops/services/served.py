"""What users feel once a mitigation has acted: replicas that are ready, pools with room, requests that are served.

That a session is gone is no cure by itself: an application may keep its slot in the pool for whoever took it out.

Verified is what users feel: a session that is gone is no cure where the pool keeps its slot. Replicas ready, no pool
full, under 5 % of the last seconds' requests failing; what cannot be seen does not count as healthy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from flowrex_ops.errors import VerificationError
from flowrex_ops.health import judge_replicas
from flowrex_ops.metrics.pools import FULL_SHARE, summarise_pools
from flowrex_ops.mitigation_context import Context
from flowrex_ops.services.impact import Thresholds
from flowrex_ops.waiting import wait_until

SERVED_SECONDS = 15.0
"""So long users may go on to feel it: requests that waited fail, pools connect anew."""
_RECENT_SECONDS = 3.0
_ENOUGH = 10
"""Of fewer requests a share says nothing."""
_SERVER_ERROR = 500


@dataclass(slots=True)
class Felt:
    """One look: what is ``well``, what is ``left`` of the trouble, and what could not be seen."""

    well: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.left:
            return f"not healthy yet: {'; '.join(self.left)}"
        unseen = [f"not seen: {what}" for what in self.unseen]
        return f"healthy again: {'; '.join([*self.well, *unseen])}" if self.well else f"not known: {'; '.join(unseen)}"


def look(context: Context) -> Felt:
    """Readiness, pools and the last seconds of requests."""
    felt = Felt()
    _readiness(context, felt)
    _pools(context, felt)
    _requests(context, felt)
    return felt


def require_served(get_felt: Callable[[], Felt], *, next_cure: str, seconds: float = SERVED_SECONDS) -> str:
    """What shows that users are served; VerificationError with what is left, and the next cure, where they are not."""
    felt = Felt()

    def served() -> bool:
        nonlocal felt
        felt = get_felt()
        return bool(felt.well) and not felt.left

    if wait_until(served, seconds=seconds):
        return "; ".join([*felt.well, *(f"not seen: {what}" for what in felt.unseen)])
    if felt.left:
        raise VerificationError(
            f"what was planned is done, but users still feel it after {seconds:g} s: {'; '.join(felt.left)}; next: {next_cure}"
        )
    raise VerificationError(f"whether users are served could not be seen: {'; '.join(felt.unseen)}; look by hand")


def _readiness(context: Context, felt: Felt) -> None:
    judged = judge_replicas(context.services.get_replicas(), context.backend.get_readiness())
    ready = [row.replica for row in judged.itertuples() if row.ready is True]
    felt.left += [f"{row.replica} is not ready ({row.says})" for row in judged.itertuples() if row.ready is False]
    if ready and len(ready) == len(judged):
        felt.well.append(f"all {len(ready)} replicas are ready")
    elif unknown := sorted(str(row.replica) for row in judged.itertuples() if row.ready is None):
        felt.unseen.append(f"{', '.join(unknown)} does not tell whether it is ready")
    elif judged.empty:
        felt.unseen.append("no replica tells whether it is ready")


def _pools(context: Context, felt: Felt) -> None:
    pools = context.backend.sample_pools(window_seconds=1.0, every_seconds=0.25)
    summary = summarise_pools(pools.require()) if pools.available else None
    reported = summary.dropna(subset=["in_use", "maximum"]) if summary is not None else None
    if reported is None or reported.empty:
        felt.unseen.append(f"no pool gauges ({pools.error or 'none tells its size'})")
        return
    full = reported[reported["full_share"].ge(FULL_SHARE)]
    felt.left += [
        f"the pool of {row.replica} is full ({row.in_use:.0f} of {row.maximum:.0f})" for row in full.itertuples()
    ]
    if full.empty:
        felt.well.append(f"none of {len(reported)} pools is full")


def _requests(context: Context, felt: Felt) -> None:
    since = timedelta(seconds=_RECENT_SECONDS)
    access = context.access.get_requests(since=since, recent_minutes=_RECENT_SECONDS / 60)
    if not access.available:
        felt.unseen.append(f"no requests at the proxy ({access.error})")
        return
    rows = access.require().requests
    total, failed = int(rows["requests"].sum()), int(rows.loc[rows["status"].ge(_SERVER_ERROR), "requests"].sum())
    said = f"{failed} of {total} requests of the last {_RECENT_SECONDS:g} s fail"
    if total < _ENOUGH:
        felt.unseen.append(f"{total} requests in the last {_RECENT_SECONDS:g} s are too few")
    elif failed / total >= Thresholds().error_share:
        felt.left.append(said)
    else:
        felt.well.append(said)
