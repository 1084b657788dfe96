"""Run the cells of runbooks as plain Python, one case a line of JSON, for a matrix too large for a kernel each.

``python run_cells.py CASES RESULTS``: each case is ``{"name", "runbook", "parameters"}``, with ``"replay"`` where readings of then
are judged, with ``"keep"`` where they are to be kept; each result has the outcome or the traceback. Charts become pictures in ``make test-all`` only: that is half of the time.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell

from flowrex_ops.archive.readings import REPLAY, Capture
from flowrex_ops.catalog import get_runbook, is_parameters, source
from flowrex_ops.model import Reading, VerdictKind
from flowrex_ops.redaction.redactor import Redactor


def run(case: dict[str, Any]) -> dict[str, Any]:
    """The cells in order, in one namespace; what ``investigation.outcome`` is at the end."""
    started, names = time.monotonic(), dict[str, Any]()
    os.environ |= {REPLAY: case["replay"]} if "replay" in case else {}
    try:
        for number, cell in enumerate(get_runbook(case["runbook"]).document["cells"]):
            if cell["cell_type"] != "code":
                continue
            code = compile(ast.parse(source(cell)), f"{case['runbook']} cell {number}", "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, names)  # noqa: S102  # our own notebook
            if is_parameters(cell):
                names |= case["parameters"]
        investigation = names["investigation"]
        verdicts = [(v.cause, v.kind.value, v.reason) for v in investigation.verdicts.values()]
        unexplained = [
            reason
            for _, kind, reason in verdicts
            if kind == VerdictKind.INCONCLUSIVE.value and "check itself failed" in reason
        ]
        assert investigation.undrawn == []
        if "keep" in case:
            capture = Capture(Path(case["keep"]), Redactor(investigation.settings.secret_values()))
            for reading in investigation.readings:
                capture.write(reading)
        outcome = investigation.outcome.to_dict()
        return {
            "name": case["name"],
            **{part: outcome[part] for part in ("diagnosis", "severity", "findings", "next_runbooks")},
            "verdicts": verdicts,
            "errors": sorted(set(errors(investigation.readings))),
            "failed_checks": unexplained,
            "mitigations": [one.state.value for one in investigation.mitigations.values()],
            "seconds": time.monotonic() - started,
        }
    except Exception:  # noqa: BLE001  # it is what the test looks for
        return {"name": case["name"], "traceback": traceback.format_exc()}


def run_side_by_side(
    cases: list[dict[str, Any]], folder: Path, processes: int = 2, under: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """All *cases* in a few processes of their own (started by the command *under*), with *folder* for what they write."""
    running = []
    for number in range(processes):
        given, results = folder / f"cases-{number}.jsonl", folder / f"results-{number}.jsonl"
        given.write_text("".join(json.dumps(case) + "\n" for case in cases[number::processes]), encoding="utf-8")
        command = [*under, sys.executable, __file__, str(given), str(results)]
        running.append((subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL), results))
    for process, _ in running:
        assert process.wait() == 0
    return [json.loads(line) for _, results in running for line in results.read_text(encoding="utf-8").splitlines()]


def errors(readings: Iterable[Reading[Any]]) -> Iterator[str]:
    """What the sources said instead of an answer: of whole readings, and of single rows (one replica, one endpoint)."""
    for reading in readings:
        if not reading.available:
            yield str(reading.error)
        elif isinstance(reading.value, pd.DataFrame) and "error" in reading.value:
            yield from (error for error in reading.value["error"] if isinstance(error, str) and error)


if __name__ == "__main__":
    if os.environ.get("FLOWREX_TEST_SUITE") == "all":
        InteractiveShell.instance()
    cases = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    with Path(sys.argv[2]).open("w", encoding="utf-8") as results:
        for case in cases:
            results.write(json.dumps(run(case)) + "\n")
            results.flush()
