"""Prometheus, asked over its HTTP API: history, alerts, targets, and whether its rules and notifications work.

https://prometheus.io/docs/prometheus/2.42/querying/api/ (the same in 3). Only GET: nothing can be changed that way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.metrics.machines import QUERIES, parse_machines
from flowrex_ops.metrics.market_data import NOT_EXPOSED, WINDOW, name_pattern, prices_of_series
from flowrex_ops.reading import Source, reads
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.web import MOST_BYTES, get

SERIES_COLUMNS = ["at", "series", "value"]
ALERT_COLUMNS = ["alert", "state", "severity", "instance", "since", "summary"]
TARGET_COLUMNS = ["job", "instance", "health", "error", "replica", "up_lately"]
MONITORING_COLUMNS = ["part", "name", "health", "error", "sent", "failed"]
ALERTING, RECORDING, ALERTMANAGER = "alerting rule", "recording rule", "Alertmanager"
BY_PROMETHEUS, BY_ALERTMANAGER = "notifications to Alertmanager", "notifications by Alertmanager"
_DELIVERIES = {
    BY_PROMETHEUS: ("max", "prometheus_notifications_sent_total", "prometheus_notifications_dropped_total", ""),
    BY_ALERTMANAGER: (
        "sum",
        "alertmanager_notifications_total",
        "alertmanager_notifications_failed_total",
        "integration",
    ),
}
"""What counts them, what counts those that nobody took, and the label that tells to whom: both count failed ones as sent, too.

