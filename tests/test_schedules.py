"""What docs/serve.md and docs/scheduling.md tell people to paste is well-formed, and names what there is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from flowrex_ops.batch.plan import expand, read_plan
from flowrex_ops.catalog import NOTEBOOKS, read_runbook
from flowrex_ops.parameters import validate
from flowrex_ops.settings import ServeSettings

DOCS = Path(__file__).parents[1] / "docs"
CRON_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_plan_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two platforms for triage, one for certificates, four combinations on both for the database."""
    monkeypatch.chdir(tmp_path)
    for name in ("flowrex-ops.toml", "staging.toml"):
        (tmp_path / name).write_text("")
    (tmp_path / "nightly.toml").write_text(blocks("scheduling.md", "toml")[0])
    jobs = expand(read_plan(tmp_path / "nightly.toml"), folder=tmp_path)
    assert [job.slug for job in jobs] == ["triage"] * 2 + ["certificate_expiry"] + ["database_connections"] * 8


def test_cron_lines_have_five_times_a_user_and_a_command() -> None:
    (text,) = blocks("scheduling.md", "cron")
    lines = [
        line for line in text.splitlines() if line and not line.startswith("#") and not re.match(r"[A-Z_]+=", line)
    ]
    assert len(lines) == 2
    for line in lines:
        *times, user, command = line.split(maxsplit=6)
        for value, (lowest, highest) in zip(times, CRON_FIELDS, strict=True):
            assert re.fullmatch(r"\*(/\d+)?", value) or lowest <= int(value) <= highest
        assert (user, "flowrex-ops" in command, "%" in command) == ("flowrex-ops", True, False)


def test_airflow_gives_the_notebooks_what_they_take() -> None:
    """Every PapermillOperator names a notebook of ours and parameters of it."""
    (text,) = blocks("scheduling.md", "python")
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    operators = [call for call in calls if getattr(call.func, "id", "") == "PapermillOperator"]
    assert len(operators) == 2
    for operator in operators:
        given = {keyword.arg: keyword.value for keyword in operator.keywords}
        path = "".join(str(part.value) for part in ast.walk(given["input_nb"]) if isinstance(part, ast.Constant))
        parameters = ast.literal_eval(given["parameters"])
        parameters["settings"] = str(DOCS / "settings.md")  # any file that is there
        validate(read_runbook(NOTEBOOKS / path.removeprefix("/")), parameters)


@pytest.mark.parametrize("page", ["serve.md", "scheduling.md"])
def test_units_are_what_systemd_takes(page: str, tmp_path: Path) -> None:
    units = blocks(page, "ini")
    assert units
    for text in units:
        name = Path(text.splitlines()[0].removeprefix("# ")).name
        assert name.startswith("flowrex-ops-")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"\[(Unit|Service|Timer|Install)\]|[A-Z][A-Za-z]+=\S.*", line) for line in lines)
        local = text.replace("/srv/flowrex-ops/.venv/bin/flowrex-ops", "/bin/true")
        (tmp_path / name).write_text(local, encoding="utf-8")
    if shutil.which("systemd-analyze"):
        files = [str(path) for path in tmp_path.iterdir()]
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False
        )
        assert not [line for line in done.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line], (
            done.stderr
        )


def test_alertmanagers_configuration_and_the_settings_beside_it(tmp_path: Path) -> None:
    (text,) = blocks("serve.md", "yaml")
    hook = yaml.safe_load(text)["receivers"][0]["webhook_configs"][0]
    (settings,) = blocks("serve.md", "toml")
    serve = ServeSettings(**tomllib.loads(settings)["serve"], token="open-sesame-open-sesame")
    assert (hook["url"].endswith("/alertmanager"), serve.port) == (True, 9099)
    if shutil.which("amtool"):
        (tmp_path / "alertmanager.yml").write_text(text)
        done = subprocess.run(
            ["amtool", "check-config", str(tmp_path / "alertmanager.yml")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
