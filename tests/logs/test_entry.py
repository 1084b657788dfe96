"""The heads that loggers put before a text: taken off, whatever they are, so that the same text is the same error."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.logs.entry import plain, split_entry
from flowrex_ops.logs.error_log import ErrorLog, read_errors
from flowrex_ops.model import LogLine

NOW = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
T = "2026-11-27 12:00:00"
HEADS = {
    "asctime": "{T},007 ERROR ",
    "name - level": "{T},007 - app.ledger - ERROR - ",
    "name and level in brackets": "{T},007 [ERROR] app.ledger: ",
    "thread": "{T},007 (MainThread) ERROR [app.ledger] ",
    "loguru": "{T}.007 | ERROR    | app.ledger:book:58 - ",
    "gunicorn": "[{T} +0000] [9] [ERROR] ",
    "celery": "[{T},007: ERROR/ForkPoolWorker-1] ",
    "structlog": "2026-11-27T12:00:00.007Z [error    ] ",
    "glog": "E1127 12:00:00.007456 140735 ledger.py:58] ",
    "Django": "ERROR {T},007 ledger 9 140735 ",
    "uvicorn": "ERROR:    ",
    "uvicorn in colour": "\x1b[31mERROR\x1b[0m:    ",
    "basicConfig": "ERROR:app.ledger:",
    "Apache": "[Fri Nov 27 12:00:00 2026] [error] ",
    "HDFS": "081109 203615 148 ERROR dfs.DataNode$PacketResponder: ",
    "ZooKeeper": "{T},747 - ERROR  [QuorumPeer[myid=1]/0:0:0:0:0:0:0:0:2181:FastLeaderElection@774] - ",
    "syslog": "Nov 27 12:00:00 host app[12]: ERROR: ",
    "zap": "2026-11-27T12:00:00.007Z\terror\tapp.ledger\t",
    "PostgreSQL's": "{T} UTC [42] ERROR:  ",
    "pipes": "{T},007|ERROR|app.ledger|",
    "Flask": "[{T},007] ERROR in ledger: ",
    "level alone": "[ERROR] ",
}
"""Each as its project's documentation shows it."""


def with_head(name: str, text: str, number: int = 0) -> str:
    at = datetime(2026, 11, 27, 12, tzinfo=UTC) + timedelta(seconds=number)
    return HEADS[name].replace("{T}", f"{at:%Y-%m-%d %H:%M:%S}") + text


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "text", ["margin call failed: no quote for 17", "ValueError: no such symbol", "[EURUSD] 3 orders left"]
)
def test_a_head_is_taken_off(head: str, text: str) -> None:
    """And nothing of the text with it."""
    entry = split_entry(plain(with_head(head, text)))
    assert entry is not None
    assert (entry.is_error, entry.text) == (True, text)


@pytest.mark.parametrize(
    "line",
    [
        "INFO:     Started server process [1]",
        f"{T},007 WARNING app.ledger: ERROR is what it says",
        f"{T},007 - app - INFO - 0 errors",
        "[2026-11-27 12:00:00 +0000] [9] [INFO] Booting worker with pid: 9",
        f"{T} LOG: ready",
    ],
)
def test_a_lesser_entry_is_no_error(line: str) -> None:
    """The word alone, somewhere in the line, is nothing."""
    entry = split_entry(line)
    assert entry is not None
    assert not entry.is_error


@pytest.mark.parametrize(
    "line", ["booking failed", "KeyError: 'x'", "DETAIL:  Key (id)=(17)", "  ERROR indented", "", "LINE 1: SELECT"]
)
def test_what_was_only_printed_begins_no_entry(line: str) -> None:
    assert split_entry(line) is None


def test_fields_of_a_console_line_are_no_text() -> None:
    """Structlog pads its text and puts the logger and what varies behind it."""
    entry = split_entry(
        "2026-11-27T12:00:00Z [error    ] booking failed                 [app.ledger] order_id=4 who='a b'"
    )
    assert entry is not None
    assert entry.text == "booking failed"


