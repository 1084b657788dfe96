"""The backend's replicas, asked over HTTP: pool gauges and trade counters from ``/metrics``, readiness from whatever tells it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.health_probe import ask_health
from flowrex_ops.metrics.market_data import prices_of_answers, read_price_times
from flowrex_ops.metrics.names import any_of, own_families, read_metrics, read_pool
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import MetricsSettings
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.web import get

FAILED_TRADES, TRADES = "trades failed", "trades"
"""The counters of trades by what they mean."""

_WHAT = ("reason", "error", "code", "status", "result", "outcome", "state")
"""Labels that tell what was counted, the first that is there; a counter without one counts as ``""``."""

COUNTER_COLUMNS = ["at", "replica", "error", "counter", "label", "value"]
DEFAULT_METRICS = MetricsSettings()
WEBSOCKET_COLUMNS = ["at", "replica", "error", "connections", "messages", "closed", "memory_bytes"]
FILES_COLUMNS = ["replica", "open_files", "limit", "error"]
_FILES = {"open_files": ("process_open_fds",), "limit": ("process_max_fds",)}
"""As prometheus_client's process collector calls them, which is on by default, but not where several processes share a page."""
READINESS_COLUMNS = ["replica", "path", "status", "seconds", "error", "refused"]
POOL_COLUMNS = [
    "at",
    "replica",
    "error",
    "in_use",
    "maximum",
    "waiting",
    "requests",
    "queued",
    "errors",
    "wait_seconds",
]


