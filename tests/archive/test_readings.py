"""Readings that are kept beside a record, and given again: typed, without secrets, and from whoever's hands they come."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from database_examples import session, sessions
from latency_examples import access, everywhere
from memory_examples import activity

from flowrex_ops.archive.codec import decode, encode
from flowrex_ops.archive.readings import (
    MOST_BYTES,
    SUFFIX,
    Capture,
    Replay,
    endpoints_of,
    platform_reading,
    readings_of,
)
from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import ParameterError, StackUnavailableError
from flowrex_ops.logs.source import summarise
from flowrex_ops.model import Definition, LogLine, Reading, Replica, Severity
from flowrex_ops.postgres.source import ConnectionLimits
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import Settings

NOW = datetime(2026, 1, 31, 4, 12, tzinfo=UTC)
MIXED = pd.DataFrame(
    {
        "at": pd.to_datetime(["2026-01-31T04:12:00.25Z", None], utc=True),
        "share": [0.5, float("nan")],
        "number": [1, 2**40],
        "late": [True, False],
        "name": ["backend-1", None],
        "blocked_by": [[7, 9], []],
        "seen": [pd.Timestamp(NOW), pd.NaT],
    }
)
REPLICA = Replica(
    "backend",
    "backend-1",
    "running",
    "healthy",
    "abc",
    started_at=NOW,
    ports={8000: ("127.0.0.1", 32768)},
    definition=Definition(environment={"DATABASE_PASSWORD": "hunter2-hunter2"}, labels={"a": "b"}),
)


def captured(tmp_path: Path, *readings: Reading[Any]) -> Path:
    tmp_path.mkdir(exist_ok=True)
    file = tmp_path / "evidence" / f"001-triage{SUFFIX}"
    capture = Capture(file, Redactor(["hunter2-hunter2"]))
    for reading in readings:
        capture.write(reading)
    return file


class TestCodec:
    @pytest.mark.parametrize(
        "value",
        [
            None,
            "text",
            1.5,
            float("inf"),
            {"a": [1, (2, "b")], ("x", 1): {3}, 8000: None},
            {"a": {"b": 1}, "$kind": "class"},
            timedelta(minutes=5),
            NOW,
            b"\xff\x00",
            Severity.P1,
            REPLICA,
            ConnectionLimits(40, 3, 0, 12, "16.2", "flowrex", sees_all_sessions=True),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_was_read_is_given_again(self, value: Any) -> None:
        assert decode(json.loads(json.dumps(encode(value)))) == value

    @pytest.mark.parametrize(
        "frame",
        [
            MIXED,
            MIXED.iloc[:0],
            pd.DataFrame(columns=["a", "b"]),
            MIXED.set_index("name"),
            sessions(session(1)).require(),
        ],
        ids=["mixed", "no row", "nothing", "an index", "sessions"],
    )
    def test_tables_keep_their_types(self, frame: pd.DataFrame) -> None:
        pd.testing.assert_frame_equal(decode(json.loads(json.dumps(encode(frame)))), frame, check_index_type=False)

    def test_logs_and_redis(self) -> None:
        for value in (access(*everywhere(3)).require(), activity().require()):
            assert encode(decode(json.loads(json.dumps(encode(value))))) == encode(value)

    def test_what_was_counted_counts_again(self) -> None:
        """A replay asks for minutes in which nothing failed, as the run did."""
        summary = summarise([LogLine("backend", "b-1", "status=200 duration_ms=3", NOW)] * 20, slow_seconds=1.0)
        again = decode(json.loads(json.dumps(encode(summary))))
        assert again == summary
        assert again.failing_since(0.1) is None

    def test_what_cannot_be_kept_is_refused(self) -> None:
        with pytest.raises(TypeError, match="a PosixPath cannot be kept"):
            encode({"a": Path("x")})

    @pytest.mark.parametrize(
        "foreign",
        [
            {"$kind": "class", "of": "os:system", "fields": {}},
            {"$kind": "class", "of": "flowrex_ops.archive.readings:Capture", "fields": {"file": "x"}},
            {"$kind": "enum", "of": "subprocess:Popen", "value": "x"},
            {"$kind": "no-such"},
            {"a": 1},
            {"$kind": "table", "dtypes": [], "columns": [["a", {}]], "index": None},
        ],
    )
    def test_a_capture_makes_nothing_but_readings(self, foreign: Any) -> None:
        """It may come from anybody."""
        with pytest.raises(ValueError, match=r"not a captured value|zip"):
            decode(foreign)


class TestReplay:
    def test_answers_as_then(self, tmp_path: Path) -> None:
        """By the question, in order; the last answer is given again, and what was not asked is not known."""
        rows = [
            Reading("postgres", "sessions", pd.DataFrame({"pid": [n]}), asked="since=1", taken_at=NOW) for n in (1, 2)
        ]
        other = Reading("postgres", "sessions", pd.DataFrame({"pid": [9]}), asked="since=9", taken_at=NOW)
        gone: Reading[Any] = Reading("redis", "version", error="redis did not answer", code="timeout", taken_at=NOW)
        replay = Replay(captured(tmp_path, rows[0], other, gone, rows[1]))
        seen = [replay.answer("postgres", "sessions", asked) for asked in ("since=9", "since=1", "since=1", "since=1")]
        assert [int(one.require()["pid"].iloc[0]) for one in seen] == [9, 1, 2, 2]
        assert {one.taken_at for one in seen} == {NOW}
        silent = replay.answer("redis", "version", "")
        assert (silent.error, silent.code) == ("redis did not answer", "timeout")
        assert "was not asked when" in (replay.answer("tls", "certificates", "").error or "")

    def test_no_secret_is_written(self, tmp_path: Path) -> None:
        facts = {
            "query": ["ALTER ROLE a PASSWORD 'hunter2-hunter2'"],
            "password": [123456],
            "labels": [{"api_key": "k-98-k"}],
        }
        frame = pd.DataFrame(facts)
        platform = platform_reading(Endpoints(stack=None, stack_line="compose", replicas=(REPLICA,)))  # type: ignore[arg-type]  # nobody asks it
        file = captured(tmp_path, Reading("postgres", "sessions", frame), platform)
        text = gzip.decompress(file.read_bytes()).decode()
        assert "hunter2" not in text
        assert "123456" not in text
        assert "k-98-k" not in text
        named = Reading("postgres", "holders", pd.DataFrame({"n": [1]}, index=["password='hunter2-hunter2'"]))
        assert "hunter2" not in gzip.decompress(captured(tmp_path / "index", named).read_bytes()).decode()
        assert Replay(file).answer("postgres", "sessions", "").require()["query"].str.contains("redacted").all()

    def test_cut_off_and_damaged(self, tmp_path: Path) -> None:
        """A run that was killed leaves what it had."""
        file = captured(tmp_path, Reading("a", "b", "one"), Reading("a", "c", "x" * 4000))
        file.write_bytes(file.read_bytes()[:-20])
        replay = Replay(file)
        assert replay.answer("a", "b", "").value == "one"
        assert replay.answer("a", "c", "").value is None
        for foreign in (
            b"no gzip",
            gzip.compress(b'["a"]\n'),
            gzip.compress(b'{"source": "a"}\n'),
            gzip.compress(b"[" * 9**6),
        ):
            file.write_bytes(foreign)
            assert Replay(file).taken_at is None
            with pytest.raises(ParameterError, match="no reading can be read in"):
                readings_of(str(file), tmp_path)

    def test_what_is_too_large_says_so(self, tmp_path: Path) -> None:
        replay = Replay(captured(tmp_path, Reading("a", "b", "x" * (MOST_BYTES + 1)), Reading("a", "c", Path("x"))))
        assert "it was read, and not kept: 4 MB" in (replay.answer("a", "b", "").error or "")
        assert "it was read, and not kept: a PosixPath" in (replay.answer("a", "c", "").error or "")

    def test_platform_of_then(self, tmp_path: Path) -> None:
        settings = Settings.model_validate({"platform": "harbor", "backend": {"service": "desk"}})
        then = Endpoints(stack=None, stack_line="compose 'harbor'", replicas=(REPLICA,), settings=settings)  # type: ignore[arg-type]  # nobody asks it
        found = endpoints_of(Replay(captured(tmp_path, platform_reading(then))), Settings())
        assert (found.settings.platform, found.settings.backend.service) == ("harbor", "desk")
        assert [(one.name, dict(one.definition.labels)) for one in found.replicas] == [("backend-1", {"a": "b"})]
        with pytest.raises(StackUnavailableError, match="this is a replay"):
            found.stack.describe()


def test_where_readings_lie(tmp_path: Path) -> None:
    """A record by its id or its notebook, or the file itself."""
    file = captured(tmp_path / "INC-20260131-0412-a1b2", Reading("a", "b", 1))
    notebook = file.parent.parent / "records" / "001-triage.ipynb"
    for name in (str(file), str(notebook), "INC-20260131-0412-a1b2/001-triage", "INC-20260131-0412-a1b2/001"):
        assert readings_of(name, tmp_path) == file
    with pytest.raises(ParameterError, match="there are no readings of 'INC-1/002'; give a record"):
        readings_of("INC-1/002", tmp_path)
