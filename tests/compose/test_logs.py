"""Log lines out of files and out of an engine's stream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Response

from flowrex_ops.compose.dockerlog import open_log, split_frames
from flowrex_ops.compose.logfiles import parse_time, read_log_chunks, read_log_file
from flowrex_ops.compose.logstream import newest_bytes, split_lines, whole_lines
from flowrex_ops.errors import StackUnavailableError

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
HALF_PAST_SIX = datetime(2026, 11, 27, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-11-23T17:00:00.123Z INFO request", datetime(2026, 11, 23, 17, 0, 0, 123000, UTC)),
        ("2026-11-23 17:00:00.123 UTC [42] LOG:  ready", datetime(2026, 11, 23, 17, 0, 0, 123000, UTC)),
        ("2026-11-23 17:00:00,500 INFO spawned", datetime(2026, 11, 23, 17, 0, 0, 500000, UTC)),
        ('2026-11-23T17:00:00+00:00 10.0.0.1 "GET /"', datetime(2026, 11, 23, 17, tzinfo=UTC)),
        ("2026/11/23 17:00:00 [warn] 42#42: *1", datetime(2026, 11, 23, 17, tzinfo=UTC)),
        ("42:M 23 Nov 2026 17:00:00.123 * Ready", datetime(2026, 11, 23, 17, 0, 0, 123000, UTC)),
        ('2026-11-27T12:00:00+05:30 192.0.2.7 "GET / HTTP/1.1" 200 1', HALF_PAST_SIX),
        ("[2026-11-27 12:00:00 +0530] [9] [ERROR] x", HALF_PAST_SIX),
        ('{"ts":"2026-11-27T12:00:00+05:30"}', HALF_PAST_SIX),
        ('192.0.2.7 - - [27/Nov/2026:12:00:00 +0530] "GET / HTTP/1.1" 200 1', HALF_PAST_SIX),
        ("2026-11-27 03:30:00,000 - app - ERROR - x", datetime(2026, 11, 27, 3, 30, tzinfo=UTC)),
        ("2026-11-27 03:30:00 -0300 x", HALF_PAST_SIX),
        ('{"level":"error","ts":1795761000.5,"msg":"x"}', HALF_PAST_SIX.replace(microsecond=500000)),
        ("2026-13-99T17:00:00Z nonsense", None),
        ('  File "main.py", line 3', None),
        ("", None),
    ],
)
def test_time_of_a_line(line: str, expected: datetime | None) -> None:
    """Each program's own way of writing the time is understood; what is no time is ``None``."""
    assert parse_time(line) == expected


def test_traceback_belongs_to_the_line_before(tmp_path: Path) -> None:
    """Lines without a time share the fate of the one that they follow."""
    file = tmp_path / "backend.log"
    file.write_text(
        "2026-11-23T17:00:00Z ERROR a\n  File x\n2026-11-23T18:00:00Z ERROR b\n  File y\n", encoding="utf-8"
    )
    since = datetime(2026, 11, 23, 17, 30, tzinfo=UTC)

    lines = read_log_file(file, service="backend", replica="backend-1", since=since, max_bytes=1000)

    assert [line.text for line in lines] == ["2026-11-23T18:00:00Z ERROR b", "  File y"]


def test_rotated_file_comes_first(tmp_path: Path) -> None:
    """What was rotated away is older, and counts against the same limit."""
    (tmp_path / "a.log.1").write_text("old 1\nold 2\n", encoding="utf-8")
    (tmp_path / "a.log").write_text("new\n", encoding="utf-8")

    def read(max_bytes: int) -> list[str]:
        found = read_log_file(tmp_path / "a.log", service="a", replica="a-1", since=BEGINNING, max_bytes=max_bytes)
        return [line.text for line in found]

    assert read(1000) == ["old 1", "old 2", "new"]
    assert read(11) == ["old 2", "new"]
    assert read(4) == ["new"]


def test_missing_file_has_no_lines(tmp_path: Path) -> None:
    """A service that has not logged yet is no error."""
    found = read_log_file(tmp_path / "none.log", service="a", replica="a-1", since=BEGINNING, max_bytes=10)

    assert list(found) == []


@given(st.lists(st.text("ab\n", max_size=12)), st.integers(1, 60))
def test_newest_bytes_are_whole_lines_of_the_end(pieces: list[str], limit: int) -> None:
    """However the stream is cut: at most the limit, a suffix of the whole, beginning with a whole line."""
    chunks = [piece.encode() for piece in pieces]
    whole = b"".join(chunks)

    kept = b"".join(newest_bytes(chunks, limit))

    assert len(kept) <= limit
    assert whole.endswith(kept)
    assert kept == whole or not kept or whole[: -len(kept)].endswith(b"\n")


@given(st.lists(st.binary(max_size=8)))
def test_lines_do_not_depend_on_how_the_stream_is_cut(chunks: list[bytes]) -> None:
    """Splitting chunk by chunk gives the same lines as splitting the whole."""
    assert list(split_lines(chunks)) == list(split_lines([b"".join(chunks)]))


