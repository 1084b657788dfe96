"""Numbers of a metrics page by what they mean, whatever they are called: the first name of each list that is there counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowrex_ops.settings import MetricsSettings

_SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})?$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_LONG_CHARACTERS = 2**20
"""The parser takes a second for five of them, and a page with a series for each user has thirty."""


def own_families(text: str, pattern: str) -> Iterator[Any]:
    """The metric families on a Prometheus text page; of a long one those alone whose samples' names *pattern* matches."""
    from prometheus_client.parser import text_string_to_metric_families

    if len(text) > _LONG_CHARACTERS:
        own = re.compile(rf"^(?:# (?:TYPE|HELP) )?(?:{pattern})[ \t{{].*$", re.MULTILINE)
        text = "".join(f"{line[0]}\n" for line in own.finditer(text))
    return iter(text_string_to_metric_families(text))


def any_of(names: Iterable[str]) -> str:
    """A pattern for these names, with or without labels; the parser gives a counter the ending ``_total`` where it lacks it."""
    bare = {name.partition("{")[0] for name in names}
    return "|".join(map(re.escape, sorted(bare | {name.removesuffix("_total") for name in bare}, reverse=True)))


def read_metrics(text: str, names: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """By meaning the sum of its metric over its labels, out of a Prometheus text page (exposition format 0.0.4).

    A name may carry labels: ``db_client_connections_usage{state="used"}``. Raises ValueError where the page is not in
    that format.
    """
    samples: dict[str, list[Any]] = {}
    for family in own_families(text, any_of(name for several in names.values() for name in several)):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    found = {}
    for meaning, several in names.items():
        for selector in several:
            values = list(_chosen(samples, selector))
            if values:
                found[meaning] = sum(values)
                break
    return found


def _chosen(samples: Mapping[str, Sequence[Any]], selector: str) -> Iterable[float]:
    parts = _SELECTOR.match(selector)
    wanted = dict(_LABEL.findall(parts["labels"] or "")) if parts else {}
    for sample in samples.get(parts["name"], ()) if parts else ():
        if wanted.items() <= sample.labels.items():
            yield float(sample.value)


def read_pool(text: str, metrics: MetricsSettings) -> dict[str, float]:
    """A pool's numbers: what is taken is told, or is what is open and not idle; the most it may have, with its overflow."""
    reported = read_metrics(text, metrics.of("pool"))
    idle, size, overflow = reported.pop("idle", None), reported.pop("open", None), reported.pop("overflow", None)
    base = reported.pop("base", None)
    if "in_use" not in reported and size is not None and idle is not None:
        reported["in_use"] = max(0.0, size - idle)
    if "maximum" not in reported and base is not None and overflow is not None:
        reported["maximum"] = base + overflow
    if "wait_seconds" not in reported and "wait_ms" in reported:
        reported["wait_seconds"] = reported["wait_ms"] / 1000
    reported.pop("wait_ms", None)
    if "in_use" not in reported:
        raise ValueError(
            "its /metrics has no connections in use by any usual name; set metrics.pool_in_use, or look at PostgreSQL"
        )
    return reported
