"""Which cause each recent failed request is attributed to, and whether what fails of it still does.

One error is one trouble, however many requests it costs: what the proxy made by itself is judged request by request,
the rest by signature, and the first rule that fits takes the group (a flood, the release, one replica, a dependency,
one route, new). So a flood does not accuse PostgreSQL, and a bug beside it stays a bug.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from flowrex_ops.http.context import (
    SLACK,
    Deploy,
    Flood,
    Limits,
    find_deploy,
    find_flood,
    is_new,
    quiet_of,
    started_at,
    versions_of,
)
from flowrex_ops.http.failures import (
    complete,
    exhausted_of,
    failures,
    limited_of,
    recent_of,
    recent_requests,
    unreached_of,
)
from flowrex_ops.logs.access_log import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVER_ERROR, UNAVAILABLE, AccessLog
from flowrex_ops.logs.error_log import ErrorLog
from flowrex_ops.logs.request_counts import largest_share, most, total_of
from flowrex_ops.logs.tracebacks import FILES
from flowrex_ops.model import Reading, Severity
from flowrex_ops.services.impact import of_failures

ALMOST_ALL = 0.9
_CHANCE = 0.001
"""So unlikely must it be that a failure goes on though none was seen lately, before it is called over."""
_CHANCE_OF_REPLICA = 0.01


@dataclass(frozen=True, slots=True)
class Attribution:
    """Every recent failed request with its ``cause`` (empty: fits none): ``FAILURE_COLUMNS`` and ``cause``.

    ``requests``: all recent ones, whatever came of them, ``total`` their number, ``by_route`` that of each route.
    """

    rows: pd.DataFrame
    requests: pd.DataFrame
    total: int
    by_route: Mapping[str, int]
    deploy: Deploy | None
    flood: Flood | None
    limits: Limits
    until: datetime | None

    def of(self, cause: str) -> pd.DataFrame:
        """What is attributed to one cause."""
        return self.rows[self.rows["cause"].eq(cause)]

    @property
    def unexplained(self) -> pd.DataFrame:
        """What fits no cause, or one that has too few to count."""
        few = [str(cause) for cause, part in self.rows.groupby("cause") if not cause or not self.counts(part)]
        return self.rows[self.rows["cause"].isin(few)]

    def counts(self, rows: pd.DataFrame) -> bool:
        """Whether *rows* are more than noise: enough of all requests, or of those on their routes, in the whole time or lately."""
        limits, number = self.limits, total_of(rows)
        if number < limits.least:
            return False
        window = timedelta(minutes=limits.recent_minutes)
        share = largest_share(rows, self.requests, least=limits.least, until=self.until, window=window)
        return number / max(1, self.total) >= limits.failed_ratio or share >= limits.route_ratio

    @property
    def severity(self) -> Severity:
        """How severe it is that requests fail, by their share since they do: an outage that began just now is no half of one."""
        going_on = [part for _, part in self.rows.groupby("cause") if self.counts(part) and not self.over_since(part)]
        begin = min((part["at"].min() for part in going_on), default=None)
        asked = self.requests[self.requests["at"].ge(begin)] if begin is not None else self.requests
        if total_of(asked) < self.limits.few:
            asked, begin = self.requests, None
        failed = total_of(self.rows[self.rows["at"].ge(begin)] if begin is not None else self.rows)
        return of_failures(failed, max(total_of(asked), failed))

    def over_since(self, rows: pd.DataFrame, *, quiet: timedelta | None = None) -> tuple[datetime, int] | None:
        """When the last of *rows* failed, and how many requests on these routes went well since; ``None`` while it goes on.

        For less long than *quiet* without a failure nothing is over.
        """
        if self.until is None or rows.empty:
            return None
        asked = self.requests[self.requests["route"].isin(rows["route"])]
        first, last = rows["at"].min(), rows["at"].max()
        quiet = quiet or quiet_of(self.limits)
        if self.until - last < quiet:
            return None
        during = total_of(asked[asked["at"].between(first, last)])
        since = total_of(asked[asked["at"].gt(last) & asked["status"].lt(SERVER_ERROR)])
        share = min(1.0, total_of(rows) / max(1, during))
        return (_plain(last), since) if (1 - share / 2) ** since <= _CHANCE else None


def attribute(
    access: Reading[AccessLog], errors: Reading[ErrorLog], services: Reading[pd.DataFrame], limits: Limits
) -> Attribution:
    """Attribute each recent failed request to one cause, by the first rule that fits.

    What the proxy made itself is judged request by request; what the backend made, by signature: one error is one trouble,
    whatever number of requests it costs.

    The checks of one runbook ask of the same readings one after the other; the last answer is kept for them.
    """
    asked = (access, errors, services)
    if not (_last and _last[0].limits == limits and all(one is two for one, two in zip(_last[1], asked, strict=True))):
        _last[:] = [_attribute(access, errors, services, limits), asked]
    found: Attribution = _last[0]
    return found


_last: list[Any] = []
"""The last answer and the readings that it is of."""


def _attribute(
    access: Reading[AccessLog], errors: Reading[ErrorLog], services: Reading[pd.DataFrame], limits: Limits
) -> Attribution:
    requests = recent_requests(access, errors)
    by_route = {str(route): int(number) for route, number in requests.groupby("route")["requests"].sum().items()}
    deploy = find_deploy(access, services, limits)
    flood = find_flood(access, limits)
    rows = failures(access, errors)
    causes = pd.Series("", index=rows.index, dtype=object)
    made_by_proxy = rows["made_by"].eq("proxy")
    causes[made_by_proxy & unreached(rows)] = "http.upstream-unreachable"
    for cause, status, lines in _by_error_log(access.require()) if access.available else ():
        meanwhile = rows["at"].between(lines["at"].min() - SLACK, lines["at"].max() + SLACK)
        causes[made_by_proxy & rows["status"].eq(status) & meanwhile] = cause
    causes[~made_by_proxy & rows["kind"].eq(FILES)] = "backend.fd-exhausted"
    exhausted = rows["kind"].eq("exhausted")
    if not errors.available:  # then the status has to tell
        exhausted |= ~made_by_proxy & rows["status"].eq(UNAVAILABLE)
    if flood:
        causes[exhausted | (made_by_proxy & rows["status"].eq(UNAVAILABLE))] = "http.traffic-flood"
        given_up = made_by_proxy & rows["status"].eq(GATEWAY_TIMEOUT)
        if rows.loc[exhausted, "requests"].sum() >= rows.loc[given_up, "requests"].sum():
            causes[given_up] = "http.traffic-flood"
    # Who made a 502 or 504 that no log tells of is nobody's error yet.
    nobodys = rows["made_by"].eq("unknown") & rows["status"].isin([BAD_GATEWAY, GATEWAY_TIMEOUT])
    judge = _Judge(access, errors, services, limits, requests, deploy)
    left = rows[~made_by_proxy & causes.eq("") & ~(nobodys & rows["kind"].eq(""))]
    for _, part in left.groupby(["signature", "kind", "dependency"], sort=True):
        causes[part.index] = judge.cause_of(part)
    ends = [reading.require().until for reading in (access, errors) if reading.available]
    return Attribution(
        rows.assign(cause=causes),
        requests,
        total_of(requests),
        by_route,
        deploy,
        flood,
        limits,
        min(ends, default=None),
    )


def _by_error_log(log: AccessLog) -> list[tuple[str, int, pd.DataFrame]]:
    """Which answers of the proxy's own its error log explains: the cause, their status, and the lines."""
    found = [("http.worker-connections", SERVER_ERROR, exhausted_of(log))]
    found += [("http.client-errors", UNAVAILABLE, limited_of(log))]
    found += [
        ("http.upstream-unreachable", int(str(status)), lines)
        for status, lines in unreached_of(log).groupby("status")
        if status in (SERVER_ERROR, UNAVAILABLE)
    ]
    return [one for one in found if len(one[2])]


