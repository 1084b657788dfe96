"""README's ten lines, from clone to post-mortem, typed as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowrex_ops.extras import require
from flowrex_sandbox.control import DEFAULT_HOMES, down, open_sandbox

README = Path(__file__).parents[1] / "README.md"
LINES = re.search(r"in ten lines\n.*?```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Path]:
    """A folder to type in, in which nothing runs afterwards."""
    yield tmp_path
    down(tmp_path / DEFAULT_HOMES["supervisor"])


@pytest.mark.thorough
def test_ten_lines_lead_from_a_fault_to_its_post_mortem(shell: Path) -> None:
    """The first sets up what this suite runs in already; a minute that is watched takes six seconds here."""
    require("sending", "notify", "apprise")
    assert LINES is not None
    setup, *lines = LINES[1].strip().splitlines()
    assert (len(lines), setup) == (9, "make setup EXTRAS=notify && . .venv/bin/activate")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("FLOWREX_OPS")}
    environment = {**outside, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    typed = "set -e\n" + "\n".join(lines).replace("--minutes 1", "--minutes 0.1 --interval 2s")
    done = subprocess.run(
        ["bash"], input=typed, cwd=shell, env=environment, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    (folder,) = shell.glob("outputs/INC-*")
    assert json.loads((folder / "incident.json").read_text())["status"] == "Resolved"
    assert (folder / "post_mortem.html").is_file()
    chat = f"{open_sandbox(shell / DEFAULT_HOMES['supervisor']).outside_url}/chat"
    for channel, first, number in (("incident", "INCIDENT UPDATE", 2), ("on-call-engineer", "Orders time out", 1)):
        with urllib.request.urlopen(f"{chat}/{channel}", timeout=5) as answer:
            sent = json.load(answer)
        assert (len(sent), first in sent[0]["message"]) == (number, True), sent