@given(st.text(max_size=120))
def test_any_line_is_split(text: str) -> None:
    """Nonsense breaks nothing, and what is left is the end of what was there."""
    entry = split_entry(text)
    assert entry is None or entry.text.strip() in text or '"' in text


TEMPLATES: dict[str, Sequence[str]] = {
    "HDFS": (
        "PacketResponder {n} for block blk_{n} terminating",
        "Received block blk_{n} of size {n} from /{ip}",
        "BLOCK* NameSystem.allocateBlock: /user/root/rand/_temporary/_task_{n}_m_{n}/part-{n}. blk_-{n}",
        "Verification succeeded for blk_-{n}",
        "Deleting block blk_{n} file /mnt/hadoop/dfs/data/current/blk_{n}",
    ),
    "OpenSSH": (
        "Failed password for invalid user {word} from {ip} port {n} ssh2",
        "Received disconnect from {ip}: {n}: Bye Bye [preauth]",
        "reverse mapping checking getaddrinfo for {word}.example [{ip}] failed - POSSIBLE BREAK-IN ATTEMPT!",
        "Connection closed by {ip} [preauth]",
        "Did not receive identification string from {ip}",
    ),
    "Apache": (
        "jk2_init() Found child {n} in scoreboard slot {n}",
        "workerEnv.init() ok /etc/httpd/conf/workers2.properties",
        "mod_jk child workerEnv in error state {n}",
        "[client {ip}] Directory index forbidden by rule: /var/www/html/",
        "jk2_init() Can't find child {n} in scoreboard",
    ),
    "ZooKeeper": (
        "Received connection request /{ip}:{n}",
        "Connection broken for id {n}, my id = {n}, error =",
        "Notification time out: {n}",
        "Closed socket connection for client /{ip}:{n} (no session established for client)",
        "Interrupted while waiting for message on queue",
    ),
    "a desk": (
        "order {id} rejected by broker: insufficient margin {n}.{n}",
        "margin call failed for account {n}",
        "quotes went silent for {n} s",
        "websocket of user {word} closed with {n}",
        "cannot book trade {id}: account {n} is frozen",
    ),
}
"""Messages in the manner of well-known sets, written for this test."""


def messages(manner: str) -> list[tuple[int, str]]:
    """Two hundred in no order, each with the number of its template."""
    chance = random.Random(manner)  # noqa: S311  # messages for a test
    fill = {
        "{n}": lambda: str(chance.randint(0, 10**6)),
        "{ip}": lambda: ".".join(str(chance.randint(1, 254)) for _ in range(4)),
        "{word}": lambda: "".join(chance.choices("abcdefghij", k=6)),
        "{id}": lambda: "".join(chance.choices("0123456789abcdef", k=24)),
    }
    found = []
    for _ in range(200):
        number = chance.randrange(len(TEMPLATES[manner]))
        text = TEMPLATES[manner][number]
        found.append((number, re.sub(r"\{\w+\}", lambda hole: fill[hole[0]](), text)))
    return found


def grouped(lines: Sequence[str]) -> ErrorLog:
    entries = (LogLine("backend", "b1", line, NOW - timedelta(minutes=1)) for line in lines)
    return read_errors(entries, until=NOW, since=NOW - timedelta(minutes=30), recent_since=NOW - timedelta(minutes=5))


@pytest.mark.parametrize("manner", TEMPLATES)
@pytest.mark.parametrize("head", HEADS)
def test_grouping_is_right_whatever_the_head(head: str, manner: str) -> None:
    """The share of messages whose group holds all of its template and nothing else: three quarters or more, and the same as with another head."""
    said = messages(manner)
    table = grouped([with_head(head, text, number) for number, (_, text) in enumerate(said)]).exceptions
    plainly = grouped([with_head("level alone", text) for _, text in said]).exceptions
    counts = {template: sum(one == template for one, _ in said) for template, _ in said}
    first = {text: template for template, text in reversed(said)}
    right = sum(
        row.count_
        for row in table.rename(columns={"count": "count_"}).itertuples()
        if counts[first[row.first_line]] == row.count_
    )
    assert right / len(said) >= 0.75
    assert table[["signature", "count"]].equals(plainly[["signature", "count"]])