def unreached(rows: pd.DataFrame) -> pd.Series:
    """Answers of a proxy that got none itself: 502, 504, and HAProxy's 503, which alone names whom it would have asked."""
    return rows["status"].isin([BAD_GATEWAY, GATEWAY_TIMEOUT]) | (
        rows["status"].eq(UNAVAILABLE) & rows["replica"].ne("")
    )


class _Judge:
    """What one group of failed requests with the same signature is attributed to."""

    def __init__(
        self,
        access: Reading[AccessLog],
        errors: Reading[ErrorLog],
        services: Reading[pd.DataFrame],
        limits: Limits,
        requests: pd.DataFrame,
        deploy: Deploy | None,
    ) -> None:
        self._access, self._errors, self._limits = access, errors, limits
        self._requests, self._deploy = requests, deploy
        self._logged = recent_of(errors.require(), access, errors) if errors.available else requests
        self._versions = versions_of(services, limits.service)

    def cause_of(self, group: pd.DataFrame) -> str:
        outside = group["kind"].isin(["dependency", "exhausted"]).all()
        if self._began_with_deploy(group, canary_only=outside):
            return "http.bad-deploy"
        if self._of_one_replica(group):
            return "http.single-replica"
        if outside:
            return "http.dependency-failing"
        if self._of_one_route(group):
            return "http.single-route"
        return "http.new-exception" if is_new(self._errors, group, self._limits) else ""

    # A dependency's errors are a release's only beside an older release without them: where the new one serves alone,
    # a Redis that is down and a release that has its address wrong look the same.
    def _began_with_deploy(self, group: pd.DataFrame, *, canary_only: bool) -> bool:
        """Only the new release fails so, since it came; where it alone serves, nothing failed on these routes before.

        Errors that name a dependency are a release's only if an older one beside it does not have them.
        """
        deploy = self._deploy
        if deploy is None or not deploy.previous:
            return False
        alone = set(self._versions.values()) == {deploy.version}
        on_new = group["replica"].map(lambda name: alone or self._versions.get(str(name)) == deploy.version)
        if _share(group[on_new.astype(bool)], group) < ALMOST_ALL:
            return False
        older = {name for name, version in self._versions.items() if version != deploy.version}
        beside = self._requests[self._requests["replica"].isin(older)]
        if total_of(beside[beside["route"].isin(group["route"])]) >= self._limits.least:
            return True
        began = started_at(self._errors, self._access, group, self._limits.baseline)
        lag = timedelta(minutes=self._limits.deploy_lag_minutes)
        on_time = began is not None and deploy.at - SLACK <= began <= deploy.served_at + lag
        return not canary_only and on_time and not self._failed_before(group, deploy)

    def _failed_before(self, group: pd.DataFrame, deploy: Deploy) -> bool:
        """Whether these routes failed in the same way, half as often or more, before the release."""
        if not self._access.available:
            return False
        rows = complete(self._access.require().requests)
        rows = rows[rows["route"].isin(group["route"]) & rows["made_by"].ne("proxy")]
        same = rows["status"].isin(group["status"])
        before = (rows["at"] < deploy.at - SLACK) & (rows["at"] >= deploy.at - self._limits.baseline)
        after = rows["at"] >= deploy.at
        return _share(rows[before & same], rows[before]) >= max(1e-9, _share(rows[after & same], rows[after]) / 2)

    def _of_one_replica(self, group: pd.DataFrame) -> bool:
        """One replica fails so, and others serve the same routes without: too many of them for chance.

        Which replica served what is in its own log, also where the proxy's does not tell.
        """
        name, number = most(group, "replica")
        if not name or number < ALMOST_ALL * total_of(group):
            return False
        for table in (self._requests, self._logged):
            # Since it fails so: a replica that broke a second ago served well before, as the others did.
            same = table[table["route"].isin(group["route"]) & table["at"].ge(group["at"].min() - SLACK)]
            others = total_of(same[same["replica"].ne(name) & same["replica"].ne("")])
            mine = total_of(same[same["replica"].eq(name)])
            share = number / max(mine, number, 1)
            # Half of them at least: else this log has other names for replicas.
            if 2 * mine >= number and others >= self._limits.least and share >= self._limits.route_ratio:
                return bool((1 - share) ** others <= _CHANCE_OF_REPLICA)
        return False

    def _of_one_route(self, group: pd.DataFrame) -> bool:
        """One route fails so, and other routes are served."""
        name, number = most(group, "route")
        others = total_of(self._requests[self._requests["route"].ne(name)])
        return bool(name) and number >= ALMOST_ALL * total_of(group) and others >= self._limits.least


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float:
    return total_of(part) / max(1, total_of(whole))


def _plain(at: datetime) -> datetime:
    return at.to_pydatetime() if isinstance(at, pd.Timestamp) else at
