"""A capture keeps the lines of logs too, which the parsers of today read again."""

from __future__ import annotations

import json
from pathlib import Path

import in_process

from flowrex_sandbox.sandbox import Sandbox


def test_lines_are_kept_and_read_again(supervisor_sandbox: Sandbox, tmp_path: Path) -> None:
    """Of each service's replicas, without the platform's own secrets; the same requests are counted in them."""
    settings = str(supervisor_sandbox.settings_file)
    captured = ("capture", "-o", "site", "--runbook", "error_rate", "--settings", settings)
    code, out, err = in_process.call(*captured, cwd=tmp_path)
    assert code == 0, out + err
    logs = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "site/copies/logs").iterdir()}
    assert {"backend-1", "backend-2", "backend-3", "nginx-1", "postgres-1"} <= logs.keys()
    assert "/api/trades" in logs["nginx-1"]

    code, out, err = in_process.call("run", "error_rate", "--from", "site/copies", "--json", cwd=tmp_path)
    said = {one["cause"]: one["reason"] for one in json.loads(out)["verdicts"] if one["verdict"] == "ruled out"}
    assert code == 0, err
    assert "requests" in said["http.single-route"], said


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A stack that is not there costs the lines, and nothing else."""
    (tmp_path / "flowrex-ops.toml").write_text(f'[stack]\nkind = "supervisor"\nsocket = "{tmp_path}/none.sock"\n')
    code, out, err = in_process.call("capture", "-o", "site", "--runbook", "certificate_expiry", cwd=tmp_path)
    assert (code, "no lines of logs are kept: " in err) == (0, True), out + err
