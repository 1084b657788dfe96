"""The doctor: one line for each thing, what configures it, whether it answers; and one line where one cause explains all."""

from __future__ import annotations

import json
from pathlib import Path

import in_process

from flowrex_sandbox.sandbox import Sandbox


def test_nobody_at_home_is_said_once(tmp_path: Path) -> None:
    """Where the stack cannot be asked, all that need it are one line; exit code 1."""
    (tmp_path / "flowrex-ops.toml").write_text("status_pages = {}\n", encoding="utf-8")
    code, out, _ = in_process.call("doctor", cwd=tmp_path)
    assert code == 1
    head = next(line for line in out.splitlines() if line.startswith("source"))
    assert head.split("  ")[0] == "source"
    assert all(name in head for name in ("status", "configured by", "detail"))
    said = " ".join(out.split())
    assert said.count("needs the stack") == 1, out
    assert said.count("no-docker.sock") <= 1, out
    for name in ("proxy", "certbot", "backups", "status pages", "sentry", "notify"):
        assert name in said


def test_what_answers_and_what_is_not_set(supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """Everything of a healthy platform is OK; a receiver is not tried, for that would be a message."""
    settings = supervisor_sandbox.settings_file.read_text(encoding="utf-8")
    own = '[notify.urls]\nteam-lead = "json://127.0.0.1:9/s3cret-path"'
    (tmp_path / "flowrex-ops.toml").write_text(settings.replace("[notify.urls]", own), encoding="utf-8")
    code, out, err = in_process.call("doctor", "--json", cwd=tmp_path)
    rows = {row["source"]: row for row in json.loads(out)["sources"]}
    expected = dict.fromkeys(rows, "OK") | {"notify": "set"}
    # certbot is no package of PyPI, and there is no backup yet.
    may_lack = {"certbot", "backups"}
    assert (code, err) == (0, "")
    assert {name: row["state"] for name, row in rows.items() if name not in may_lack} == {
        name: state for name, state in expected.items() if name not in may_lack
    }
    assert rows.keys() >= {"proxy", "sentry", "status pages", "broker", *may_lack}
    assert rows["notify"]["detail"].endswith("without a receiver of their own: Management")
    assert "s3cret" not in out
