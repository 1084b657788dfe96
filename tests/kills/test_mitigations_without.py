"""During each kind of mitigation the disk of this machine fills, or the stack's engine goes away, at each line of the timeline.

Users are served all along. The platform is as planned, or as before, or the outcome says how far it came and what finishes it; that does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from full_disk import FILLER, fill, small_disk
from mitigation_examples import EXAMPLES

from flowrex_ops.archive import timeline
from flowrex_ops.investigation import Investigation
from flowrex_ops.model import MitigationState, Outcome
from flowrex_sandbox.sandbox import Sandbox, to_toml
from flowrex_sandbox.waiting import await_condition
from tests.kills.test_mitigations import MOST_LINES, is_served
from tests.test_mitigation_rules import Case

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]

SLUGS = (
    "terminate-idle-in-transaction",
    "unlink-keys",
    "maintenance-on",
    "reload-nginx",
    "rolling-restart",
    "scale-backend",
    "renew-certificate",
)
"""One for each kind of step: SQL, Redis, a file of the proxy's, its reload, a replica, the number of them, another program."""


class Ill:
    """What happens to this machine, and how it ends."""

    def __init__(self, kind: str, sandbox: Sandbox, folder: Path) -> None:
        self.disk = folder / "outputs" if kind == "full disk" else None
        self.settings = sandbox.settings_file
        self.socket = Path(sandbox.state.run_dir) / "supervisor.sock"
        if sandbox.state.stack == "compose":  # the engine's own socket is everybody's
            self.socket, self.settings = folder / "docker.sock", folder / "own.toml"
            self.socket.symlink_to("/var/run/docker.sock")
            found: dict[str, Any] = tomllib.loads(sandbox.settings_file.read_text(encoding="utf-8"))
            found["stack"] = found.get("stack", {}) | {"docker_host": f"unix://{self.socket}"}
            self.settings.write_text(to_toml(found), encoding="utf-8")
        self.gone = self.socket.with_suffix(".gone")

    def begin(self) -> None:
        if self.disk:
            fill(self.disk)
        else:
            self.socket.rename(self.gone)

    def end(self) -> None:
        if self.disk:
            (self.disk / FILLER).unlink(missing_ok=True)
        elif not self.socket.is_symlink() and not self.socket.exists():
            self.gone.rename(self.socket)


def attempt(case: Case, ill: Ill, line: int) -> tuple[Outcome, bool]:
    """One approved run, which falls *ill* before it writes that line, or before it begins; whether it came so far."""
    slug, lines = case.slug, 0
    found = Investigation.open(
        "service_restart", settings=str(ill.settings), approve=[slug], operator="ada", since="10m"
    )
    found.verdicts.update(case.confirmed)
    note = found.store.note

    def noted(kind: str, facts: Mapping[str, Any]) -> None:
        nonlocal lines
        lines += 1
        if lines == line:
            ill.begin()
        note(kind, facts)

    found.store.note = noted  # type: ignore[method-assign]  # the moment is what is tried
    try:
        if line == 0:
            ill.begin()
        return found.mitigate(slug, **case.example.options), line <= lines
    finally:
        ill.end()


def results(folder: Path) -> int:
    """Which timelines have; none of them is broken."""
    folders = list(folder.glob("outputs/RUN-*"))
    assert [timeline.verify(one) for one in folders] == [None] * len(folders)
    return sum(line["kind"] == "mitigation-result" for one in folders for line in timeline.read(one))


@pytest.mark.parametrize("kind", ["full disk", "no engine"])
@pytest.mark.parametrize("slug", SLUGS)
def test_ill_at_every_line(
    slug: str, kind: str, platform: Sandbox, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The last attempt has no such line, and finishes what is left."""
    states = []
    with ExitStack() as opened:
        if kind == "full disk":
            opened.enter_context(small_disk(tmp_path / "outputs", 8))
        case = Case(slug, EXAMPLES[slug], platform, opened)
        ill = Ill(kind, platform, tmp_path)
        for line in range(MOST_LINES):
            if line == 0 or case.show().state is MitigationState.REFUSED:
                case.need()  # the attempt before has done all of it
            before, told = case.plan(), results(tmp_path)
            outcome, fell_ill = attempt(case, ill, line)
            states.append(outcome.state.value)
            await_condition(lambda: is_served(platform), "users were served", timeout_seconds=30)
            if outcome.state is MitigationState.REFUSED:
                assert case.plan() == before, outcome.reason
            assert (outcome.state is MitigationState.FAILED) == ("To finish it: --approve" in outcome.reason)
            untold = "free some space" in outcome.reason or outcome.state is MitigationState.REFUSED
            assert (results(tmp_path) - told == 1) != untold, outcome.reason
            if not fell_ill:
                break
    record_property(f"{slug}, {kind}", ", ".join(states))
    assert (fell_ill, states[-1]) == (False, "verified"), outcome.reason
