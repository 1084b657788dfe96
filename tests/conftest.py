"""Sandboxes, which tests belong to which suite, and what to do on a machine that lacks a part."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from flowrex_ops.outputs_url import STATE_VARIABLE
from flowrex_ops.record.forked import VARIABLE
from flowrex_ops.record.warm import warm_parent
from flowrex_sandbox import control as sandbox
from flowrex_sandbox import drills
from flowrex_sandbox.ports import PART
from flowrex_sandbox.sandbox import Sandbox

SUITE = "FLOWREX_TEST_SUITE"
SUITES = {"test": "make test", "compose": "make test-compose", "all": "make test-all", "kills": "make test-kills"}
"""Each test is in one of the first two, or only in the third, which runs those too; kills are by themselves. docs/testing.md says what is shown where."""

ALONE = (
    "tests/drills/",
    "tests/kills/",
    "tests/test_mitigation_rules",
    "tests/test_blindness",
)
"""Files of which each test may be run by another worker: those that start platforms of their own, and long ones."""
PLATFORMS = ("supervisor_sandbox", "compose_sandbox", "any_sandbox", "locked_up", "start_platform", "calm", "platform")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which suite is run; a plain ``pytest tests/…`` runs what needs neither Docker nor a browser."""
    parser.addoption("--suite", choices=SUITES, default="test", help="tests without Docker (default), with it, or all")


class PlatformScheduling(LoadScopeScheduling):
    """A file to a worker, in the order of collection; of some files each test goes to whoever is free.

    pytest-xdist's own groups do not work with pytest 9.2, which keeps ids elsewhere.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.startswith(ALONE) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> PlatformScheduling:
    """Our own scheduling, whatever ``--dist`` says."""
    config.option.loadscopereorder = False
    return PlatformScheduling(config, log)


def suite_of(item: pytest.Item) -> str:
    """The smallest suite that runs *item*: what is written for both stacks runs on the embedded one unless it is marked."""
    if item.get_closest_marker("kills"):
        return "kills"
    stack = getattr(item, "callspec", None) and item.callspec.params.get("any_sandbox")
    if item.get_closest_marker("thorough") or (stack == "compose" and not item.get_closest_marker("both_stacks")):
        return "all"
    on_docker = item.get_closest_marker("docker") or {"compose_sandbox", "docker_engine"} & set(fixtures_of(item))
    return "compose" if on_docker or item.get_closest_marker("browser") else "test"


def fixtures_of(item: pytest.Item) -> Sequence[str]:
    """Names of the fixtures that *item* asks for, itself or through others."""
    return getattr(item, "fixturenames", ())


# Property tests measure no time: a slow machine is not a counterexample. More examples before a release.
hypothesis.settings.register_profile("flowrex", deadline=None, max_examples=15)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=200)


def pytest_configure(config: pytest.Config) -> None:
    """Each suite has its number of examples, each worker ports of its own; what plots in plain Python knows its suite."""
    os.environ[SUITE] = config.getoption("suite")
    os.environ[PART] = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    hypothesis.settings.load_profile("thorough" if config.getoption("suite") == "all" else "flowrex")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to another suite, and begin with what waits for platforms, so that workers end together."""
    suite = config.getoption("suite")
    wanted = ("test", "compose", "all") if suite == "all" else (suite,)
    left_out = [item for item in items if suite_of(item) not in wanted]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    chosen = [item for item in items if suite_of(item) in wanted]
    items[:] = sorted(chosen, key=order_of)
    config.stash[ON_PLATFORMS] = {item.path for item in items if needs_platform(item)}
    config.stash[LEFT_OUT] = Counter(SUITES[suite_of(item)] for item in left_out)


LEFT_OUT = pytest.StashKey[Counter[str]]()
ON_PLATFORMS = pytest.StashKey[set[Path]]()
SHARED: list[Callable[[], None]] = []
"""What stops the platforms that a worker's tests share."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Files without platforms come last: from the first of them on nobody needs those that run, and they cost a seventh of a core each."""
    if item.path not in item.config.stash[ON_PLATFORMS]:
        while SHARED:
            SHARED.pop()()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what was left out; it alone has collected."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """The controller keeps what a worker told."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[LEFT_OUT] = Counter(output.get("left_out", {}))  # type: ignore[attr-defined]  # a WorkerController


def order_of(item: pytest.Item) -> tuple[bool, ...]:
    """The longest file first, for one worker has all of it; then drills, which any worker takes, and other platforms.

    What fills a machine's memory or disk comes last among drills: the foreign platform is through with its memory by then.
    """
    drill = getattr(item, "callspec", None) and item.callspec.params.get("drill")
    fills = bool(drill and drill.stacks == ("compose",))
    is_drill = item.get_closest_marker("drill")
    return "harbor" not in fixtures_of(item), not is_drill, fills, not needs_platform(item)


def needs_platform(item: pytest.Item) -> bool:
    """Whether *item* runs against a sandbox."""
    return bool(item.get_closest_marker("drill")) or any(name in PLATFORMS for name in fixtures_of(item))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was left to another suite, so that nobody takes this one for everything; figures that a test has measured."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.line(f"{name}: {value}")
    for command, number in config.stash.get(LEFT_OUT, Counter()).items():
        terminalreporter.line(f"left to '{command}': {number} tests")


def missing_part(name: str) -> None:
    """Skip by name on a laptop; fail in CI, where everything is supposed to be there."""
    text = f"{name} is missing on this machine"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def import_part(module: str, name: str) -> Any:
    """The *module* of an optional part, or no test."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        missing_part(name)
    return importlib.import_module(module)


def docker_answers() -> bool:
    """Whether there is a Docker Engine to talk to."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=20).returncode == 0


@pytest.fixture(scope="session", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels are forked, as under ``serve`` and ``batch``: most of a run's seconds are imports. ``fresh_kernels`` has them anew.

    What one of these tells of itself to the user's other commands is told to this worker's alone.
    """
    os.environ[STATE_VARIABLE] = str(tmp_path_factory.mktemp("state"))
    with warm_parent():
        yield


@pytest.fixture
def fresh_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kernel starts as a person's first does."""
    monkeypatch.delenv(VARIABLE)


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


@pytest.fixture
def start_platform(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Sandbox]]:
    """A function that starts a platform of the test's own, in which nothing has ever gone wrong."""
    with ExitStack() as opened:

        def start(stack: str) -> Sandbox:
            if stack == "compose":
                request.getfixturevalue("docker_engine")
            home = tmp_path_factory.mktemp(stack) / "home"
            opened.callback(sandbox.down, home)
            return sandbox.up(stack, home, on_progress=print)

        yield start


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
    drills.reset(supervisor_sandbox, print)


def _running(stack: str, home: Path) -> Iterator[Sandbox]:
    with ExitStack() as opened:
        opened.callback(sandbox.down, home)
        SHARED.append(opened.close)
        yield sandbox.up(stack, home, on_progress=print)


@pytest.fixture
def platform(any_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A platform that a mitigation may change, put back afterwards; records go to the test's own folder."""
    monkeypatch.chdir(tmp_path)
    yield any_sandbox
    drills.reset(any_sandbox, print)
