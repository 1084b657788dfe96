"""Failed requests (5xx) counted, and which cause each recent one is charged to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pandas as pd

from flowrex_ops.checks.circumstances import (
    SLACK,
    UNLOGGED,
    Deploy,
    Flood,
    Limits,
    find_deploy,
    find_flood,
    is_new,
    onset,
    versions_of,
)
from flowrex_ops.model import Reading
from flowrex_ops.sources.access_log import SERVER_ERROR, AccessLog
from flowrex_ops.sources.error_log import ErrorLog

BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504
FAILURE_COLUMNS = ["at", "replica", "route", "status", "signature", "kind", "dependency", "made_by", "requests"]
ALMOST_ALL = 0.9


@dataclass(frozen=True, slots=True)
class Charged:
    """Every recent failed request with its ``cause`` (empty: fits none): ``FAILURE_COLUMNS`` and ``cause``.

    ``total``: recent requests, whatever came of them, and ``by_route`` those of each route.
    """

    rows: pd.DataFrame
    total: int
    by_route: Mapping[str, int]
    deploy: Deploy | None
    flood: Flood | None

    def of(self, cause: str) -> pd.DataFrame:
        """What is charged to one cause."""
        return self.rows[self.rows["cause"].eq(cause)]

    def counts(self, rows: pd.DataFrame, limits: Limits) -> bool:
        """Whether *rows* are more than noise: enough of all requests, or of one route's."""
        number = int(rows["requests"].sum())
        if number < limits.least:
            return False
        shares = [
            int(part["requests"].sum()) / max(1, self.by_route.get(str(route), 0))
            for route, part in rows.groupby("route")
            if int(part["requests"].sum()) >= limits.least
        ]
        return number / max(1, self.total) >= limits.failed_ratio or max(shares, default=0.0) >= limits.route_ratio


def charge(
    access: Reading[AccessLog], errors: Reading[ErrorLog], services: Reading[pd.DataFrame], limits: Limits
) -> Charged:
    """Charge each recent failed request to one cause, by the first rule that fits.

    What the proxy made itself is judged request by request; what the backend made, by signature: one error is one trouble,
    whatever number of requests it costs.
    """
    requests = recent_requests(access, errors)
    by_route = {str(route): int(number) for route, number in requests.groupby("route")["requests"].sum().items()}
    deploy = find_deploy(access, services, limits)
    flood = find_flood(access, limits)
    rows = failures(access, errors)
    causes = pd.Series("", index=rows.index, dtype=object)
    made_by_proxy = rows["made_by"].eq("proxy")
    causes[made_by_proxy & rows["status"].isin([BAD_GATEWAY, GATEWAY_TIMEOUT])] = "http.upstream-unreachable"
    exhausted = rows["kind"].eq("exhausted")
    if not errors.available:  # then the status has to tell
        exhausted |= ~made_by_proxy & rows["status"].eq(UNAVAILABLE)
    if flood:
        causes[exhausted | (made_by_proxy & rows["status"].eq(UNAVAILABLE))] = "http.traffic-flood"
        given_up = made_by_proxy & rows["status"].eq(GATEWAY_TIMEOUT)
        if rows.loc[exhausted, "requests"].sum() >= rows.loc[given_up, "requests"].sum():
            causes[given_up] = "http.traffic-flood"
    left = rows[~made_by_proxy & causes.eq("")]
    judge = _Judge(access, errors, services, limits, requests, deploy)
    for _, part in left.groupby(["signature", "kind", "dependency"], sort=True):
        causes[part.index] = judge.cause_of(part)
    return Charged(rows.assign(cause=causes), int(requests["requests"].sum()), by_route, deploy, flood)


