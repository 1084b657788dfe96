"""A real scheduler and two real workers, one of which is killed while it runs a runbook."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_bench import Yard
from serve_bench import until

from flowrex_sandbox.ports import pick_free_ports

PLAN = """
name = "spread"
[[runs]]
runbook = "pool.ipynb"
matrix = {since = ["1m", "2m"]}
"""


class Cluster:
    """A scheduler and *workers*, each a process of its own without a nanny that would start it anew."""

    def __init__(self, folder: Path, workers: int) -> None:
        (port,) = pick_free_ports(1)
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        options = (
            "--no-nanny",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--local-directory",
            str(folder),
        )
        for number in range(workers):
            self._start("dask_worker", self.address, "--name", f"w{number}", *options)

    def _start(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *arguments]
        log = (self._folder / "cluster.log").open("ab")
        self.processes.append(subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log))

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(timeout=20)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"), workers=2)
    yield started
    started.stop()


@pytest.mark.thorough
def test_a_worker_that_is_killed_costs_no_run(yard: Yard, cluster: Cluster) -> None:
    """Its record says that it was interrupted, another worker makes the run, and the report tells both."""
    yard.plan(PLAN)
    for since in ("1m", "2m"):
        yard.hold(since)
    process = yard.start("--plan", "plan.toml", "--dask", cluster.address, "--json")
    until(lambda: len(yard.waiting()) == 2 or process.poll() is not None, seconds=120)
    assert process.poll() is None, process.communicate()
    cluster.processes[1].kill()
    until(lambda: "interrupted" in {record.status for record in yard.records()})
    for since in ("1m", "2m"):
        yard.release(since)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    runs = json.loads(out)["runs"]
    assert [run["status"] for run in runs] == ["complete"] * 2
    assert sum(len(run["earlier"]) for run in runs) == 1
    statuses = sorted(record.status for record in yard.records())
    assert statuses == ["complete", "complete", "interrupted"]


@pytest.mark.thorough
def test_a_batch_that_is_stopped_interrupts_its_runs_on_the_workers(yard: Yard, cluster: Cluster) -> None:
    """Nobody would fetch their results; the records say why they end."""
    yard.plan(PLAN)
    yard.hold("1m")
    yard.hold("2m")
    process = yard.start("--plan", "plan.toml", "--dask", cluster.address, "--jobs", "1")
    until(lambda: yard.waiting() or process.poll() is not None, seconds=120)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "0 of 2 runs are finished" in err, len(err.strip().splitlines())) == (1, True, 1), err
    until(lambda: [record.status for record in yard.records()] == ["interrupted"])
