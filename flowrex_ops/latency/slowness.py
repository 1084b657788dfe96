"""Which cause each recent slow request is attributed to: the first rule that fits takes it, and what fits none is unexplained.

Slow is what took ``slow_seconds`` or longer, and more of it than before on the same route. Time in the clients' connections is
theirs. Of the rest a release is asked first; then whatever is seen to hold requests up (a blocked event loop, a throttled
container, waits for the database); then where they are: one replica, one route; last a machine that is short of CPU, which
hits everything alike: where the other routes take no longer than before, something else is waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import pandas as pd

from flowrex_ops.checks import whole
from flowrex_ops.latency.requests import CLIENT, complete, is_slow, share_of
from flowrex_ops.latency.source import LIVENESS_COLUMNS, PAUSE_SECONDS, PRESSURE_COLUMNS
from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.logs.request_counts import largest_share, most, total_of
from flowrex_ops.logs.request_times import TIME_COLUMNS, UNSPLIT
from flowrex_ops.metrics.backend import POOL_COLUMNS
from flowrex_ops.metrics.pools import FULL_SHARE, summarise_pools
from flowrex_ops.model import Reading

Frame = Reading[pd.DataFrame]
USUAL = "usual"
OF_ALL = 0.9
"""A part that has so much of what is slow has it all."""
_CHANCE = 0.001
_QUARTER = 0.25
_STRETCHED = 2.0
_QUIET_SHARE = 0.1
"""Of the recent minutes: so long nothing must have been slow for it to be over."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on something counts; the runbook's parameters. Of fewer than ``few`` requests nothing is ruled out."""

    slow_seconds: float = 1.0
    baseline_minutes: float = 55.0
    deploy_lag_minutes: float = 5.0
    slow_ratio: float = 0.05
    route_ratio: float = 0.2
    least: int = 5
    few: int = 20
    live_seconds: float = 0.5
    pressure_percent: float = 50.0
    throttled_ratio: float = 0.25
    service: str = "backend"


@dataclass(frozen=True, slots=True)
class Release:
    """The newest release in the log, since when it answers, and which were there before."""

    version: str
    at: datetime
    previous: str


