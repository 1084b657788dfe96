"""The foreign platform, healthy and with one thing wrong at a time: no false cause, and the right one first."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import faults_database
import faults_edge
import faults_errors
import faults_memory
import faults_trades
import pytest
import run_cells
from captures import FOREIGN, keep
from faults import FAULTS, Fault
from harbor import Harbor
from memory_lock import calm_memory

from flowrex_ops.archive.readings import SUFFIX

pytestmark = pytest.mark.docker
SUBJECTS = (faults_memory, faults_trades, faults_database, faults_errors, faults_edge)
"""Each declares its faults; those that need containers of some age come first."""
IN_ORDER = [fault for subject in SUBJECTS for fault in FAULTS if fault.made.__module__ == subject.__name__]
LIVE = {
    made.__name__
    for made in (
        faults_database.chain_of_locks,
        faults_edge.certificate_of_another_name,
        faults_edge.location_without_upgrade,
        faults_edge.replica_says_that_it_is_ill,
        faults_errors.last_deploy_broke_it,
        faults_errors.ledger_is_stopped,
        faults_errors.one_replica_fails_its_orders,
        faults_memory.redis_takes_no_more,
        faults_trades.venue_hangs,
        faults_trades.venue_rejects,
    )
}
"""Played by ``make test-compose``: of each subject one, where the tool has to find its way about; what all were seen to be is judged by ``make test``."""
RUNBOOKS = (
    "triage",
    "database_connections",
    "error_rate",
    "slow_responses",
    "trade_failures",
    "websocket_disconnections",
    "memory_usage",
    "certificate_expiry",
)


@pytest.fixture(scope="module")
def harbor(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbor]:
    """The platform, used by its crowd."""
    found = Harbor(tmp_path_factory.mktemp("harbor"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(autouse=True)
def settings(harbor: Harbor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a new user, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWREX_OPS_SETTINGS", str(harbor.folder / "flowrex-ops.toml"))


PARAMETERS: dict[str, dict[str, Any]] = {"triage": {"reading_seconds": 5.0}}
"""On a machine that runs the rest of the suite too, half a second is no time for an answer."""


def _run(runbook: str, fault: Fault) -> dict[str, Any]:
    file = Path(f"{fault.name}-{runbook}{SUFFIX}").absolute()
    case = {"name": runbook, "runbook": runbook, "parameters": fault.parameters | PARAMETERS.get(runbook, {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run_cells.run(case | {"keep": str(file)})
    assert "traceback" not in result, result["traceback"]
    keep(file, FOREIGN / file.name)
    return result


def test_healthy(harbor: Harbor, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No cause in any runbook, and no severity."""
    cases = [
        {"name": name, "runbook": name, "parameters": PARAMETERS.get(name, {}), "keep": f"{tmp_path}/{name}{SUFFIX}"}
        for name in RUNBOOKS
    ]
    with calm_memory(tmp_path_factory):
        results = run_cells.run_side_by_side(cases, tmp_path, processes=3)
    assert [result["traceback"] for result in results if "traceback" in result] == []
    said = {result["name"]: (result["diagnosis"], result["severity"], result["next_runbooks"]) for result in results}
    assert said == dict.fromkeys(RUNBOOKS, (None, None, [])), results
    for name in RUNBOOKS:
        keep(tmp_path / f"{name}{SUFFIX}", FOREIGN / f"healthy-{name}{SUFFIX}")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, id=one.name, marks=() if one.name in LIVE else pytest.mark.thorough) for one in IN_ORDER],
)
def test_right_cause_comes_first(fault: Fault, harbor: Harbor, tmp_path_factory: pytest.TempPathFactory) -> None:
    """While it lasts, each of its runbooks names its cause first."""
    others = calm_memory(tmp_path_factory) if "memory_usage" in fault.causes else nullcontext()
    with others, fault.made(harbor):
        results = {runbook: _run(runbook, fault) for runbook in fault.causes}
    reported = "\n".join(
        str(part) for one in results.values() for part in (*one["findings"], *one["verdicts"], one["errors"])
    )
    for runbook, cause in fault.causes.items():
        assert re.fullmatch(cause, str(results[runbook]["diagnosis"])), reported
    assert fault.says in str(results[next(iter(fault.causes))]["findings"][0]), reported
