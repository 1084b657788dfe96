"""SIGKILL of Docker Engine at moments that a seed chose: a run goes on without it, and says what it could not read.

One after another, on one worker: there is one engine.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import docker_answers

from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition
from tests.kills.test_kills import Run, assert_true, moments

pytestmark = [pytest.mark.kills, pytest.mark.timeout(300)]
RUN_SECONDS = 10.0
"""Of the runbook that asks the engine most."""


def start_engine(command: list[str]) -> None:
    """As its unit does (Restart=always): it gives up where its containerd is only just going down.

    Nobody's child, and without the file of its number: a zombie would be taken for an engine that still runs.
    """

    def answers() -> bool:
        if not docker_answers() and not _engines():
            Path("/var/run/docker.pid").unlink(missing_ok=True)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run(["setsid", "--fork", *command], check=True, **quiet)
        return docker_answers()

    await_condition(answers, "the engine was back", timeout_seconds=120, poll_seconds=1.0)


def _engines() -> list[psutil.Process]:
    found = psutil.process_iter(["name", "status"])
    return [one for one in found if one.info["name"] == "dockerd" and one.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("share", moments("engine", 10))
def test_docker_engine(share: float, compose_sandbox: Sandbox, tmp_path: Path) -> None:
    """As the database; its containers go on, and it takes them up again."""
    run = Run(compose_sandbox, tmp_path, "memory_usage")
    time.sleep(share * RUN_SECONDS)  # the moment itself is what is tried
    (engine,) = _engines()
    command = engine.cmdline()
    engine.kill()
    await_condition(lambda: not docker_answers(), "the engine was gone", timeout_seconds=20)
    try:
        said = run.end()
    finally:
        start_engine(command)
        drills.reset(compose_sandbox, print)
    assert "Traceback" not in said
    record = run.record()
    assert record is not None, said
    assert_true(record)
