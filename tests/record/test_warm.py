"""A kernel that is forked is as alone as a fresh one, and is gone when its runner or its parent is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from record_bench import Bench

from flowrex_ops.record.forked import VARIABLE, ForkedProcess, shared_parent_link, use_shared_parent
from flowrex_ops.record.process import KernelProcess
from flowrex_ops.record.runner_process import Request, RunnerProcess
from flowrex_ops.record.warm import warm_parent
from flowrex_sandbox.waiting import await_condition


@contextmanager
def kept(*, shared: bool = False) -> Iterator[psutil.Process]:
    """A warm parent, ready."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)
        with warm_parent(shared=shared):
            await_condition(Path(os.environ[VARIABLE]).exists, "the warm parent was ready", timeout_seconds=60)
            yield next(child for child in psutil.Process().children() if os.environ[VARIABLE] in child.cmdline())


@pytest.fixture(scope="module")
def parent() -> Iterator[psutil.Process]:
    """One for the tests that leave it running."""
    with kept() as found:
        yield found


def printed(notebook: Path) -> str:
    """Everything that the cells of a record printed."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "".join(
        "".join(output["text"])
        for cell in cells
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if output["output_type"] == "stream"
    )


ABOUT = "import os; print(os.getcwd(), os.environ.get('ONE'), os.getsid(0) == os.getpid())"


@pytest.mark.usefixtures("parent")
def test_its_own_folder_environment_and_session(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of whoever asked, not as those of the parent."""
    monkeypatch.setenv("ONE", "1")
    monkeypatch.chdir(tmp_path)
    result = bench.run(ABOUT)

    assert result.status.value == "complete"
    assert printed(result.record).split() == [str(tmp_path), "1", "True"]


@pytest.mark.usefixtures("parent")
def test_nothing_of_an_earlier_one(bench: Bench) -> None:
    """Variables, modules that were changed, seeds of random numbers."""
    numbers = "import random, numpy, math; print(random.random(), numpy.random.rand(), getattr(math, 'mine', None))"
    first = bench.run(f"{numbers}; math.mine = 'changed'; left = 1")
    second = bench.run(f"{numbers}; print('left' in globals())")

    said = [printed(result.record).split() for result in (first, second)]
    assert said[0][0] != said[1][0]
    assert said[0][1] != said[1][1]
    assert said[1][2:] == ["None", "False"]


@pytest.mark.usefixtures("parent")
def test_its_end_is_told(bench: Bench) -> None:
    """How it died is in the record, as of a fresh one."""
    assert "killed by SIGKILL" in (bench.run("import os; os.kill(os.getpid(), 9)").reason or "")
    assert "exited with code 3" in (bench.run("import os; os._exit(3)").reason or "")


def test_without_a_parent(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not there, or not any more, costs nothing but the time."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone" / "socket"))
    assert bench.run("1 + 1").status.value == "complete"


def test_another_interpreter_is_not_forked(parent: psutil.Process, tmp_path: Path) -> None:
    """What Python reads as it starts cannot be given to a fork."""
    fresh = KernelProcess(cwd=tmp_path, environment={"PYTHONPATH": "/elsewhere"})
    forked = KernelProcess(cwd=tmp_path, environment={})
    try:
        assert fresh.pid not in [child.pid for child in parent.children()]
        assert forked.pid in [child.pid for child in parent.children()]
    finally:
        fresh.kill()
        forked.kill()


def test_it_goes_with_its_runner(parent: psutil.Process, tmp_path: Path) -> None:
    """A runner that is killed leaves no kernel."""
    code = (
        "import pathlib, sys, time\nfrom flowrex_ops.record.process import KernelProcess\n"
        f"print(KernelProcess(cwd=pathlib.Path({str(tmp_path)!r}), environment={{}}).pid, flush=True)\ntime.sleep(600)"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    kernel = int(runner.stdout.readline())
    assert kernel in [child.pid for child in parent.children()]

    runner.kill()
    await_condition(lambda: not psutil.pid_exists(kernel), "the kernel was gone", timeout_seconds=10)
    runner.wait()
    runner.stdout.close()


def test_its_parent_is_over_first(tmp_path: Path) -> None:
    """Its owner ends: nobody new is let in, what runs runs on. Killed by the system, say: the runner is told, and the kernel ends."""
    with kept() as parent:
        kernel = KernelProcess(cwd=tmp_path, environment={})
    process = kernel.manager.provisioner.process
    assert isinstance(process, ForkedProcess)
    assert parent.is_running()
    assert process.poll() is None

    parent.kill()
    assert process.wait() == -signal.SIGKILL
    await_condition(lambda: not psutil.pid_exists(process.pid), "the kernel was gone", timeout_seconds=10)
    kernel.kill()


def test_an_owner_that_is_over_first(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A short batch ends while the parent still imports: nothing is said, nothing is left."""
    monkeypatch.delenv(VARIABLE)
    with warm_parent():
        (parent,) = [child for child in psutil.Process().children() if os.environ[VARIABLE] in child.cmdline()]
    parent.wait(timeout=30)
    assert capfd.readouterr().err == ""


def test_a_run_is_forked_too(parent: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``serve`` and ``batch`` start it: with a word of what was wrong, and its exit code."""
    monkeypatch.chdir(tmp_path)
    child = RunnerProcess(Request("no-such-runbook", {}, "a test"))
    assert child.pid in [process.pid for process in parent.children()]

    answer = child.wait(seconds=60)

    assert answer.usage
    assert "no-such-runbook" in answer.error


class TestForOthers:
    """A plain run beside ``serve`` or ``batch`` is forked from theirs."""

    def test_is_found_while_it_lasts_by_who_is_alike(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with kept(shared=True):
            address = os.environ.pop(VARIABLE)
            monkeypatch.setenv("PYTHONHASHSEED", "7")  # an interpreter that starts otherwise
            use_shared_parent()
            assert VARIABLE not in os.environ
            monkeypatch.delenv("PYTHONHASHSEED")
            use_shared_parent()
            assert os.environ[VARIABLE] == address
            assert shared_parent_link().parent.stat().st_mode & 0o077 == 0
        assert not shared_parent_link().is_symlink()

    def test_what_was_killed_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Its link is replaced by the next, which takes it away again."""
        monkeypatch.delenv(VARIABLE)
        shared_parent_link().symlink_to(tmp_path / "gone" / "socket")
        use_shared_parent()
        assert VARIABLE not in os.environ
        with kept(shared=True):
            assert str(shared_parent_link().readlink()) == os.environ[VARIABLE]
        assert list(shared_parent_link().parent.glob("warm-*")) == []

    def test_a_run_beside_it(self, tmp_path: Path) -> None:
        """Its kernel is a fork: that is quick, and everything else is as ever."""
        with kept(shared=True) as parent:
            alone = {name: value for name, value in os.environ.items() if name != VARIABLE}
            (tmp_path / "flowrex-ops.toml").write_text("[limits]\nreading_seconds = 1\n")
            command = [sys.executable, "-m", "flowrex_ops", "run", "certificate_expiry"]
            started = subprocess.Popen(command, cwd=tmp_path, env=alone, stdout=subprocess.PIPE, text=True)
            await_condition(parent.children, "its kernel was forked", timeout_seconds=60)
            said, _ = started.communicate(timeout=120)
            assert "Record      outputs/RUN-" in said
