"""The index heals by itself, search takes any text, and earlier incidents are found by what they have in common."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from generated import BEGIN, about, add_incident, make_archive, metadata, write_record
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.archive import index
from flowrex_ops.archive.index import features
from flowrex_ops.archive.outcome import RunOutcome
from flowrex_ops.archive.records import find_folders, list_records, load_record
from flowrex_ops.archive.search import find_similar, match_words, search, seen_before
from flowrex_ops.errors import ParameterError, RecordError
from flowrex_ops.record import banner


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty records; nobody changes them."""
    outputs = tmp_path_factory.mktemp("archive")
    make_archive(outputs)
    return outputs


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A lock held by a migration, and an exception a day later."""
    add_incident(
        tmp_path, BEGIN, [metadata("database_connections", "db.lock-contention", BEGIN, n=4)], service="orders"
    )
    later = BEGIN + timedelta(days=1)
    add_incident(tmp_path, later, [metadata("error_rate", "http.new-exception", later, n=7)])
    return tmp_path


def found(outputs: Path, **query: object) -> list[str]:
    return [hit["diagnosis"] or "" for hit in search(outputs, **query)]  # type: ignore[arg-type]  # options of several types


class TestSearch:
    """By text and by facts."""

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, ["http.new-exception", "db.lock-contention"]),
            ({"text": "migra PID"}, ["db.lock-contention"]),
            ({"text": "db.lock-contention"}, ["db.lock-contention"]),
            ({"text": '"idle in transaction"'}, ["db.lock-contention"]),
            ({"text": '"transaction in idle"'}, []),
            ({"text": "terminate-root-blocker verified"}, ["db.lock-contention"]),
            ({"text": "orders.py place"}, ["http.new-exception"]),
            ({"text": "unreachable"}, []),  # what was ruled out is not found
            ({"cause": "db"}, ["db.lock-contention"]),
            ({"cause": "http.new-exception"}, ["http.new-exception"]),
            ({"service": "postgres"}, ["db.lock-contention"]),
            ({"service": "orders"}, ["db.lock-contention"]),
            ({"service": "flowrex"}, ["http.new-exception", "db.lock-contention"]),
            ({"severity": "P1", "runbook": "error_rate"}, ["http.new-exception"]),
            ({"since": BEGIN + timedelta(hours=1)}, ["http.new-exception"]),
            ({"until": BEGIN + timedelta(hours=1)}, ["db.lock-contention"]),
            ({"limit": 1}, ["http.new-exception"]),
        ],
        ids=str,
    )
    def test_query(self, two: Path, query: dict[str, object], expected: list[str]) -> None:
        assert found(two, **query) == expected

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ({"text": "*"}, "has no word"),
            ({"cause": "db.lock-contentoin"}, "did you mean 'db.lock-contention'?"),
            ({"runbook": "eror_rate"}, "did you mean 'error_rate'?"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_one_line(self, two: Path, query: dict[str, object], words: str) -> None:
        with pytest.raises(ParameterError, match=words.replace("?", r"\?")):
            found(two, **query)

    @pytest.mark.parametrize(
        "text", ["migration NEAR(", 'a "b', "title:x OR", "(((migration", "-x ^y", "a* AND NOT b", "\0"]
    )
    def test_operators_are_plain_words(self, archive: Path, text: str) -> None:
        search(archive, f"{text} migration")

    @given(st.text())
    def test_no_text_is_a_syntax_error(self, text: str) -> None:
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
        if match := match_words(text):
            assert connection.execute("SELECT * FROM words WHERE words MATCH ?", (match,)).fetchall() == []
        connection.close()


class TestIndex:
    """Derived: whatever happens to it, the answer comes from the folders."""

    @pytest.mark.parametrize(
        "harm",
        [
            lambda file: file.unlink(),
            lambda file: file.write_bytes(b"not a database at all" * 500),
            lambda file: file.write_bytes(file.read_bytes()[:4096] + b"\xff" * 60_000),
            lambda file: file.write_bytes(b""),
            lambda file: sqlite3.connect(file).execute("PRAGMA user_version = 99"),
        ],
        ids=["missing", "no database", "damaged inside", "empty", "other version"],
    )
    def test_it_heals(self, two: Path, harm: object) -> None:
        before = found(two, text="blocker")
        harm(two / index.FILE)  # type: ignore[operator]  # a callable of the table above
        assert found(two, text="blocker") == before == ["db.lock-contention"]

    def test_many_may_ask_at_once(self, two: Path) -> None:
        """Also while there is no index yet, which each of them wants to make."""
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: found(two, text="blocker"), range(24)))
        assert answers == [["db.lock-contention"]] * 24

    def test_changed_new_and_removed_records_are_noticed(self, two: Path) -> None:
        newest = list_records(two)[0]
        write_record(newest.path, {**newest.metadata.to_dict(), "diagnosis": "http.bad-deploy"})
        assert list_records(two)[0].metadata.diagnosis == "http.bad-deploy"
        newest.path.unlink()
        at = BEGIN + timedelta(days=9)
        add_incident(two, at, [metadata("memory_usage", "memory.leak", at)])
        assert [record.metadata.diagnosis for record in list_records(two)] == ["memory.leak", "db.lock-contention"]

    def test_an_archive_that_cannot_be_written_is_answered_all_the_same(
        self, two: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root nothing is read-only, so a folder stands where the index should."""
        (two / index.FILE).mkdir()
        assert found(two, cause="db") == ["db.lock-contention"]

    def test_files_that_are_no_records_are_left_out(self, two: Path) -> None:
        folder = list_records(two)[0].path.parent
        (folder / "007-page.ipynb").write_text("<html>")
        (folder / "008-plain.ipynb").write_text(json.dumps({"cells": [], "metadata": {}}))
        (folder / "notes.ipynb").write_text("{}")
        assert len(list_records(two)) == 2

    def test_reindex_counts(self, two: Path) -> None:
        assert index.rebuild(two) == {"records": 2, "incidents": 2}

    def test_nothing_is_made_where_nothing_is(self, tmp_path: Path) -> None:
        assert (list_records(tmp_path), list_records(tmp_path / "gone"), list(tmp_path.iterdir())) == ([], [], [])


