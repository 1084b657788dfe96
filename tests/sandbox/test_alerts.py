"""The alert rules: Prometheus understands them, and each leads to a runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

from conftest import missing_part

from flowrex_ops.catalog import runbooks_by_alert
from flowrex_sandbox.drills import DRILLS
from flowrex_sandbox.monitoring.alerts import firing, has_alerts
from flowrex_sandbox.monitoring.configuration import RULES, rules
from flowrex_sandbox.sandbox import Sandbox


def test_promtool_accepts_the_rules_as_production_would_have_them(tmp_path: Path) -> None:
    """With the windows that the file recommends for production."""
    if shutil.which("promtool") is None:
        missing_part("promtool")
    text = rules("5m", "2m", 300)
    file = tmp_path / "rules.yml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(re.findall('- alert:', text))} rules found" in done.stdout


def named() -> set[str]:
    return set(re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8")))


def test_every_alert_leads_to_a_runbook_and_no_runbook_waits_for_one_that_is_not_there() -> None:
    assert set(runbooks_by_alert()) == named()


def test_every_alert_fires_in_a_drill() -> None:
    assert {alert for drill in DRILLS for alert in drill.alerts} == named()


def test_every_rule_can_be_evaluated(any_sandbox: Sandbox) -> None:
    if not has_alerts(any_sandbox):
        missing_part("Prometheus, Alertmanager or the blackbox exporter")
    url = f"http://127.0.0.1:{any_sandbox.state.ports['prometheus']}/api/v1/rules"
    with urllib.request.urlopen(url, timeout=5) as answer:
        groups = json.loads(answer.read())["data"]["groups"]
    assert [rule["name"] for rule in groups[0]["rules"] if rule.get("lastError")] == []


def test_alertmanager_answers(any_sandbox: Sandbox) -> None:
    if not has_alerts(any_sandbox):
        missing_part("Alertmanager")
    assert isinstance(firing(any_sandbox), set)
