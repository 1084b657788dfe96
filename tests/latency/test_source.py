"""The kernel's files as they look, and replicas that are asked for what costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowrex_ops.latency.source import LatencySource, parse_pressure
from flowrex_sandbox.sandbox import Sandbox

PRESSURE = "/proc/pressure/cpu:some avg10=12.50 avg60=40.25 avg300=1.00 total=1\n/proc/pressure/cpu:full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
PRESSURE += "/proc/pressure/io:some avg10=3.00 avg60=61.50 avg300=1.00 total=1\n"


def counters(periods: int, throttled: int, *, file: str = "/sys/fs/cgroup/cpu.stat") -> str:
    return f"{PRESSURE}{file}:usage_usec 5\n{file}:nr_periods {periods}\n{file}:nr_throttled {throttled}\n"


@pytest.mark.parametrize(
    ("before", "after", "limited", "expected"),
    [
        (counters(100, 10), counters(110, 16), True, (12.5, 40.25, 0.6, 61.5)),
        (counters(100, 10), counters(100, 10), True, (12.5, 40.25, 0.0, 61.5)),
        (f"{PRESSURE}x:usage_usec 1\n", f"{PRESSURE}x:usage_usec 2\n", True, (12.5, 40.25, 0.0, 61.5)),
        (PRESSURE, PRESSURE, True, (12.5, 40.25, None, 61.5)),
        (counters(100, 10), counters(110, 16), False, (12.5, 40.25, 0.0, 61.5)),
        ("", "", True, (None, None, None, None)),
    ],
    ids=["throttled", "no limit", "no quota in v2", "no cgroup", "a plain process", "nothing"],
)
def test_pressure_and_throttling(before: str, after: str, limited: bool, expected: tuple[float | None, ...]) -> None:
    assert parse_pressure(before, after, limited=limited) == expected


def test_replicas_of_a_platform(supervisor_sandbox: Sandbox) -> None:
    """Each answers at once and again, one that is not there is named, and each tells its CPU."""
    urls = dict(zip(("backend-1", "backend-2"), supervisor_sandbox.backend_urls(), strict=False))
    gone = {**urls, "backend-9": "http://127.0.0.1:9"}
    source = LatencySource(supervisor_sandbox.stack(), "backend", lambda: gone, limit_seconds=20)
    answers = source.sample_liveness(window_seconds=0.5).require().groupby("replica")
    assert answers["seconds"].count().gt(0).to_dict() == {"backend-1": True, "backend-2": True, "backend-9": False}
    assert answers["error"].count()["backend-9"] == 1
    cpu = source.sample_pressure(window_seconds=0.1).require()
    assert cpu["error"].isna().all()
    assert cpu["throttled_share"].eq(0).all()
    assert cpu["io_pressure_avg60"].notna().eq(Path("/proc/pressure/io").exists()).all()
    assert len(cpu) == supervisor_sandbox.state.replicas


def test_nobody_to_ask(supervisor_sandbox: Sandbox) -> None:
    source = LatencySource(supervisor_sandbox.stack(), "no-such", dict, limit_seconds=5)
    assert "set backend.urls" in (source.sample_liveness().error or "")
    assert "no replica of 'no-such' runs" in (source.sample_pressure().error or "")
    source = LatencySource(supervisor_sandbox.stack(), "x", lambda: {"x-1": "http://127.0.0.1:9"}, limit_seconds=5)
    assert "no backend replica was reached" in (source.sample_liveness(window_seconds=0.1).error or "")
