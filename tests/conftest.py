"""Sandboxes for the whole session, and what to do on a machine without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from suite import WHOLE
from xdist.scheduler import LoadScopeScheduling

from flowrex_ops import sandbox
from flowrex_ops.sandbox import Sandbox, drills

STACKS = ("compose", "supervisor")


class StackScheduling(LoadScopeScheduling):
    """Side by side (``-n 2``) each stack's sandbox belongs to one worker, and stays up there; the rest goes file by file.

    By the test's id and its file's text: pytest-xdist's own groups do not work with pytest 9.2, which keeps ids elsewhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return stack_of(name, (Path(__file__).parents[1] / file).read_text(encoding="utf-8")) or file


def stack_of(name: str, text: str) -> str:
    """The stack whose sandbox the test *name* of a file with this *text* needs; empty where it needs none.

    The id names it, or the function's own arguments, or there is but one in the whole file. A test in the wrong worker
    brings up a sandbox more, which costs everybody else their time limits.
    """
    for stack in STACKS:
        if f"[{stack}" in name or f"-{stack}]" in name or f"-{stack}-" in name:
            return stack
    function = re.search(rf"def {name.rpartition('::')[2].partition('[')[0]}\((.*?)\)", text, re.DOTALL)
    for part in (function[1] if function else "", text.replace("locked_up", "supervisor_sandbox")):
        named = [stack for stack in STACKS if f"{stack}_sandbox" in part]
        if len(named) == 1:
            return named[0]
    return "supervisor" if named or "any_sandbox" in text else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> StackScheduling:
    """Our own scheduling, whatever ``--dist`` says."""
    return StackScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is written for both stacks is run on one of them, in turn, unless it is marked ``both_stacks`` or only one is asked for.

    What the drills show as well is left to ``make whole``.
    """
    pairs: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not item.get_closest_marker("both_stacks"):
            file, _, name = item.nodeid.partition("::")
            pairs.setdefault(f"{file}::{re.sub('|'.join(STACKS), '*', name)}", []).append(item)
    twins = [pair for pair in pairs.values() if len(pair) == len(STACKS)]
    spared = {pair[number % len(STACKS)] for number, pair in enumerate(twins)}
    spared |= {item for item in items if item.get_closest_marker("shown_by_drills")}
    if spared and not WHOLE:
        config.hook.pytest_deselected(items=list(spared))
        items[:] = [item for item in items if item not in spared]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Which drills did not pass the first time, and why: a test that is passed in the end is still worth a look."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    told = [value for report in reports for name, value in report.user_properties if name == "played twice"]
    if told:
        terminalreporter.section("drills that were played twice")
        for line in told:
            terminalreporter.line(str(line))


def missing_part(name: str) -> None:
    """Skip by name on a laptop; fail in CI, where everything is supposed to be there."""
    text = f"{name} is missing on this machine"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def docker_answers() -> bool:
    """Whether there is a Docker Engine to talk to."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=20).returncode == 0


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Docker Engine and compose, or no test."""
    if not docker_answers():
        missing_part("Docker Engine")
    if shutil.which("docker-compose") is None:
        missing_part("docker-compose")


@pytest.fixture(scope="session")
def supervisor_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The embedded platform, running."""
    yield from _running("supervisor", tmp_path_factory.mktemp("supervisor") / "home")


@pytest.fixture(scope="session")
def compose_sandbox(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The platform under Docker Compose, running."""
    yield from _running("compose", tmp_path_factory.mktemp("compose") / "home")


@pytest.fixture(params=["supervisor", pytest.param("compose", marks=pytest.mark.docker)])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each stack's platform in turn."""
    running: Sandbox = request.getfixturevalue(f"{request.param}_sandbox")
    return running


@pytest.fixture(scope="module")
def locked_up(supervisor_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A platform in which a chain of sessions waits behind one."""
    drills.inject(supervisor_sandbox, drills.get_drill("lock-chain"), print)
    yield supervisor_sandbox
    drills.heal(supervisor_sandbox, print)


def _running(stack: str, home: Path) -> Iterator[Sandbox]:
    started = sandbox.up(stack, home, on_progress=print)
    try:
        yield started
    finally:
        sandbox.down(home)
