"""Every runbook with each source, and each pair of sources, down, hanging or lying: it finishes, and says for want of what."""

from __future__ import annotations

import itertools
import shutil
import socket
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import missing_part
from lying import LIES, lying
from run_cells import run_side_by_side

from flowrex_ops.catalog import find_runbooks
from flowrex_ops.causes import causes_by_runbook
from flowrex_sandbox import control as sandbox
from flowrex_sandbox.sandbox import Sandbox, to_toml

SOURCES = ("postgres", "redis", "backend", "nginx", "prometheus", "externals", "stack")
WAYS = ("down", "silent")
TOO_SHORT = (
    "no replica was seen long enough",
    "in which a slow rise does not show",
    "look again in some minutes",
    "the backend's log tells of no WebSocket",
)
"""A sandbox of some minutes has no half hour of memory to look back on; its WebSockets opened longer ago than the log is read, and none has ended since."""
SHORT: dict[str, dict[str, Any]] = {"memory_usage": {"sample_seconds": 5.0}}
"""What a runbook waits for by default, shorter."""
LONGEST_SECONDS = 60.0
"""Of one run, on a machine that runs other tests; each source costs a second once."""


@dataclass(frozen=True)
class Dead:
    """Addresses at which nobody listens, and at which somebody accepts and lies, by the lie."""

    ports: dict[str, int]
    sockets: dict[str, Path]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One in which nothing has ever gone wrong, and nothing does: the sources are well, they only cannot be reached."""
    home = tmp_path_factory.mktemp("matrix") / "home"
    try:
        yield sandbox.up("supervisor", home, on_progress=print)
    finally:
        sandbox.down(home)


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dead]:
    folder = tmp_path_factory.mktemp("dead")
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            ports = {"down": gone.getsockname()[1]}
        sockets = {"down": folder / "none.sock"}
        for number, lie in enumerate(LIES):
            ports[lie] = stack.enter_context(lying(lie))
            sockets[lie] = folder / f"{number}.sock"
            stack.enter_context(lying(lie, sockets[lie]))
        yield Dead(ports, sockets)


def settings_with(platform: Sandbox, dead: Dead, ills: dict[str, str], outputs: Path) -> str:
    """The sandbox's own settings, with the address of each ill source replaced."""
    found: dict[str, Any] = tomllib.loads(platform.settings_file.read_text(encoding="utf-8"))
    found["outputs"] = str(outputs)
    found["limits"] = {"reading_seconds": 1.0, "log_seconds": 1.5}
    for ill, way in ills.items():
        port = dead.ports[way]
        address = f"http://127.0.0.1:{port}"
        if ill == "postgres":
            found["postgres"] |= dict.fromkeys(("dsn", "reserve_dsn"), f"postgresql://x:pw@127.0.0.1:{port}/x")
        elif ill == "redis":
            found["redis"]["url"] = f"redis://127.0.0.1:{port}/0"
        elif ill == "backend":
            found.setdefault("backend", {})["urls"] = [address] * 3
        elif ill == "nginx":
            found["front_door"]["url"] = address
            found["tls"]["endpoints"] = [one | {"port": port} for one in found["tls"]["endpoints"]]
            found.setdefault("proxy", {})["websocket_url"] = f"ws://127.0.0.1:{port}/ws"
        elif ill == "prometheus":
            found["prometheus"] = {"url": address}
        elif ill == "externals":
            for section in ("sentry", "broker"):
                found[section]["url"] = address
            found["status_pages"] = dict.fromkeys(found["status_pages"], address)
        elif ill == "stack":
            found["stack"]["socket"] = str(dead.sockets[way])
        else:
            found["stack"] = {"kind": "compose", "docker_host": f"unix://{dead.sockets[way]}"}
    return to_toml(found)


RUNBOOKS = [runbook for runbook in find_runbooks() if runbook in causes_by_runbook()]


def combinations() -> list[dict[str, str]]:
    """Each source in each way, then each two of them in all four ways."""
    found = [{source: way} for source, way in itertools.product(SOURCES, WAYS)]
    for first, second in itertools.combinations(SOURCES, 2):
        found += [{first: one, second: other} for one, other in itertools.product(WAYS, WAYS)]
    return found


def sample(runbook: str) -> list[dict[str, str]]:
    """Two single ones; over all runbooks each source is seen down and silent."""
    return combinations()[2 * RUNBOOKS.index(runbook) :][:2]