class BackendSource(Source):
    """All replicas at once; one that does not answer is a row with its error, all silent is an unavailable reading.

    *find_replicas* gives replica to base URL, anew for each question: a restart may move a replica to another port.
    """

    name = "backend"
    libraries = ("httpx", "prometheus_client.parser")

    def __init__(
        self,
        find_replicas: Callable[[], Mapping[str, str]],
        *,
        limit_seconds: float,
        limit_rows: int,
        default_pool_size: int | None = None,
        missing: str = "",
        health_path: str = "",
        guessed: bool = False,
        metrics: MetricsSettings = DEFAULT_METRICS,
    ) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._health_path = health_path
        self._guessed = guessed
        self._metrics = metrics
        self._find_replicas = find_replicas
        self._default_pool_size = default_pool_size
        self._missing = missing

    @reads("pool gauges", extra_seconds="window_seconds")
    def sample_pools(self, *, window_seconds: float = 0.0, every_seconds: float = 0.5) -> pd.DataFrame:
        """Pool gauges and counters of every replica over a window; columns ``POOL_COLUMNS``, one row a sample.

        Gauges are connections, ``wait_seconds`` is a running total; ``error`` is None where the replica answered.
        """
        samples = pd.DataFrame(_repeat(self._sample, window_seconds, every_seconds), columns=POOL_COLUMNS)
        if samples["error"].notna().all():
            raise SourceUnavailableError(f"no backend replica answered: {samples['error'].iloc[-1]}")
        return samples

    @reads("trade counters", extra_seconds="window_seconds")
    def sample_trades(self, *, window_seconds: float = 2.0, every_seconds: float = 0.5) -> pd.DataFrame:
        """Every replica's counters of trades over a window; columns ``COUNTER_COLUMNS``, one row a counter and sample.

        Counters only tell something by their growth. A replica that did not answer is a row with its error.
        """
        samples = pd.DataFrame(_repeat(self._sample_trades, window_seconds, every_seconds), columns=COUNTER_COLUMNS)
        if samples["error"].notna().all():
            raise SourceUnavailableError(f"no backend replica told its trades: {samples['error'].iloc[-1]}")
        return samples

    @reads("WebSocket gauges", extra_seconds="window_seconds")
    def sample_websockets(self, *, window_seconds: float = 4.0, every_seconds: float = 0.5) -> pd.DataFrame:
        """Connections, counters and resident memory of every replica over a window; columns ``WEBSOCKET_COLUMNS``.

        Messages and closings are running totals; what a replica does not tell is missing.
        """
        rows = _repeat(self._sample_websockets, window_seconds, every_seconds)
        samples = pd.DataFrame(rows, columns=WEBSOCKET_COLUMNS)
        if samples["error"].notna().all():
            raise SourceUnavailableError(f"no backend replica told its WebSockets: {samples['error'].iloc[-1]}")
        return samples

    @reads("open files")
    def get_open_files(self) -> pd.DataFrame:
        """How many files and sockets each replica has open, and how many it may; columns ``FILES_COLUMNS``, missing where it does not tell."""
        rows = self._ask_all("/metrics", lambda answer: dict(read_metrics(answer.text, _FILES)))
        table = pd.DataFrame(rows, columns=FILES_COLUMNS).sort_values("replica", ignore_index=True)
        if table["error"].notna().all():
            raise SourceUnavailableError(f"no backend replica told its open files: {table['error'].iloc[-1]}")
        return table

    @reads("newest prices", extra_seconds="window_seconds")
    def sample_prices(self, *, window_seconds: float = 1.5) -> pd.DataFrame:
        """When each replica's newest price of each symbol came, asked twice, so long apart; columns ``PRICE_COLUMNS``.

        Its age is told by the replica's own clock, the header Date, where it sends one.
        """
        before = self._ask_all("/metrics", self._read_prices)
        time.sleep(window_seconds)
        table = prices_of_answers(before, self._ask_all("/metrics", self._read_prices))
        if table["symbol"].isna().all():
            raise SourceUnavailableError(f"no backend replica told its prices: {table['error'].iloc[-1]}")
        return table

    def _read_prices(self, answer: Any) -> dict[str, Any]:
        dated = parsedate_to_datetime(answer.headers["date"]) if "date" in answer.headers else datetime.now(UTC)
        prices = read_price_times(answer.text, self._metrics.market_data)
        return {"prices": prices, "asked_at": dated.timestamp()}

    @reads("readiness")
    def get_readiness(self) -> pd.DataFrame:
        """One row a replica, columns ``READINESS_COLUMNS``: the HTTP status at ``path``, or None and an error.

        ``refused`` says that nobody listens there; it is missing where the port is only the usual one, and may be wrong.
        """
        return pd.DataFrame(self._each(self._ask_health), columns=READINESS_COLUMNS)

    def _ask_health(self, replica: str, url: str) -> dict[str, Any]:
        started = time.monotonic()
        found = ask_health(url, self._health_path, timeout_seconds=self.limit_seconds * 0.7)
        refused: bool | None = found.refused
        error = f"{url} gave {found.error}" if found.error else None
        if found.refused and self._guessed:
            refused, error = None, f"nobody listens at {url}, whose port is a guess; set backend.port"
        seconds = time.monotonic() - started
        return dict(zip(READINESS_COLUMNS, (replica, found.path, found.status, seconds, error, refused), strict=True))

    def _sample_trades(self) -> list[dict[str, Any]]:
        at = datetime.now(UTC)
        found = self._ask_all("/metrics", lambda answer: {"counters": parse_trade_counters(answer.text, self._metrics)})
        nothing = {"at": at, "counter": None, "label": None, "value": None}
        return [
            row
            for answer in found
            for row in (
                [{"at": at, "replica": answer["replica"], "error": None, **counter} for counter in answer["counters"]]
                if answer["error"] is None
                else [{**nothing, "replica": answer["replica"], "error": answer["error"]}]
            )
        ]

    def _sample_websockets(self) -> list[dict[str, Any]]:
        at = datetime.now(UTC)
        return [
            {**row, "at": at}
            for row in self._ask_all("/metrics", lambda answer: parse_websocket_metrics(answer.text, self._metrics))
        ]

    def _sample(self) -> list[dict[str, Any]]:
        at = datetime.now(UTC)
        rows = self._ask_all("/metrics", lambda response: dict(read_pool(response.text, self._metrics)))
        for row in rows:
            row["at"] = at
            if row["error"] is None and row.get("maximum") is None:
                row["maximum"] = self._default_pool_size
        return rows

    def _ask_all(self, path: str, read: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
        return self._each(lambda replica, url: self._ask(replica, url + path, read))

    def _each(self, ask: Callable[[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
        """*ask* all replicas at once, by name and base URL."""
        replicas = self._find_replicas()
        if not replicas:
            raise SourceUnavailableError(
                self._missing
                or "no backend replica is configured or was discovered; set backend.urls or run 'flowrex-ops doctor'"
            )
        return side_by_side(lambda item: ask(*item), replicas.items())

    def _ask(self, replica: str, url: str, read: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        import httpx

        started = time.monotonic()
        row: dict[str, Any] = {"replica": replica, "error": None}
        try:
            # A little under the reading's own limit: one silent replica must not cost the answers of the others.
            response = get(url, seconds=self.limit_seconds * 0.7, verified=False)
            if response.is_success:
                row |= read(response)
            else:
                row["error"] = f"{url} answered HTTP {response.status_code}"
        except (httpx.HTTPError, ValueError) as error:
            row["error"] = f"{url} did not answer: {error or type(error).__name__}"
        row["seconds"] = time.monotonic() - started
        return row


def read_load(
    base_url: str, *, timeout_seconds: float, metrics: MetricsSettings = DEFAULT_METRICS
) -> dict[str, float | None]:
    """Of one replica ``requests`` being answered and ``websockets`` open; None for what it does not tell.

    Raises httpx.HTTPError when it does not answer, ValueError when its /metrics cannot be read.
    """
    page = get(f"{base_url}/metrics", seconds=timeout_seconds, verified=False).text
    names = metrics.of("load") | {"websockets": metrics.websocket_connections}
    found = read_metrics(page, names)
    return {what: found.get(what) for what in names}


def parse_websocket_metrics(text: str, metrics: MetricsSettings = DEFAULT_METRICS) -> dict[str, Any]:
    """Connections, counters and resident memory out of a Prometheus text page, summed over labels.

    Raises ValueError when the page is not in that format or tells no connections by any usual name.
    """
    values = read_metrics(text, metrics.of("websocket"))
    if "connections" not in values:
        raise ValueError("its /metrics has no open WebSockets by any usual name; set metrics.websocket_connections")
    return dict(values)


def _repeat(
    sample: Callable[[], list[dict[str, Any]]], window_seconds: float, every_seconds: float
) -> list[dict[str, Any]]:
    """The rows of one sample after the other until the window is over."""
    until = time.monotonic() + window_seconds
    rows = sample()
    while time.monotonic() + every_seconds <= until:
        time.sleep(every_seconds)
        rows += sample()
    return rows


def parse_trade_counters(text: str, metrics: MetricsSettings = DEFAULT_METRICS) -> list[dict[str, Any]]:
    """``{counter, label, value}`` of each trade counter on a Prometheus text page; a counter is ``TRADES`` or ``FAILED_TRADES``.

    Raises ValueError when the page is not in that format or has no counter of failed trades.
    """
    wanted = any_of([*metrics.trades, *metrics.trades_failed])
    samples = [sample for family in own_families(text, wanted) for sample in family.samples]
    there = {sample.name for sample in samples}
    meaning = {
        name: counter
        for counter, names in ((TRADES, metrics.trades), (FAILED_TRADES, metrics.trades_failed))
        for name in [name for name in names if name in there][:1]
    }
    if FAILED_TRADES not in meaning.values():
        raise ValueError("its /metrics has no counter of failed trades by any usual name; set metrics.trades_failed")
    return [
        {
            "counter": meaning[sample.name],
            "label": next((sample.labels[label] for label in _WHAT if label in sample.labels), ""),
            "value": sample.value,
        }
        for sample in samples
        if sample.name in meaning
    ]