Prometheus counts an alert as sent once for each of several Alertmanagers, and drops it where none took it."""
_FINDS_WITHIN = timedelta(minutes=1)
_POINTS = 240
_MOST_BYTES = 8 * 2**20
"""Of the answer to a query, some 300,000 samples: understood in two seconds. Cut, the series that are left out would pass for none."""
_HIDDEN = {"__name__", "job"}
_STATUS_LABELS = ("status", "status_code", "code", "http_status_code", "http_response_status_code")


class PrometheusSource(Source):
    """*find_names* tells which replica an address (``host:port`` or ``host``) belongs to, anew for each question."""

    name = "prometheus"
    libraries = ("httpx",)

    def __init__(
        self,
        url: str | None,
        *,
        limit_seconds: float,
        limit_rows: int,
        missing: str = "",
        find_names: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._url = url.rstrip("/") if url else None
        self._missing = missing
        self._find_names = find_names

    @reads("history")
    def query_range(self, expression: str, *, since: timedelta, points: int = _POINTS) -> pd.DataFrame:
        """*expression* over the time since then, columns ``SERIES_COLUMNS``: ``at`` in UTC, ``series`` names the labels.

        At most *points* values a series, at least a second apart, oldest first; a series about one replica has its name.
        """
        return self._query_range(expression, since, points)

    def _query_range(self, expression: str, since: timedelta, points: int) -> pd.DataFrame:
        now = self.now()
        step = max(1.0, since.total_seconds() / points)
        given = {"query": expression, "start": (now - since).timestamp(), "end": now.timestamp(), "step": f"{step:g}"}
        names = self._find_names()
        rows = [
            (float(at), name, float(value))
            for series in _series(self._ask("query_range", given), "matrix")
            for name in [_name(series["metric"], names)]
            for at, value in series["values"]
        ]
        return _frame(rows).sort_values(["series", "at"], ignore_index=True)

    @reads("history")
    def query_any(self, names: Sequence[str], *, since: timedelta, points: int = _POINTS) -> pd.DataFrame:
        """As ``query_range``, of the one of *names* that the platform has; without rows where it has none of them."""
        return self._query_range(" or ".join(names), since, points)

    @reads("history")
    def query_error_share(self, names: Sequence[str], *, since: timedelta, points: int = _POINTS) -> pd.DataFrame:
        """As ``query_range``: the share of requests that were answered 5xx, by the first of the counters *names* that there is.

        Of their labels any usual one tells the status; instrumentator's ``5xx`` counts, too.
        """
        failed = [f'sum(rate({name}{{{label}=~"5.."}}[1m]))' for name in names for label in _STATUS_LABELS]
        everything = [f"sum(rate({name}[1m]))" for name in names]
        expression = f"({' or '.join(failed)} or vector(0)) / ({' or '.join(everything)})"
        return self._query_range(expression, since, points)

    @reads("history")
    def query_increase(self, names: Sequence[str], *, by: str, since: timedelta, points: int = _POINTS) -> pd.DataFrame:
        """As ``query_range``: by how much one of the counters *names* grew each minute, for each value of the label *by*."""
        grown = " or ".join(f"sum by ({by}) (increase({name}[1m]))" for name in names)
        return self._query_range(f"({grown}) > 0", since, points)

    @reads("metrics")
    def query(self, expression: str) -> pd.DataFrame:
        """*expression* now, columns ``SERIES_COLUMNS``."""
        names = self._find_names()
        series = _series(self._ask("query", {"query": expression}), "vector")
        return _frame([(float(s["value"][0]), _name(s["metric"], names), float(s["value"][1])) for s in series])

    @reads("alerts")
    def get_alerts(self) -> pd.DataFrame:
        """Alerts that fire or are pending, columns ``ALERT_COLUMNS``; ``severity`` is the rule's label."""
        rows = [
            (
                alert["labels"].get("alertname", ""),
                alert["state"],
                alert["labels"].get("severity", ""),
                alert["labels"].get("site") or alert["labels"].get("instance", ""),
                pd.Timestamp(alert["activeAt"]).tz_convert(UTC),
                alert.get("annotations", {}).get("summary", ""),
            )
            for alert in self._ask("alerts", {})["alerts"]
        ]
        return pd.DataFrame(rows, columns=ALERT_COLUMNS).sort_values(["severity", "alert"], ignore_index=True)

    @reads("targets")
    def get_targets(self, *, since: timedelta = timedelta(minutes=5)) -> pd.DataFrame:
        """What Prometheus scrapes, columns ``TARGET_COLUMNS``; ``health`` is ``up``, ``down`` or ``unknown``.

        ``replica`` is what it asks there: a replica, or a host where none is known; ``up_lately`` whether one scrape since then was good.
        """
        window = f"max by (job, instance) (max_over_time(up[{since.total_seconds():.0f}s]))"
        lately = {
            (one["metric"].get("job"), one["metric"].get("instance")): float(one["value"][1]) > 0
            for one in _series(self._ask("query", {"query": window}), "vector")
        }
        names = self._find_names()
        rows = []
        for target in self._ask("targets", {"state": "active"})["activeTargets"]:
            job, instance = (target["labels"].get(label, "") for label in ("job", "instance"))
            asked = urlsplit(target.get("scrapeUrl", ""))
            replica = names.get(asked.netloc) or names.get(asked.hostname or "") or asked.hostname or ""
            rows.append((job, instance, target["health"], target["lastError"], replica, lately.get((job, instance))))
        frame = pd.DataFrame(rows, columns=TARGET_COLUMNS).astype({"up_lately": object})
        return frame.sort_values(["job", "instance"], ignore_index=True)

    @reads("machines")
    def get_machines(self) -> pd.DataFrame:
        """What node_exporter tells of the machines, columns ``MACHINE_COLUMNS``; no reading where none is scraped."""
        answers = side_by_side(lambda asked: self._ask("query", {"query": asked}), QUERIES)
        return parse_machines(one for answer in answers for one in _series(answer, "vector"))

    @reads("newest prices")
    def get_prices(self, *, names: Sequence[str] = ()) -> pd.DataFrame:
        """When the newest price of each symbol came, by whatever is scraped (*names* beside the usual ones); columns ``PRICE_COLUMNS``."""
        asked = "{__name__=~%s}[%s]" % (json.dumps(name_pattern(names)), WINDOW)  # noqa: UP031  # braces of its own
        known = self._find_names()
        series = [(one["metric"], one["values"]) for one in _series(self._ask("query", {"query": asked}), "matrix")]
        table = prices_of_series([(_replica(labels, known), labels, values) for labels, values in series])
        if table.empty:
            raise SourceUnavailableError(NOT_EXPOSED)
        return table

    @reads("monitoring")
    def get_monitoring(self, *, since: timedelta = timedelta(minutes=5)) -> pd.DataFrame:
        """Rules, Alertmanagers and notifications since then, columns ``MONITORING_COLUMNS``; what is bad first.

        A rule's ``health`` is that of its last evaluation: ``ok``, ``err`` or ``unknown``. ``sent`` and ``failed`` count notifications: those
        that Prometheus dropped for no Alertmanager took them, those that Alertmanager could not deliver. No row where that is not scraped.
        """
        rows: list[tuple[Any, ...]] = [
            (f"{rule['type']} rule", rule["name"], rule["health"], rule.get("lastError", ""), None, None)
            for group in self._ask("rules", {})["groups"]
            for rule in group["rules"]
        ]
        known = self._ask("alertmanagers", {})["activeAlertmanagers"]
        if not known:
            self._raise_while_young()
        rows += [(ALERTMANAGER, one["url"], "known", "", None, None) for one in known]
        for part, (how, sent, failed, label) in _DELIVERIES.items():
            sums = [self._growth(*one, label, since) for one in ((how, sent), ("sum", failed))]
            rows += [
                (part, where or "all", "", "", *(one[where] for one in sums))
                for where in sorted(set(sums[0]) & set(sums[1]), key=lambda where: -sums[1][where])
            ]
        frame = pd.DataFrame(rows, columns=MONITORING_COLUMNS)
        return frame.sort_values("health", key=lambda health: health.ne("err"), kind="stable", ignore_index=True)

    def _raise_while_young(self) -> None:
        """It finds Alertmanagers some seconds after it has started."""
        started = pd.Timestamp(self._ask("status/runtimeinfo", {})["startTime"])
        if pd.Timestamp.now(UTC) - started < _FINDS_WITHIN:
            raise SourceUnavailableError("prometheus has just started, and has not looked for its Alertmanagers yet")

    def _growth(self, how: str, counter: str, label: str, since: timedelta) -> dict[str, float]:
        """By how much *counter* grew, by *label*: *how* says of which of several series. By one sample alone it is 0, not unknown."""
        grown = f"{counter} - min_over_time({counter}[{since.total_seconds():.0f}s])"
        series = _series(self._ask("query", {"query": f"{how} by ({label}) ({grown})"}), "vector")
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in series}

    def _ask(self, what: str, given: Mapping[str, Any]) -> Any:
        import httpx

        if self.copy:
            return self.copy(what, given)
        if self._url is None:
            raise SourceUnavailableError(f"{self._missing or 'prometheus is not configured'}; set prometheus.url")
        url = f"{self._url}/api/v1/{what}"
        limit = self.limit_seconds * 0.8
        try:
            most = _MOST_BYTES if what.startswith("query") else MOST_BYTES
            given = {**given, "timeout": f"{limit * 1000:.0f}ms"}
            answer = get(url, params=given, seconds=limit, most_bytes=most)
            body = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceUnavailableError(f"{url} did not answer: {error or type(error).__name__}") from None
        except ValueError:
            raise SourceUnavailableError(f"{url} answered HTTP {answer.status_code}, and no JSON") from None
        if answer.status_code != HTTPStatus.OK or not isinstance(body, dict) or body.get("status") != "success":
            said = body.get("error") if isinstance(body, dict) else None
            raise SourceUnavailableError(
                f"{url} answered HTTP {answer.status_code}: {said or 'no reason given'}", code=str(answer.status_code)
            )
        return body["data"]


def _frame(rows: Sequence[tuple[float, str, float]]) -> pd.DataFrame:
    """``SERIES_COLUMNS``; the times of all rows at once, a tenth of the time that one by one take."""
    frame = pd.DataFrame(rows, columns=SERIES_COLUMNS)
    return frame.assign(at=pd.to_datetime(frame["at"], unit="s", utc=True))


def _series(body: Any, kind: str) -> list[dict[str, Any]]:
    if body["resultType"] != kind:
        raise SourceUnavailableError(f"the answer is a {body['resultType']}, not a {kind}; correct the expression")
    return list(body["result"])


def _replica(labels: Mapping[str, str], names: Mapping[str, str]) -> str:
    instance = labels.get("instance", "")
    return names.get(instance) or names.get(instance.rpartition(":")[0]) or instance


def _name(labels: Mapping[str, str], names: Mapping[str, str]) -> str:
    """The replica where the series is about one, and the other labels, ``le=5, status=502``."""
    replica = _replica(labels, names)
    others = [f"{name}={value}" for name, value in sorted(labels.items()) if name not in _HIDDEN | {"instance"}]
    return ", ".join(([replica] if replica else []) + others) or "all"