def test_entry_that_the_limit_cuts_in_two_is_left_out(tmp_path: Path) -> None:
    """The end of a traceback whose beginning was cut off has no time, and nobody could tell whose it is."""
    file = tmp_path / "backend.log"
    file.write_text("2026-11-23T17:00:00Z ERROR\n  File one\n  File two\n2026-11-23T17:00:01Z INFO after\n")
    lines = read_log_file(file, service="backend", replica="backend-1", since=BEGINNING, max_bytes=45)
    assert [line.text for line in lines] == ["2026-11-23T17:00:01Z INFO after"]


def test_log_without_any_times_is_given_whole(tmp_path: Path) -> None:
    """Better lines without a time than none."""
    file = tmp_path / "backend.log"
    file.write_text("one\ntwo\nthree\n")
    lines = read_log_file(file, service="backend", replica="backend-1", since=BEGINNING, max_bytes=10)
    assert [(line.text, line.at) for line in lines] == [("two", None), ("three", None)]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 50))
def test_pieces_are_whole_lines_and_nothing_is_lost(chunks: list[bytes], size: int) -> None:
    """However the stream is cut: the same bytes, and a piece ends with a line wherever there is one to end with."""
    pieces = list(whole_lines(chunks, piece_bytes=size))

    assert b"".join(pieces) == b"".join(chunks)
    assert all(piece.endswith(b"\n") or b"\n" not in piece for piece in pieces[:-1])


@given(st.lists(st.binary(max_size=30)), st.integers(1, 50))
def test_frames_of_the_engine(loads: list[bytes], size: int) -> None:
    """However the stream is cut: what the frames carry, in order."""
    framed = b"".join(bytes([1, 0, 0, 0]) + len(load).to_bytes(4, "big") + load for load in loads)
    cut = [framed[at : at + size] for at in range(0, len(framed), size)]

    assert b"".join(split_frames(cut)) == b"".join(loads)


def frame(stream: int, load: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(load).to_bytes(4, "big") + load


@pytest.mark.parametrize(("timestamps", "stamp"), [(True, b"2026-11-27T12:00:00.1Z "), (False, b"")])
def test_a_long_line_is_put_together(timestamps: bool, stamp: bytes) -> None:
    """The engine keeps it in pieces of 16 KB, each with a time of its own; stderr may have written in between."""
    pieces = [(1, b"a" * 9), (2, b"other\n"), (1, b"b 2026" * 9), (1, b"c\n"), (1, b"next\n")]
    framed = b"".join(frame(stream, stamp + load) for stream, load in pieces)
    lines = b"".join(split_frames([framed], timestamps=timestamps)).splitlines()
    assert lines == [stamp + b"other", stamp + b"a" * 9 + b"b 2026" * 9 + b"c", stamp + b"next"]


class OfDriver:
    """An engine's API whose container has a log driver that cannot be read, as the engine answers then."""

    base_url, api_version, timeout = "http://engine", "1.41", 1

    def inspect_container(self, _container: str) -> dict[str, object]:
        return {"Name": "/desk_backend_1", "Config": {"Tty": False}, "HostConfig": {"LogConfig": {"Type": "none"}}}

    def get(self, _url: str, **_given: object) -> Response:
        answer = Response()
        answer.status_code = 501
        return answer


def test_a_driver_that_gives_no_log_is_named() -> None:
    """So is the setting to change."""
    with pytest.raises(StackUnavailableError, match=r"'desk_backend_1'.*driver is 'none'.*logging.driver to 'local'"):
        open_log(OfDriver(), "c0ffee", {})  # type: ignore[arg-type]  # as much of the engine's API as is asked


def test_a_stream_without_frames_is_told() -> None:
    """A terminal's raw output taken for frames would be nonsense."""
    with pytest.raises(OSError, match="frame of kind 50"):
        list(split_frames([b"2026-11-23T17:00:00Z INFO"]))


@pytest.mark.parametrize("second", [0, 1, 17, 4_000, 39_999, 50_000])
def test_where_a_time_begins_in_a_long_file_is_found(tmp_path: Path, second: int) -> None:
    """By search, with tracebacks between the lines that have a time; the same lines as by reading from the beginning."""
    file = tmp_path / "backend.log"
    start = datetime(2026, 11, 23, tzinfo=UTC)
    with file.open("w", encoding="utf-8") as stream:
        for number in range(40_000):
            at = (start + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            stream.write(f"{at} INFO request number {number}\n" + '  File "x.py"\n' * (number % 3))
    since = start + timedelta(seconds=second)

    found = b"".join(read_log_chunks(file, since=since, max_bytes=10**9)).decode().splitlines()

    lines = read_log_file(file, service="a", replica="a-1", since=since, max_bytes=10**9)
    assert found == [line.text for line in lines]
