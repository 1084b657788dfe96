"""SIGKILL during each mitigation, at each line that it writes to the timeline: whoever comes next finishes what is left.

A restore has its journal, and tests of its own for every step (tests/postgres/test_restore_faults.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from mitigation_examples import EXAMPLES

from flowrex_ops.archive import timeline
from flowrex_ops.model import MitigationState
from flowrex_sandbox.sandbox import Sandbox, get_answer
from flowrex_sandbox.waiting import await_condition
from tests.test_mitigation_rules import Case

pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

SEED = 20261130
SLUGS = sorted(set(EXAMPLES) - {"restore-database", "swap-back-database"})
MOST_LINES = 20
CHILD = """
import os, signal, sys, threading
from pathlib import Path
from mitigation_examples import EXAMPLES
from running import investigate
from flowrex_ops.mitigations import find
from flowrex_ops.model import Verdict, VerdictKind
from flowrex_sandbox.sandbox import open_sandbox

slug, home, left, delay = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
investigation = investigate(open_sandbox(home), slug)
for cause in find(slug).causes:
    investigation.verdicts[cause] = Verdict(cause, VerdictKind.CONFIRMED, "for the test")
note = investigation.store.note

def noted(kind, facts):
    global left
    note(kind, facts)
    left -= 1
    if left == 0 and delay:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    elif left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

investigation.store.note = noted
outcome = investigation.mitigate(slug, **EXAMPLES[slug].options)
print(outcome.state.value + ": " + outcome.reason, flush=True)
os._exit(0)
"""


def attempt(sandbox: Sandbox, slug: str, line: int, delay: float) -> tuple[int, str]:
    """One approved run of *slug*, killed *delay* seconds after its timeline has so many lines; how it ended, what it said."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "tests" / "support")))}
    command = [sys.executable, "-c", CHILD, slug, str(sandbox.home), str(line), str(delay)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, (done.stdout.strip().splitlines() or [""])[-1]  # after what it would display


def is_served(sandbox: Sandbox) -> bool:
    """Users get the platform, or the page that they are meant to get."""
    return get_answer(f"{sandbox.url}/api/prices") in (200, 503)


@pytest.mark.parametrize("slug", SLUGS)
def test_killed_at_every_line(
    slug: str, platform: Sandbox, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """At once, and some tenths of a second into what the line announces. The last attempt has no such line, and ends."""
    random = Random(f"{SEED} {slug}")  # noqa: S311  # it chooses moments
    kills = 0
    with ExitStack() as opened:
        case = Case(slug, EXAMPLES[slug], platform, opened)
        for number in range(2 * MOST_LINES):
            line, delay = number // 2 + 1, random.uniform(0.01, 0.4) if number % 2 else 0.0
            if number == 0 or case.show().state is MitigationState.REFUSED:
                case.need()  # what was killed had done all of it
            code, said = attempt(platform, slug, line, delay)
            if code == 0 and not delay and "plan anew" not in said:  # certbot may go on without who started it
                break
            kills += code == -signal.SIGKILL
            for folder in tmp_path.glob("outputs/*"):
                assert timeline.verify(folder) is None
            await_condition(lambda: is_served(platform), f"users were served after {kills} kills", timeout_seconds=30)
    record_property(slug, f"killed {kills} times, then {said.partition(':')[0]}")
    assert (code, said.partition(":")[0]) == (0, "verified"), said
    assert kills
