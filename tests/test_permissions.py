"""docs/permissions.md grants what the runbooks need: its blocks are run as they stand there, and the runbooks with these rights alone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from flowrex_ops.model import VerdictKind
from flowrex_ops.record.runbook import run_runbook
from flowrex_sandbox import drills
from flowrex_sandbox.sandbox import Sandbox, to_toml

PAGE = Path(__file__).parents[1] / "docs" / "permissions.md"
PASSWORD = "choose-one"


def blocks(language: str) -> list[str]:
    """The page's code in that *language*."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def granted(supervisor_sandbox: Sandbox) -> Iterator[Sandbox]:
    """The platform with the page's roles and users."""
    server = redis.Redis(port=supervisor_sandbox.state.ports["redis"])
    with psycopg.connect(supervisor_sandbox.admin_dsn, autocommit=True) as connection:
        for block in blocks("sql"):
            connection.execute(block.encode())
        for line in "".join(blocks("redis")).splitlines():
            server.execute_command(*line.split())
        yield supervisor_sandbox
        drills.reset(supervisor_sandbox, print)
        connection.execute("DROP OWNED BY flowrex_cure, flowrex_look; DROP ROLE flowrex_cure, flowrex_look")
        server.execute_command("ACL", "DELUSER", "flowrex-look", "flowrex-cure")


def settings_of(sandbox: Sandbox, kind: str, folder: Path) -> str:
    """The sandbox's settings, with these rights in place of its own and nobody's in reserve."""
    settings = tomllib.loads(sandbox.settings_file.read_text(encoding="utf-8"))
    parts = urlsplit(settings["postgres"]["dsn"])
    place = parts.netloc.rpartition("@")[2]
    dsn = parts._replace(netloc=f"flowrex_{kind}:{PASSWORD}@{place}").geturl()
    settings["postgres"] = {"dsn": dsn, "application_role": "flowrex"}
    settings["redis"]["url"] = settings["redis"]["url"].replace("redis://", f"redis://flowrex-{kind}:{PASSWORD}@")
    file = folder / f"{kind}.toml"
    file.write_text(to_toml(settings), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("runbook", ["database_connections", "trade_failures", "memory_usage"])
def test_whoever_may_look_sees_all_that_the_runbook_asks(
    runbook: str, granted: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Other tests load this platform with one and the same order: that is for trade_failures to find, and no matter here.
    recent = {"recent_minutes": 0.3} if runbook == "trade_failures" else {}
    result = run_runbook(runbook, {"settings": settings_of(granted, "look", tmp_path), **recent})
    unknown = {verdict.cause: verdict.reason for verdict in result.verdicts if verdict.kind is VerdictKind.INCONCLUSIVE}
    if runbook == "memory_usage":  # a few seconds of samples do not rule out that a replica grows, whoever asks
        unknown = {cause: reason for cause, reason in unknown.items() if "redis" in cause}
    # Some restart it or bring back a backup: what failed of that a moment ago is found, rightly. Here it is whether anything is refused us.
    assert [finding.reason for finding in result.findings if "permission" in finding.reason] == []
    assert {cause: reason for cause, reason in unknown.items() if "no order was filled" not in reason} == {}


def test_only_who_may_cure_ends_a_session(granted: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right nothing is done, and what is missing is named."""
    monkeypatch.chdir(tmp_path)
    drills.inject(granted, drills.get_drill("lock-chain"), print)
    for kind, state, says in (("look", "failed", "grant pg_signal_backend"), ("cure", "verified", "is gone")):
        approved = {"approve": ["terminate-root-blocker"], "operator": "ada"}
        result = run_runbook("database_connections", {"settings": settings_of(granted, kind, tmp_path), **approved})
        (cure,) = [one for one in result.mitigations if one.slug == "terminate-root-blocker"]
        assert (cure.state, says in cure.reason) == (state, True), cure.reason