def test_the_sample_has_every_source_in_both_ways() -> None:
    """However many runbooks there are."""
    found = [case for runbook in RUNBOOKS for case in sample(runbook)]
    assert [case for case in combinations() if len(case) == 1 and case not in found] == []


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_a_dead_source(runbook: str, platform: Sandbox, dead: Dead, tmp_path: Path) -> None:
    """Every hypothesis gets a verdict, and no check and no cell fails."""
    hold(runbook, sample(runbook), platform, dead, tmp_path)


def lies() -> list[dict[str, str]]:
    """Each source in each other way; neighbours differ in both, so that a few in a row show much."""
    others = [lie for lie in LIES if lie not in WAYS]
    return [
        {source: others[(number + shift) % len(others)]}
        for shift in range(len(others))
        for number, source in enumerate((*SOURCES, "engine"))
    ]


@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_a_lying_source(runbook: str, platform: Sandbox, dead: Dead, tmp_path: Path) -> None:
    """Garbage, a reset, a byte a second, a body without end …: a finding or an open question, never a traceback."""
    hold(runbook, [lies()[RUNBOOKS.index(runbook)]], platform, dead, tmp_path)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_lie_of_every_source(runbook: str, platform: Sandbox, dead: Dead, tmp_path: Path) -> None:
    """Nine lies of eight sources."""
    hold(runbook, lies(), platform, dead, tmp_path, processes=3)


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("runbook", RUNBOOKS)
def test_every_source_and_every_pair(runbook: str, platform: Sandbox, dead: Dead, tmp_path: Path) -> None:
    """Down and silent, in every combination."""
    hold(runbook, combinations(), platform, dead, tmp_path, processes=3)


SHIFTS = ("+1h", "-1h", "+1d", "-1d")


def run_with_clock(runbooks: Sequence[str], shift: str, platform: Sandbox, folder: Path) -> None:
    """On the platform as it is, by a clock that is wrong: triage says that, and nothing else is confirmed for it or fails."""
    if shutil.which("faketime") is None:
        missing_part("faketime")
    parameters = {"settings": str(platform.settings_file), "since": "10m"}
    cases = [{"name": r, "runbook": r, "parameters": parameters | SHORT.get(r, {})} for r in runbooks]
    # Durations are measured by the other clock, which is right.
    under = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", shift)
    for result in run_side_by_side(cases, folder, processes=2, under=under):
        assert "traceback" not in result, result["traceback"]
        assert result["failed_checks"] == [], result["name"]
        confirmed = [(cause, reason) for cause, kind, reason in result["verdicts"] if kind == "confirmed"]
        expected = ["host.clock-drift"] if result["name"] == "triage" else []
        assert [cause for cause, _ in confirmed] == expected, (result["name"], shift, confirmed)


@pytest.mark.parametrize("shift", [SHIFTS[0], *(pytest.param(one, marks=pytest.mark.thorough) for one in SHIFTS[1:])])
def test_a_clock_that_is_wrong(shift: str, platform: Sandbox, tmp_path: Path) -> None:
    """By an hour or a day, on the machine that asks; all runbooks by a day and backwards."""
    run_with_clock(RUNBOOKS if shift != SHIFTS[0] else ("triage", "error_rate"), shift, platform, tmp_path)


def hold(
    runbook: str, combined: list[dict[str, str]], platform: Sandbox, dead: Dead, folder: Path, processes: int = 1
) -> None:
    """Run *runbook* with each of the *combined* ills, and hold what it says against what a dead source may mean."""
    cases = []
    for number, ills in enumerate(combined):
        file = folder / f"settings-{number}.toml"
        file.write_text(settings_with(platform, dead, ills, folder / f"outputs-{number}"), encoding="utf-8")
        name = " and ".join(f"{ill} {way}" for ill, way in ills.items())
        parameters = {"settings": str(file), "since": "10m"} | SHORT.get(runbook, {})
        cases.append({"name": name, "runbook": runbook, "parameters": parameters})
    results = run_side_by_side(cases, folder, processes)
    assert len(results) == len(cases)
    assert [result["traceback"] for result in results if "traceback" in result] == []
    for result in results:
        judged = {cause for cause, _, _ in result["verdicts"]}
        assert judged == set(causes_by_runbook()[runbook]), result["name"]
        assert result["failed_checks"] == [], result["name"]
        assert all(len(reason) > 10 for _, _, reason in result["verdicts"]), result["name"]
        assert result["seconds"] < LONGEST_SECONDS, result["name"]
        for cause, kind, reason in result["verdicts"]:
            explained = any(error in reason for error in [*result["errors"], *TOO_SHORT])
            assert kind != "inconclusive" or explained, f"{result['name']}: {cause} for want of what? {reason}"
