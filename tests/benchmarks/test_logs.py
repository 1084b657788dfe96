"""Counting statuses in a backend's log, end to end: our log source beside the playbook's pipeline, in one run.

Ours is the reading that the runbook shows: supervisord is asked where the log lies, the log is searched for the
beginning, read in pieces, counted, and made a table. Reported, not asserted, save that both count the same.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from flowrex_ops.logs.source import LogSource
from flowrex_sandbox.stacks.supervisor import SupervisorStack

pytestmark = pytest.mark.benchmark(group="statuses in 100 MB of log")
MEGABYTE = 1_000_000
SINCE = timedelta(days=3650)
PLAYBOOK = "cat {log} | grep HTTP | awk '{{print $NF}}' | sort | uniq -c"
CONFIGURATION = """[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
nodaemon=true
{user}
[unix_http_server]
file={folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[program:backend]
command=/bin/true
autostart=false
stdout_logfile={log}
"""
MEMORY = """
import resource, sys
from datetime import timedelta
from pathlib import Path
from flowrex_ops.logs.source import LogSource
from flowrex_sandbox.stacks.supervisor import SupervisorStack
stack = SupervisorStack(Path(sys.argv[1]), timeout_seconds=10)
logs = LogSource(stack, "backend", limit_seconds=120, max_bytes=10**10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
counted = int(logs.count_statuses(since=timedelta(days=3650)).require()["lines"].sum())
print(counted, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def block() -> bytes:
    """A few megabytes as the backend writes them: requests, and a traceback now and then."""
    chance = random.Random(1)  # noqa: S311  # a log for a benchmark
    statuses = [200] * 90 + [201] * 5 + [404, 500, 500, 502, 503]
    lines = []
    for number in range(40_000):
        at = f"2026-11-23T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.{number % 1000:03d}Z"
        status = chance.choice(statuses)
        if status == 500:
            lines.append(f"{at} ERROR unhandled exception in /api/prices: 'ETHUSD'\nTraceback (most recent call last):")
            lines.append('  File "/srv/app/trading.py", line 41, in get_prices\n    return prices[symbol]\nKeyError: 1')
        took, user = chance.randint(1, 400), chance.randint(1, 40)
        lines.append(
            f'{at} INFO request route=/api/prices duration_ms={took} client=10.0.0.{user} "GET /api/prices HTTP/1.1" {status}'
        )
    return ("\n".join(lines) + "\n").encode()


class Logs:
    """Logs of any size, each known to a supervisord as its backend's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._block = block()
        self._running: list[subprocess.Popen[bytes]] = []

    def make(self, megabytes: int) -> tuple[Path, Path]:
        """The log, and the socket of its supervisord."""
        folder = self._folder / str(megabytes)
        folder.mkdir()
        log = folder / "backend.log"
        with log.open("wb") as stream:
            while stream.tell() < megabytes * MEGABYTE:
                stream.write(self._block)
        configuration = folder / "supervisord.conf"
        user = "user=root" if os.geteuid() == 0 else ""
        configuration.write_text(CONFIGURATION.format(folder=folder, log=log, user=user))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        self._running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        socket = folder / "supervisor.sock"
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return log, socket

    def remove(self) -> None:
        """End the supervisords and delete the logs."""
        for process in self._running:
            process.terminate()
            process.wait(10)
        for log in self._folder.glob("*/backend.log"):
            log.unlink()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logs]:
    made = Logs(tmp_path_factory.mktemp("logs"))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def log(logs: Logs) -> tuple[Path, Path]:
    return logs.make(100)


def ours(socket: Path) -> dict[str, int]:
    stack = SupervisorStack(socket, timeout_seconds=10)
    source = LogSource(stack, "backend", limit_seconds=120, max_bytes=10**10)
    table = source.count_statuses(since=SINCE).require()
    return dict(zip(table["status"], table["lines"], strict=True))


def playbook(log: Path) -> dict[str, int]:
    done = subprocess.run(["sh", "-c", PLAYBOOK.format(log=log)], capture_output=True, text=True, check=True)
    return {status: int(number) for number, status in (line.split() for line in done.stdout.splitlines())}


FASTEST: dict[str, float] = {}


def test_our_log_source(benchmark: BenchmarkFixture, log: tuple[Path, Path]) -> None:
    counted = benchmark.pedantic(lambda: ours(log[1]), rounds=7, warmup_rounds=1)
    FASTEST["ours"] = benchmark.stats.stats.median
    assert counted == playbook(log[0])


def test_playbook_pipeline(benchmark: BenchmarkFixture, log: tuple[Path, Path]) -> None:
    benchmark.pedantic(lambda: playbook(log[0]), rounds=7, warmup_rounds=1)
    FASTEST["playbook"] = benchmark.stats.stats.median
    if "ours" in FASTEST:
        ratio = FASTEST["playbook"] / FASTEST["ours"]
        sys.stdout.write(f"statuses in 100 MB: ours {FASTEST['ours']:.2f} s, playbook {FASTEST['playbook']:.2f} s, ")
        sys.stdout.write(f"ratio {ratio:.1f}\n")


@pytest.mark.benchmark(group="peak memory of counting")
def test_peak_memory_does_not_grow_with_the_log(
    benchmark: BenchmarkFixture, logs: Logs, log: tuple[Path, Path]
) -> None:
    """Peak resident memory of a process of its own, for 100 MB and for 1 GB."""
    _, large = logs.make(1000)

    def peaks() -> dict[str, tuple[int, int]]:
        found = {}
        for name, socket in (("100 MB", log[1]), ("1 GB", large)):
            # By way of a shell: a child begins with the peak of the process that it was forked from, here pytest's.
            command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", MEMORY, str(socket)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            _, before, after = map(int, done.stdout.split())
            found[name] = (before // 1024, after // 1024)
        return found

    found = benchmark.pedantic(peaks, rounds=1)
    benchmark.extra_info["MB before and after"] = json.dumps(found)
    reported = ", ".join(f"{name}: {after} MB (imports alone {before} MB)" for name, (before, after) in found.items())
    sys.stdout.write(f"peak memory: {reported}\n")
    assert found["1 GB"][1] <= found["100 MB"][1] + 10
