"""The kernel's files as they look, and a platform's memory with and without Prometheus."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, cast

import pytest
from conftest import missing_part

from flowrex_ops.compose import Stack
from flowrex_ops.memory.host import HostMemory, HostSource, host_frame, parse_host
from flowrex_ops.memory.source import ENOUGH_SAMPLES, PROMETHEUS, SAMPLED, MemorySource, parse_kills
from flowrex_ops.memory.views import get_trends
from flowrex_ops.metrics.prometheus import PrometheusSource
from flowrex_ops.model import Usage
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

MEMINFO = """/proc/meminfo:MemTotal:       24683520 kB
/proc/meminfo:MemFree:        19338752 kB
/proc/meminfo:MemAvailable:   21914624 kB
/proc/meminfo:SwapTotal:       2097148 kB
/proc/meminfo:SwapFree:        1048574 kB
"""
PRESSURE = """/proc/pressure/memory:some avg10=22.59 avg60=5.35 avg300=1.17 total=4050522
/proc/pressure/memory:full avg10=3.10 avg60=0.84 avg300=0.17 total=1010227
"""
VMSTAT = "/proc/vmstat:pgmajfault 4242\n/proc/vmstat:oom_kill 3\n"
V2 = "/sys/fs/cgroup/memory.events:low 0\n/sys/fs/cgroup/memory.events:oom 2\n/sys/fs/cgroup/memory.events:oom_kill 2\n"
V1 = (
    "/sys/fs/cgroup/memory/memory.oom_control:oom_kill_disable 0\n/sys/fs/cgroup/memory/memory.oom_control:oom_kill 1\n"
)


def test_a_host_with_everything() -> None:
    assert parse_host(MEMINFO + PRESSURE + VMSTAT) == HostMemory(
        total_bytes=24683520 * 1024,
        available_bytes=21914624 * 1024,
        swap_total_bytes=2097148 * 1024,
        swap_free_bytes=1048574 * 1024,
        some_avg10=22.59,
        some_avg60=5.35,
        full_avg10=3.10,
        oom_kills=3,
    )


def test_a_kernel_without_pressure() -> None:
    found = parse_host(MEMINFO)
    assert (found.some_avg10, found.full_avg10, found.oom_kills) == (None, None, None)
    assert "not measured by this kernel" in set(host_frame(found)["value"])


@pytest.mark.parametrize("text", ["", "nonsense\n\n", PRESSURE, "/proc/meminfo:MemTotal: 12 kB\n"])
def test_what_is_no_meminfo_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MemTotal"):
        parse_host(text)


@pytest.mark.parametrize(("text", "kills"), [(V2, 2), (V1, 1), ("", None), ("/sys/…:oom_kill many\n", None)])
def test_kills_by_either_cgroup(text: str, kills: int | None) -> None:
    assert parse_kills(text) == kills


def source(sandbox: Sandbox, url: str | None) -> MemorySource:
    def names() -> dict[str, str]:
        replicas = sandbox.replicas()
        return {f"{host}:{port}": replica.name for replica in replicas for host, port in replica.ports.values()}

    prometheus = PrometheusSource(url, limit_seconds=5, limit_rows=1000, missing="not there", find_names=names)
    return MemorySource(sandbox.stack(), prometheus, "backend", limit_seconds=10)


class Slow:
    """An engine of a machine that is short of memory: every answer takes a while."""

    kind = "compose"

    def get_usage(self) -> list[Usage]:
        time.sleep(0.2)
        return [Usage("redis", "redis-1", 2**20, None, 0.0)]


def test_a_busy_machine_is_sampled_for_longer() -> None:
    """Of two samples nothing could be said."""
    prometheus = PrometheusSource(None, limit_seconds=5, limit_rows=1000, missing="not there", find_names=dict)
    slow = MemorySource(cast("Stack", Slow()), prometheus, "backend", limit_seconds=4)
    sampled = slow.get_memory(since=timedelta(minutes=5), window_seconds=0.3, every_seconds=0.1).require()
    assert len(sampled) == ENOUGH_SAMPLES


def test_without_prometheus_the_stack_is_sampled(any_sandbox: Sandbox) -> None:
    """Every replica of every service, several times; the backend's have a limit on both stacks, and once started they stand still."""
    asked = source(any_sandbox, None)

    def sampled() -> Any:
        return asked.get_memory(since=timedelta(minutes=1), window_seconds=2.5, every_seconds=0.5).require()

    def backend() -> Any:
        return sampled().query("service == 'backend'")

    found = sampled()
    assert set(found["origin"]) == {SAMPLED}
    assert found["service"].nunique() > 3
    reported = backend()
    assert set(reported["replica"]) == {"backend-1", "backend-2", "backend-3"}
    assert set(reported["limit_bytes"]) == {256.0 * 2**20}
    assert reported.groupby("replica").size().min() >= 2
    await_condition(lambda: not get_trends(backend())["grows"].any(), "memory stood still", timeout_seconds=60)


def test_with_prometheus_there_is_a_history(supervisor_sandbox: Sandbox) -> None:
    """As soon as it has scraped each replica once."""
    port = supervisor_sandbox.state.ports.get("prometheus")
    if port is None:
        missing_part("Prometheus")
    asked = source(supervisor_sandbox, f"http://127.0.0.1:{port}")

    def remembered() -> Any:
        found = asked.get_memory(since=timedelta(minutes=2)).require()
        return found[found["origin"].eq(PROMETHEUS)]

    await_condition(lambda: remembered()["replica"].nunique() == 3, "each replica was scraped", timeout_seconds=30)
    history = remembered()
    assert set(history["replica"]) == {"backend-1", "backend-2", "backend-3"}
    assert set(history["limit_bytes"]) == {256.0 * 2**20}


def test_the_host_is_read_inside_a_replica(any_sandbox: Sandbox) -> None:
    found = HostSource(any_sandbox.stack(), "backend", limit_seconds=10).get_memory().require()
    assert 0 < found.available_bytes < found.total_bytes


def test_containers_count_their_own_kills(compose_sandbox: Sandbox) -> None:
    found = source(compose_sandbox, None).get_kill_counters().require()
    assert found["oom_kills"].tolist() == [0, 0, 0]
    assert found["error"].isna().all()


def test_plain_processes_have_no_count(supervisor_sandbox: Sandbox) -> None:
    assert source(supervisor_sandbox, None).get_kill_counters().require().empty