class SlowRequests:
    """The readings, and what each slow request is attributed to: worked out once, for all checks. *limits* are those of ``Limits``."""

    def __init__(
        self,
        access: Reading[AccessLog],
        services: Frame,
        pools: Frame,
        sessions: Frame,
        liveness: Frame,
        pressure: Frame,
        **limits: Any,
    ) -> None:
        self.access, self.services, self.pools = access, services, pools
        self.sessions, self.liveness, self.pressure = sessions, liveness, pressure
        self.limits = Limits(**limits)

    @cached_property
    def log(self) -> pd.DataFrame:
        """All requests."""
        return complete(self.access.require().times if self.access.available else _NOTHING)

    @cached_property
    def recent(self) -> pd.DataFrame:
        """Those of the recent minutes."""
        return self.log[self.log["at"] >= self._since] if self.access.available else self.log

    @cached_property
    def before(self) -> pd.DataFrame:
        """Those of the time that they are compared with."""
        begin = self._since - timedelta(minutes=self.limits.baseline_minutes) if self.access.available else None
        return self.log[self.log["at"].lt(self._since) & self.log["at"].ge(begin)] if begin else self.log

    @property
    def _since(self) -> datetime:
        return self.access.require().recent_since.replace(microsecond=0)

    @cached_property
    def slow(self) -> pd.DataFrame:
        """Recent slow requests with their ``cause``; empty where none fits, ``usual`` where as many were slow before."""
        rows = self.recent[is_slow(self.recent)]
        causes = pd.Series("", index=rows.index, dtype=object)
        of_client = rows["slow_in"].eq(CLIENT)
        causes[of_client] = "http.slow-clients"
        for (_, client), part in rows.groupby([rows["route"], of_client]):
            if self._as_before(part, client=bool(client)):
                causes[part.index] = USUAL
        ours = rows[causes.eq("") & rows["slow_in"].ne(UNSPLIT)]
        for cause, mine in self._attribute(ours) if self.counts(ours) else ():
            causes[mine.index] = cause
        return rows.assign(cause=causes)

    def of(self, cause: str) -> pd.DataFrame:
        """What is attributed to one cause."""
        return self.slow[self.slow["cause"].eq(cause)]

    @property
    def total(self) -> int:
        """How many recent requests there were."""
        return total_of(self.recent)

    def counts(self, rows: pd.DataFrame) -> bool:
        """Whether *rows* are more than noise: enough of all requests, or of those on their routes, in the whole time or lately."""
        number = total_of(rows)
        if number < self.limits.least:
            return False
        until = self.access.require().until
        share = largest_share(rows, self.recent, least=self.limits.least, until=until, window=until - self._since)
        return number >= self.limits.slow_ratio * self.total or share >= self.limits.route_ratio

    def over_since(self, rows: pd.DataFrame) -> tuple[datetime, int] | None:
        """When the last of *rows* was slow, and how many requests of these routes were not since; None while it goes on."""
        until, last = self.access.require().until, rows["at"].max()
        if until - last < _QUIET_SHARE * (until - self._since):
            return None
        asked = self.recent[self.recent["route"].isin(rows["route"])]
        during = total_of(asked[asked["at"].between(rows["at"].min(), last)])
        since = total_of(asked[asked["at"].gt(last)])
        share = min(1.0, total_of(rows) / max(1, during))
        return (last.to_pydatetime(), since) if (1 - share / 2) ** since <= _CHANCE else None

    @cached_property
    def release(self) -> Release | None:
        """The release that replaced another within the time looked at."""
        known = self.log[self.log["version"].ne("")]
        first = known.groupby("version")["at"].min()
        if len(first) < 2:  # noqa: PLR2004  # one that replaced another
            return None
        version = str(first.idxmax())
        earlier = known[known["version"].ne(version) & known["at"].lt(first[version])]
        previous = ", ".join(sorted(set(earlier["version"])))
        return Release(version, first[version].to_pydatetime(), previous) if previous else None

    @cached_property
    def blocked(self) -> dict[str, float]:
        """Replicas that did not answer what costs nothing in time, and the share of the time that went by so.

        Of time and not of answers: while a loop is held up one is waited for, and in between there are many.
        """
        rows = whole(self.liveness.require(), LIVENESS_COLUMNS) if self.liveness.available else _NO_LIVENESS
        seconds = pd.to_numeric(rows["seconds"], errors="coerce").dropna()
        found = {}
        for name, part in seconds.groupby(rows["replica"].fillna("").astype(str)):
            late = part[part.ge(self.limits.live_seconds)]
            share = float(late.sum() / (part.sum() + PAUSE_SECONDS * len(part)))
            if len(late) >= 2 and share >= _QUARTER:  # noqa: PLR2004  # once is chance
                found[str(name)] = share
        return found

    @cached_property
    def throttled(self) -> dict[str, float]:
        """Replicas that the kernel held back at their limit, and in which share of its periods."""
        rows = self.pressure_rows[self.pressure_rows["throttled_share"].ge(self.limits.throttled_ratio)]
        return {str(row.replica or ""): float(row.throttled_share) for row in rows.itertuples()}

    @property
    def cpu_pressure(self) -> float | None:
        """Percent of the last minute in which some task of the machine waited for a processor."""
        return self._largest("pressure_avg60")

    @property
    def io_pressure(self) -> float | None:
        """The same for a disk."""
        return self._largest("io_pressure_avg60")

    def _largest(self, column: str) -> float | None:
        known = self.pressure_rows[column].dropna()
        return float(known.max()) if len(known) else None

    @cached_property
    def pressure_rows(self) -> pd.DataFrame:
        """CPU by replica, numbers only."""
        rows = whole(self.pressure.require(), PRESSURE_COLUMNS) if self.pressure.available else _NO_PRESSURE
        numbers = {name: pd.to_numeric(rows[name], errors="coerce") for name in _NUMBERS}
        return rows.assign(**numbers)

    @cached_property
    def waits(self) -> list[tuple[str, str]]:
        """What is seen to wait for the database: who, and how."""
        found = []
        if self.pools.available:
            for row in summarise_pools(whole(self.pools.require(), POOL_COLUMNS)).itertuples():
                if row.waiting > 0 or row.full_share >= FULL_SHARE:
                    text = f"{row.in_use:g} of {row.maximum:g} connections taken, {row.waiting:g} requests wait"
                    found.append((f"pool of {row.replica}", text))
        for row in self.long_statements.head(5).itertuples():
            what = "waits for a lock" if row.wait_event_type == "Lock" else "has run"
            found.append((f"PID {row.pid} of {row.replica}", f"{what} for {row.query_age_seconds:.0f} s: {row.query}"))
        return found

    @cached_property
    def long_statements(self) -> pd.DataFrame:
        """Statements of the backend's replicas that are under way for as long as a slow request, the oldest first."""
        columns = ["pid", "replica", "state", "wait_event_type", "query_age_seconds", "query"]
        rows = whole(self.sessions.require(), columns) if self.sessions.available else pd.DataFrame(columns=columns)
        age = pd.to_numeric(rows["query_age_seconds"], errors="coerce")
        chosen = rows["replica"].fillna("").ne("") & rows["state"].eq("active") & age.ge(self.limits.slow_seconds)
        return rows.assign(query_age_seconds=age)[chosen].sort_values("query_age_seconds", ascending=False)

    def _as_before(self, part: pd.DataFrame, *, client: bool) -> bool:
        """Whether half as many or more of this route's requests were slow in the same way, in most of the time before.

        That time is cut into pieces as long as the recent minutes: one that is fast in a quarter of them is not slow as usual,
        however long ago it became so.
        """
        route = part["route"].iloc[0]
        asked, before = (rows[rows["route"].eq(route)] for rows in (self.recent, self.before))
        slow = before["requests"].where(is_slow(before) & before["slow_in"].eq(CLIENT).eq(client), 0)
        pieces = (self._since - before["at"]) // (self.access.require().until - self._since)
        sums = pd.DataFrame({"slow": slow, "all": before["requests"]}).groupby(pieces).sum()
        sums = sums[sums["all"].ge(self.limits.few / 2)]
        share = total_of(part) / max(1, total_of(asked))
        return len(sums) > 0 and bool((sums["slow"] / sums["all"]).quantile(_QUARTER) >= share / 2)

    def _attribute(self, rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        """Parts of *rows*, each with its cause."""
        if self._began_with_release(rows):
            return [("http.slow-release", rows)]
        found = []
        all_blocked = len(self.blocked) > 1 and set(rows["replica"]) <= set(self.blocked)
        pressed = (self.cpu_pressure or 0.0) >= self.limits.pressure_percent
        held = {
            "host.cpu-saturated": self.throttled,
            "backend.event-loop-blocked": {} if all_blocked and pressed else self.blocked,
        }
        for cause, names in held.items():
            mine = rows[rows["replica"].isin({*names, ""} if names else ())]
            if self.counts(mine):
                found.append((cause, mine))
                rows = rows.drop(mine.index)
        cause = self._cause_of_all(rows, pressed=pressed) if self.counts(rows) else ""
        return [*found, (cause, rows)] if cause else found

    def _cause_of_all(self, rows: pd.DataFrame, *, pressed: bool) -> str:
        """What holds all of *rows* up, by the first rule that fits; empty where none does."""
        disk = (self.io_pressure or 0.0) >= self.limits.pressure_percent
        reads = self.long_statements["wait_event_type"].eq("IO")
        fits = {
            "host.disk-slow": disk and len(reads) > 0 and bool(reads.mean() > _QUARTER),  # what the database waits for
            "http.slow-database": bool(self.waits),
            "http.slow-replica": self._alone(rows, "replica"),
            "http.slow-route": self._alone(rows, "route"),
            "host.cpu-saturated": pressed and self.hits_others(rows),
        }
        return next((cause for cause, there in fits.items() if there), "host.disk-slow" if disk else "")

    def hits_others(self, rows: pd.DataFrame) -> bool:
        """Whether a route beside those of *rows* takes twice as long as before since these are slow, or none can be compared."""
        beside = self.log[~self.log["route"].isin(rows["route"]) & self.log["took"].notna()]
        since = beside["at"].ge(rows["at"].min())
        parts = [
            [part for part in (own[since[own.index]], own[~since[own.index]]) if total_of(part) >= self.limits.few / 2]
            for _, own in beside.groupby("route")
        ]
        pairs = [(_median(two[0]), _median(two[1])) for two in parts if len(two) == 2]  # noqa: PLR2004  # now and before
        return not pairs or any(now >= _STRETCHED * before for now, before in pairs)

    def _began_with_release(self, rows: pd.DataFrame) -> bool:
        """The new release alone is slow, from the beginning, and others on the same routes were not."""
        new = self.release
        if new is None or total_of(rows[rows["version"].eq(new.version)]) < OF_ALL * total_of(rows):
            return False
        same = self.log[self.log["route"].isin(rows["route"])]
        mine, others = same[same["version"].eq(new.version)], same[same["version"].ne(new.version)]
        lag = timedelta(minutes=self.limits.deploy_lag_minutes)
        began = share_of(mine[mine["at"] <= new.at + lag])
        share = share_of(mine[mine["at"] >= self._since])
        return total_of(others) >= self.limits.few / 2 and share_of(others) < share / 2 <= began

    def _alone(self, rows: pd.DataFrame, column: str) -> bool:
        """Whether what is slow is of one replica (one route) alone, while others are asked enough to tell."""
        name, number = most(rows, column)
        if not name or number < OF_ALL * total_of(rows):
            return False
        asked = self.recent[self.recent["route"].isin(rows["route"])] if column == "replica" else self.recent
        others = asked[asked[column].ne(name) & asked[column].ne("")]
        mine = asked[asked[column].eq(name)]
        return total_of(others) >= self.limits.few / 2 and share_of(others) < share_of(mine) / 4


def _median(rows: pd.DataFrame) -> float:
    """How long the request in the middle took."""
    ordered = rows.sort_values("took")
    return float(ordered["took"][ordered["requests"].cumsum().ge(total_of(rows) / 2)].iloc[0])


_NOTHING = pd.DataFrame(columns=TIME_COLUMNS)
_NO_LIVENESS = pd.DataFrame(columns=LIVENESS_COLUMNS)
_NUMBERS = ("pressure_avg60", "throttled_share", "io_pressure_avg60")
_NO_PRESSURE = pd.DataFrame(columns=PRESSURE_COLUMNS)
