"""10,000 alerts in bursts, with 20 SIGKILLs of ``serve`` and a disk that is full once: none lost, none told twice."""

from __future__ import annotations

import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import pytest
from full_disk import small_disk
from serve_bench import Server, a_payload, an_alert, until

from flowrex_ops.archive import timeline
from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox, to_toml

pytestmark = [pytest.mark.kills, pytest.mark.timeout(1500)]

SEED, ALERTS, KILLS, BURST, SENDERS = 20261130, 10_000, 20, 250, 4
WITHOUT_DATABASE = 1000
RUNS = {"database_connections", "triage"}


class Storm:
    """Alertmanager at its worst: many groups at once, each sent again until it is acknowledged."""

    def __init__(self, server: Server, known: str = "PoolExhausted") -> None:
        """Two of three alerts are *known*: a runbook answers them."""
        self.server, self.known = server, known
        self.acknowledged: list[float] = []
        self.refused: Counter[int] = Counter()
        self.up = threading.Event()
        self.client = httpx.Client(timeout=20, limits=httpx.Limits(max_connections=64))

    def send(self, number: int) -> None:
        alert = an_alert(self.known if number % 3 else f"Odd{number % 7}", f"{number:016x}")
        payload = a_payload(alert, group=f'{{}}:{{shard="{number}"}}')
        while True:
            self.up.wait()
            started = time.perf_counter()
            try:
                status = self.client.post(f"{self.server.url}/alertmanager", json=payload).status_code
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if status == 200:
                self.acknowledged.append(time.perf_counter() - started)
                return
            self.refused[status] += 1
            time.sleep(0.05)

    def times(self) -> str:
        """How soon alerts were acknowledged."""
        found = sorted(self.acknowledged)
        middle, late = (found[len(found) * share // 100] * 1000 for share in (50, 99))
        return f"{len(found):,} alerts acknowledged in p50 {middle:.0f} ms and p99 {late:.0f} ms"

    def restart(self) -> None:
        self.server.start()
        self.up.set()

    def kill(self) -> None:
        self.up.clear()
        self.server.kill()
        self.restart()


def test_a_storm_with_kills(prepare: Callable[..., Server], record_property: Callable[[str, object], None]) -> None:
    """Each alert is in one timeline, once; there are few incidents; memory does not grow with what was sent."""
    random = Random(SEED)  # noqa: S311  # it chooses moments
    server = prepare()
    storm = Storm(server)
    with small_disk(server.outputs, 200):
        try:
            storm.restart()
            kills = sorted(random.sample(range(ALERTS // BURST), KILLS))
            filled = ALERTS // BURST // 2
            held: list[int] = []
            with ThreadPoolExecutor(SENDERS) as pool:
                for burst in range(ALERTS // BURST):
                    sent = [pool.submit(storm.send, burst * BURST + n) for n in range(BURST)]
                    if burst == filled:
                        _fill(server.outputs, storm)
                    if burst in kills:
                        time.sleep(random.uniform(0.05, 1.0))  # the moment itself is what is tried
                        storm.kill()
                    for one in sent:
                        one.result()
                    assert server.process is not None
                    held.append(psutil.Process(server.process.pid).memory_info().rss)
            incidents = len(list(server.outputs.glob("INC-*")))
            told = _told(server)
        finally:
            server.stop()
    record_property(
        "storm",
        f"{storm.times()}, {KILLS} kills, {sum(storm.refused.values())} refused while the disk was full,"
        f" {incidents} incidents, {max(held) / 2**20:.0f} MiB at most",
    )
    assert (len(told), set(told.values())) == (ALERTS, {1})
    assert 1 <= incidents <= 10


@pytest.mark.parametrize("senders", [1, 4])
def test_a_storm_without_the_database(
    senders: int,
    prepare: Callable[..., Server],
    supervisor_sandbox: Sandbox,
    record_property: Callable[[str, object], None],
) -> None:
    """The platform's PostgreSQL goes away in its midst: each alert is told once, and the runs, our own, end by themselves."""
    server = prepare()
    found: dict[str, Any] = tomllib.loads(supervisor_sandbox.settings_file.read_text(encoding="utf-8"))
    text = to_toml(found | {"outputs": str(server.outputs)})
    (server.folder / "flowrex-ops.toml").write_text(text, encoding="utf-8")
    storm, stack = Storm(server, "DatabasePoolExhausted"), supervisor_sandbox.stack()
    (database,) = stack.get_replicas("postgres")
    try:
        server.start(notebooks="")
        storm.up.set()
        with ThreadPoolExecutor(senders) as pool:
            sent = [pool.submit(storm.send, number) for number in range(WITHOUT_DATABASE)]
            sent[WITHOUT_DATABASE // 10].result()
            stack.stop(database, timeout_seconds=30)
            for one in sent:
                one.result()
        until(lambda: server.is_idle() and len(server.records()) >= len(RUNS), 240)
        told, ended = _told(server), {one.metadata.runbook: one.status for one in server.records()}
    finally:
        stack.start(database, timeout_seconds=30)
        drills.reset(supervisor_sandbox, print)
    runs = ", ".join(f"{name} {status}" for name, status in ended.items())
    record_property("storm", f"{senders} senders, PostgreSQL gone: {storm.times()}; {runs}")
    assert (len(told), set(told.values())) == (WITHOUT_DATABASE, {1})
    assert set(ended) == RUNS
    assert set(ended.values()) <= {"complete", "partial"}


def _told(server: Server) -> Counter[str]:
    """How often each alert stands on a timeline."""
    lines = (line for folder in server.outputs.glob("INC-*") for line in timeline.read(folder))
    return Counter(line["fingerprint"] for line in lines if line["kind"] == "alert")


def _fill(folder: Path, storm: Storm) -> None:
    """Take every byte until somebody was refused for it, then give them back."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 2**16)
        except OSError:
            pass
    deadline = time.monotonic() + 20
    while not storm.refused and time.monotonic() < deadline:
        time.sleep(0.01)
    filler.unlink()
    assert storm.refused, "a full disk is no reason to acknowledge"
