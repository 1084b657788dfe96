"""A month of a thousand records: how long the archive's questions take. Goals: search 100 ms, reindex 10 s, on 2 cores."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "record"))

from generated import BEGIN, DAYS, make_archive

from flowrex_ops.archive.index import rebuild
from flowrex_ops.archive.manifest import verify
from flowrex_ops.archive.records import find_folders, list_records, load_record
from flowrex_ops.archive.search import find_similar, search, seen_before
from flowrex_ops.archive.trend import get_trend
from flowrex_ops.record.export import pack

RECORDS = 1000
NOTEBOOK_BYTES = 400_000
"""As large as the sample record, whose charts are most of it."""


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; 400 MB of it."""
    outputs = tmp_path_factory.mktemp("month")
    make_archive(outputs, RECORDS, padding=NOTEBOOK_BYTES)
    rebuild(outputs)
    return outputs


def test_reindex(benchmark: Any, month: Path) -> None:
    """From the folders alone."""
    benchmark.pedantic(rebuild, args=(month,), rounds=3, iterations=1)


@pytest.mark.parametrize(
    "query",
    [
        dict(text="migration blocker"),
        dict(text="KeyError", cause="http"),
        dict(service="redis", since=BEGIN + timedelta(days=7), severity="P1"),
        dict(limit=1000),
    ],
    ids=["text", "text and cause", "facts", "everything"],
)
def test_search(benchmark: Any, month: Path, query: dict[str, Any]) -> None:
    """With the comparison of the index with the folders that comes before each question."""
    benchmark.pedantic(search, args=(month,), kwargs=query, rounds=10, iterations=1)


def test_list(benchmark: Any, month: Path) -> None:
    """All thousand, with their metadata."""
    benchmark.pedantic(list_records, args=(month,), rounds=5, iterations=1)


def test_show(benchmark: Any, month: Path) -> None:
    """The latest."""
    benchmark.pedantic(load_record, args=(month, "latest"), rounds=5, iterations=1)


def test_similar(benchmark: Any, month: Path) -> None:
    """To the latest."""
    record = load_record(month, "latest").metadata
    benchmark.pedantic(find_similar, args=(month, record), rounds=5, iterations=1)


def test_seen_before(benchmark: Any, month: Path) -> None:
    """What the end of each run pays for its banner."""
    metadata = load_record(month, "latest").metadata.model_copy(update={"incident": "INC-0"})
    benchmark.pedantic(seen_before, args=(month, metadata), rounds=5, iterations=1)


def test_trend(benchmark: Any, month: Path) -> None:
    """Of a cause over the month, without the chart."""
    options = {"until": BEGIN + timedelta(days=DAYS)}
    benchmark.pedantic(get_trend, args=(month, "db.lock-contention"), kwargs=options, rounds=5, iterations=1)


def test_verify(benchmark: Any, month: Path) -> None:
    """Every file of the archive read and hashed."""
    benchmark.pedantic(lambda: [verify(folder) for folder in find_folders(month)], rounds=2, iterations=1)


def test_export(benchmark: Any, month: Path) -> None:
    """One incident into a zip, in memory."""
    benchmark.pedantic(pack, args=(find_folders(month)[0],), rounds=5, iterations=1)
