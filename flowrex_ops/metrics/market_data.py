"""When prices last moved, by the gauges that tell it: whatever they are called, by Prometheus' convention for moments.

https://prometheus.io/docs/practices/naming/: ``*_timestamp_seconds`` is a unix time. A label names what is traded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from flowrex_ops.metrics.names import own_families

PRICE_COLUMNS = ["replica", "symbol", "moved_at", "moved_before", "asked_at", "error"]
"""``moved_at`` is when the newest price came, ``moved_before`` what was told of that one answer or scrape earlier, ``asked_at`` the time
by the clock of whoever told it. All UTC, missing where not told; without a symbol it is a replica that tells none, and ``error`` says why."""
NOT_EXPOSED = (
    "no gauge tells when the price of a symbol last moved; expose its unix time,"
    ' such as market_data_timestamp_seconds{symbol="EURUSD"}, or name yours in metrics.market_data'
)
WINDOW = "3m"
_LAST_SCRAPES_SECONDS = 90.0
_NAMES = r"(?:\w+_)?(?:prices?|quotes?|ticks?|market_?data|feeds?)(?:_\w+)?_timestamp_seconds"
_LABELS = ("symbol", "instrument", "pair", "ticker")

Row = tuple[str, str | None, float, float, float, str | None]


def name_pattern(names: Sequence[str]) -> str:
    """What the gauge's whole name matches, for Python and for Prometheus: the convention's, or one of *names*."""
    return "|".join([_NAMES, *map(re.escape, names)])


def read_price_times(text: str, names: Sequence[str] = ()) -> dict[str, float]:
    """By symbol the unix time of its newest price, out of a Prometheus text page; 0 where there was none yet.

    Of several series of one symbol (venues, bid and ask) the newest counts. Raises ValueError where the page is not in that format.
    """
    wanted = re.compile(name_pattern(names))
    found: dict[str, float] = {}
    for family in own_families(text, wanted.pattern):
        for sample in family.samples if wanted.fullmatch(family.name) else ():
            if symbol := _symbol(sample.labels):
                found[symbol] = max(found.get(symbol, 0.0), float(sample.value))
    return found


def prices_of_answers(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """``PRICE_COLUMNS`` of two answers of each replica, some moments apart: ``replica``, ``prices``, ``asked_at``, ``error``."""
    earlier = {row["replica"]: row.get("prices") or {} for row in before}
    nan, rows = float("nan"), list[Row]()
    for answer in after:
        replica, prices = answer["replica"], answer.get("prices") or {}
        told = earlier.get(replica, {})
        rows += [(replica, one, at, told.get(one, nan), answer["asked_at"], None) for one, at in prices.items()]
        if not prices:
            rows.append((replica, None, nan, nan, nan, answer["error"] or NOT_EXPOSED))
    return _table(rows)


def prices_of_series(series: Iterable[tuple[str, Mapping[str, str], Sequence[Sequence[Any]]]]) -> pd.DataFrame:
    """``PRICE_COLUMNS`` of what Prometheus scraped: replica, labels, and pairs of time and value of each series, oldest first.

    What was scraped some time ago, and is no longer, tells nothing: that replica is gone, or goes by another address.
    """
    rows: list[Row] = []
    for replica, labels, values in series:
        if symbol := _symbol(labels):
            before, (at, value) = values[-2][1] if values[1:] else "nan", values[-1]
            rows.append((replica, symbol, float(value), float(before), float(at), None))
    newest = max((row[4] for row in rows), default=0.0)
    return _table([row for row in rows if newest - row[4] <= _LAST_SCRAPES_SECONDS])


def _table(rows: Sequence[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=PRICE_COLUMNS)
    by = frame.groupby(["replica", "symbol"], dropna=False, as_index=False)
    frame = by.agg(dict.fromkeys(PRICE_COLUMNS[2:5], "max") | {"error": "first"})
    for name in PRICE_COLUMNS[2:5]:
        seconds = pd.to_numeric(frame[name])
        frame[name] = pd.to_datetime(seconds.where(seconds.gt(0)), unit="s", utc=True, errors="coerce")
    return frame[PRICE_COLUMNS]


def _symbol(labels: Mapping[str, str]) -> str:
    """What is traded, by the first usual label; empty where none is there."""
    return next((labels[name] for name in _LABELS if labels.get(name)), "")
