"""What the runbook read in each drill, kept in ``tests/drills/captures``: ``make captures`` takes them anew."""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
from pathlib import Path

from flowrex_ops.archive.readings import SUFFIX
from flowrex_ops.record.result import RunResult

FOLDER = Path(__file__).parents[1] / "drills" / "captures"
KEEP = "FLOWREX_OPS_KEEP_CAPTURES"


def capture_of(scenario: str) -> Path:
    """Where the readings of a drill on the embedded stack lie."""
    return FOLDER / f"{scenario}{SUFFIX}"


def asked(capture: Path) -> set[tuple[str, str]]:
    """What was read: source and question."""
    with gzip.open(capture, "rt", encoding="utf-8") as lines:
        return {(reading["source"], reading["what"]) for reading in map(json.loads, lines)}


def anonymous(capture: Path) -> str:
    """Its lines, without where the tests and their platform lay on the machine that took it."""
    text = gzip.decompress(capture.read_bytes()).decode()
    homes = re.compile(rf"{re.escape(tempfile.gettempdir())}/pytest-of-\w+/pytest-\d+(?:/popen-gw\d+)?")
    return homes.sub("/srv/sandbox", text).replace(str(FOLDER.parents[2]), "/srv/flowrex-ops")


def keep_or_compare(scenario: str, result: RunResult) -> None:
    """Take the readings of a drill that was just played, or see that the ones that are kept still answer what is asked."""
    (fresh,) = result.record.parent.parent.glob(f"evidence/*{SUFFIX}")
    if os.environ.get(KEEP):
        FOLDER.mkdir(exist_ok=True)
        capture_of(scenario).write_bytes(gzip.compress(anonymous(fresh).encode(), mtime=0))
    missing = asked(fresh) - asked(capture_of(scenario))
    assert missing == set(), f"read by now, and not when {scenario} was captured; run 'make captures'"
