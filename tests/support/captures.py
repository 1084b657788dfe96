"""What was read in each drill and on the foreign platform, kept in ``captures`` beside their tests: ``make captures`` takes them anew."""

from __future__ import annotations

import gzip
import json
import os
import re
import tempfile
from pathlib import Path

from flowrex_ops.archive.readings import SUFFIX
from flowrex_ops.record.result import RunResult

TESTS = Path(__file__).parents[1]
FOLDER, FOREIGN = TESTS / "drills" / "captures", TESTS / "foreign" / "captures"
KEEP = "FLOWREX_OPS_KEEP_CAPTURES"


def capture_of(scenario: str, folder: Path = FOLDER) -> Path:
    """Where the readings of a drill lie."""
    return folder / f"{scenario}{SUFFIX}"


def asked(capture: Path) -> set[tuple[str, str]]:
    """What was read: source and question."""
    with gzip.open(capture, "rt", encoding="utf-8") as lines:
        return {(reading["source"], reading["what"]) for reading in map(json.loads, lines)}


def anonymous(capture: Path) -> str:
    """Its lines, without where the tests and their platform lay on the machine that took it."""
    text = gzip.decompress(capture.read_bytes()).decode()
    homes = re.compile(rf"{re.escape(tempfile.gettempdir())}/pytest-of-\w+/pytest-\d+(?:/popen-gw\d+)?")
    return homes.sub("/srv/sandbox", text).replace(str(TESTS.parent), "/srv/flowrex-ops")


def keep(fresh: Path, capture: Path) -> None:
    """Take *fresh* in the place of what was captured before, where that is asked for."""
    if os.environ.get(KEEP):
        capture.parent.mkdir(exist_ok=True)
        capture.write_bytes(gzip.compress(anonymous(fresh).encode(), mtime=0))


def keep_or_compare(scenario: str, result: RunResult) -> None:
    """Take the readings of a drill that was just played, or see that the ones that are kept still answer what is asked."""
    (fresh,) = result.record.parent.parent.glob(f"evidence/*{SUFFIX}")
    keep(fresh, capture_of(scenario))
    missing = asked(fresh) - asked(capture_of(scenario))
    assert missing == set(), f"read by now, and not when {scenario} was captured; run 'make captures'"