class _Judge:
    """What one group of failed requests with the same signature is charged to."""

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

    def _began_with_deploy(self, group: pd.DataFrame, *, canary_only: bool) -> bool:
        """Only the new release fails so, since it came; where it alone serves, nothing failed on these routes before.

        Errors that name a dependency are a release's only if an older one beside it does not have them.
        """
        deploy = self._deploy
        if deploy is None or not deploy.previous:
            return False
        on_new = group["replica"].map(lambda name: self._versions.get(str(name)) == deploy.version)
        if _share(group[on_new], group) < ALMOST_ALL:
            return False
        older = {name for name, version in self._versions.items() if version != deploy.version}
        beside = self._requests[self._requests["replica"].isin(older)]
        if _total(beside[beside["route"].isin(group["route"])]) >= self._limits.least:
            return True
        began = onset(self._errors, self._access, group, self._limits.baseline)
        lag = timedelta(minutes=self._limits.deploy_lag_minutes)
        on_time = began is not None and deploy.at - SLACK <= began <= deploy.served_at + lag
        return not canary_only and on_time and not self._failed_before(group, deploy)

    def _failed_before(self, group: pd.DataFrame, deploy: Deploy) -> bool:
        """Whether these routes failed in the same way, half as often or more, before the release."""
        if not self._access.available:
            return False
        rows = self._access.require().requests
        rows = rows[rows["route"].isin(group["route"]) & rows["made_by"].ne("proxy")]
        same = rows["status"].isin(group["status"])
        before = (rows["at"] < deploy.at - SLACK) & (rows["at"] >= deploy.at - self._limits.baseline)
        after = rows["at"] >= deploy.at
        return _share(rows[before & same], rows[before]) >= max(1e-9, _share(rows[after & same], rows[after]) / 2)

    def _of_one_replica(self, group: pd.DataFrame) -> bool:
        """One replica fails so, and others serve the same routes without."""
        name, number = most(group, "replica")
        if not name or number < ALMOST_ALL * _total(group):
            return False
        same = self._requests[self._requests["route"].isin(group["route"])]
        others = _total(same[same["replica"].ne(name) & same["replica"].ne("")])
        mine = _total(same[same["replica"].eq(name)])
        return others >= max(self._limits.least, number) and number / max(1, mine) >= self._limits.route_ratio

    def _of_one_route(self, group: pd.DataFrame) -> bool:
        """One route fails so, and other routes are served."""
        name, number = most(group, "route")
        others = _total(self._requests[self._requests["route"].ne(name)])
        return bool(name) and number >= ALMOST_ALL * _total(group) and others >= self._limits.least


def recent_requests(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent requests as users sent them: the proxy's log, else the backend's; at least replica, route, status, requests."""
    for log in _logs(access, errors):
        return _recent(log.requests, access, errors)
    return pd.DataFrame(columns=FAILURE_COLUMNS)


def failures(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Recent failed requests, each once: the proxy's own by its log, the backend's by the backend's, else by the proxy's."""
    found = []
    if access.available:
        rows = _recent(access.require().requests, access, errors)
        rows = _told_apart(rows[rows["status"].ge(SERVER_ERROR)], access, errors)
        found.append(rows if not errors.available else rows[rows["made_by"].eq("proxy")])
    if errors.available:
        rows = _recent(errors.require().requests, access, errors)
        found.append(rows[rows["status"].ge(SERVER_ERROR)].assign(made_by="backend"))
    columns = {"signature": "", "kind": "", "dependency": ""}
    complete = [part.assign(**{k: v for k, v in columns.items() if k not in part}) for part in found if len(part)]
    if not complete:
        return pd.DataFrame(columns=FAILURE_COLUMNS)
    every = pd.concat([part[FAILURE_COLUMNS] for part in complete], ignore_index=True)
    every["signature"] = every["signature"].replace("", UNLOGGED)
    return every.sort_values(FAILURE_COLUMNS, ignore_index=True)


def _logs(access: Reading[AccessLog], errors: Reading[ErrorLog]) -> list[AccessLog | ErrorLog]:
    return [reading.require() for reading in (access, errors) if reading.available]


def _recent(rows: pd.DataFrame, access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """The rows of the minutes that are recent for both logs, which were not read at the same moment.

    A row counts from the beginning of its bucket on.
    """
    logs = _logs(access, errors)
    begin = max(log.recent_since for log in logs).replace(microsecond=0)
    end = min(log.until for log in logs)
    return rows[rows["at"].ge(begin) & rows["at"].le(end)]


def _told_apart(rows: pd.DataFrame, access: Reading[AccessLog], errors: Reading[ErrorLog]) -> pd.DataFrame:
    """Where the log does not say who made a 502, 503 or 504: the proxy, if the backend has logged none of these lately."""
    if not errors.available:
        return rows
    logged = set(_recent(errors.require().requests, access, errors)["status"])
    unknown = rows["made_by"].eq("unknown") & rows["status"].isin([BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT])
    return rows.assign(made_by=rows["made_by"].mask(unknown & ~rows["status"].isin(logged), "proxy"))


def most(rows: pd.DataFrame, column: str) -> tuple[str, int]:
    """The value of *column* with the most requests, and how many; the first by name where several have."""
    sums = rows.groupby(column)["requests"].sum()
    if sums.empty:
        return "", 0
    number = int(sums.max())
    return min(str(name) for name in sums[sums.eq(number)].index), number


def _total(rows: pd.DataFrame) -> int:
    return int(rows["requests"].sum())


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float:
    return _total(part) / max(1, _total(whole))
