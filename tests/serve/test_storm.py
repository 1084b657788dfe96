"""10,000 alerts in bursts, with 20 SIGKILLs of ``serve`` and a disk that is full once: none lost, none told twice."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import httpx
import psutil
import pytest
from conftest import missing_part
from serve_bench import Server, a_payload, an_alert

from flowrex_ops.archive import timeline

pytestmark = [pytest.mark.kills, pytest.mark.timeout(1500)]

SEED, ALERTS, KILLS, BURST, SENDERS = 20261130, 10_000, 20, 250, 4


class Storm:
    """Alertmanager at its worst: many groups at once, each sent again until it is acknowledged."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.acknowledged: list[float] = []
        self.refused: Counter[int] = Counter()
        self.up = threading.Event()
        self.client = httpx.Client(timeout=20, limits=httpx.Limits(max_connections=64))

    def send(self, number: int) -> None:
        alert = an_alert("PoolExhausted" if number % 3 else f"Odd{number % 7}", f"{number:016x}")
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

    def restart(self) -> None:
        self.server.start()
        self.up.set()

    def kill(self) -> None:
        self.up.clear()
        self.server.kill()
        self.restart()


@pytest.fixture
def small_disk(tmp_path: Path) -> Callable[[Path], None]:
    """Mount a disk of 200 MiB at a folder, which goes with the test."""

    def mount(folder: Path) -> None:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            missing_part("the right to mount a small disk")

    return mount


def test_a_storm_with_kills(
    prepare: Callable[..., Server],
    small_disk: Callable[[Path], None],
    record_property: Callable[[str, object], None],
) -> None:
    """Each alert is in one timeline, once; there are few incidents; memory does not grow with what was sent."""
    random = Random(SEED)  # noqa: S311  # it chooses moments
    server = prepare()
    small_disk(server.outputs)
    storm = Storm(server)
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
        told = Counter(
            line["fingerprint"]
            for folder in server.outputs.glob("INC-*")
            for line in timeline.read(folder)
            if line["kind"] == "alert"
        )
    finally:
        server.stop()
        subprocess.run(["umount", "-l", str(server.outputs)], check=True)
    times = sorted(storm.acknowledged)
    record_property(
        "storm",
        f"{len(times):,} alerts, {KILLS} kills, {sum(storm.refused.values())} refused while the disk was full,"
        f" {incidents} incidents, acknowledged in p50 {times[len(times) // 2] * 1000:.0f} ms and p99"
        f" {times[len(times) * 99 // 100] * 1000:.0f} ms, {max(held) / 2**20:.0f} MiB at most",
    )
    assert (len(told), set(told.values())) == (ALERTS, {1})
    assert 1 <= incidents <= 10


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