class TestFinding:
    """Incidents by what people call them, also those without a record."""

    def test_incident_without_records(self, two: Path) -> None:
        empty = two / "INC-20261224-0000-abcd"
        empty.mkdir()
        assert find_folders(two, "INC-20261224") == [empty]
        assert len(find_folders(two)) == 3

    def test_one_that_fits_several_or_none(self, two: Path) -> None:
        with pytest.raises(RecordError, match="fits 2 incidents"):
            find_folders(two, "INC-2026")
        with pytest.raises(RecordError, match="no incident is called 'INC-1999'"):
            find_folders(two, "INC-1999")


class TestFeatures:
    """What a record is recognized by."""

    def test_signatures_are_masked_and_exceptions_named(self) -> None:
        found = features(about("error_rate", "http.new-exception", BEGIN, n=7))
        assert [value for kind, value in found if kind == "signature"] == [
            "KeyError orders.py:place: KeyError: no price for order #",
            "KeyError",
        ]

    def test_nonsense_counts_as_nothing(self) -> None:
        nonsense = {"findings": "x", "mitigations": [1], "verdicts": None}
        assert features(RunOutcome.model_validate(nonsense)) == []


class TestSimilar:
    """Earlier incidents, those that share the most first."""

    def test_who_shares_the_most_comes_first_then_the_newest(self, tmp_path: Path) -> None:
        """All had the same cause; one had the same error too."""
        ids = []
        for day, (n, seed) in enumerate([(8, 3), (2, 0), (4, 0), (5, 3)]):
            at = BEGIN + timedelta(days=day)
            ids += add_incident(tmp_path, at, [metadata("error_rate", "http.new-exception", at, n=n, seed=seed)])
        found = find_similar(tmp_path, load_record(tmp_path, ids[3]).metadata)
        assert [one.record for one in found] == [ids[0], ids[2], ids[1]]
        assert (found[0].likeness, found[0].causes) == (1.0, ("http.new-exception",))
        assert "PriceError" in found[0].signatures
        assert found[1].likeness == round(1 / 3, 3)

    def test_later_ones_and_its_own_are_left_out(self, two: Path) -> None:
        assert find_similar(two, load_record(two, "latest").metadata) == []

    def test_what_triage_names_as_the_next_runbook_counts(self, two: Path) -> None:
        at = BEGIN + timedelta(days=3)
        (now,) = add_incident(two, at, [metadata("triage", None, at, next_runbooks=["database_connections"])])
        (only,) = find_similar(two, load_record(two, now).metadata)
        assert (only.diagnosis, only.causes) == ("db.lock-contention", ())
        assert only.resolved_by == ("terminate-root-blocker",)

    def test_nothing_confirmed_is_like_nothing(self, two: Path) -> None:
        at = BEGIN + timedelta(days=3)
        (now,) = add_incident(two, at, [metadata("error_rate", None, at)])
        assert find_similar(two, load_record(two, now).metadata) == []


class TestSeenBefore:
    """What the banner of a finished record says of earlier ones."""

    def test_line_names_incident_cause_and_what_ended_it(self, two: Path) -> None:
        at = BEGIN + timedelta(days=3)
        record = about("database_connections", "db.lock-contention", at, id="x", incident="INC-now")
        record = record.model_copy(update={"seen_before": tuple(seen_before(two, record))})
        line = "Similar incident: INC-20261101-0000-0000 (2026-11-01), db.lock-contention, resolved by terminate-root-blocker"
        assert banner.seen_before(record) == [line]
        assert "Similar incident: INC-20261101" in banner.banner(record)

    @pytest.mark.parametrize("outcome", [{}, {"started": None}, {"findings": 1, "started": "x", "incident": "y"}])
    def test_no_run_fails_for_it(self, tmp_path: Path, outcome: dict[str, object]) -> None:
        (tmp_path / index.FILE).write_bytes(b"damaged" * 1000)
        assert seen_before(tmp_path, RunOutcome.model_validate(outcome)) == []

    def test_a_record_of_before_has_no_such_line(self) -> None:
        assert banner.seen_before(about("triage", None, BEGIN)) == []
