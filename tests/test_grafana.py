"""What Grafana is told of a mitigation, over a real socket: once, after its result is on disk, and at no price."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from outside_process import Outside, running
from pydantic import SecretStr
from running import mitigate

from flowrex_ops.grafana import AnnotatedTimeline
from flowrex_ops.guard import Approval, guard
from flowrex_ops.model import MitigationState, Outcome
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import GrafanaSettings, load
from flowrex_sandbox.sandbox import Sandbox
from tests.test_guard import CONFIRMED, Erase, Log

TOKEN = "glsa-0123456789"
BY_ADA = Approval({"erase": None}, "ada")


@pytest.fixture(scope="module")
def process() -> Iterator[Outside]:
    with running(GRAFANA_TOKEN=TOKEN) as found:
        yield found


@pytest.fixture
def grafana(process: Outside) -> Iterator[Outside]:
    yield process
    process.heal("grafana")


def act(
    url: str, *, token: str = TOKEN, approval: Approval = BY_ADA, erase: Erase | None = None, **more: Any
) -> tuple[Outcome, Log, str]:
    log = Log()
    settings = GrafanaSettings(url=url, token=SecretStr(token), **more)
    timeline = AnnotatedTimeline(log, settings, Redactor(["hunter2-secret"]), platform="flowrex", limit_seconds=1.0)
    mitigation = erase or Erase([1, 2])
    outcome = guard(mitigation, verdicts=CONFIRMED, approval=approval, timeline=timeline, max_targets=5)
    return outcome, log, timeline.trouble


def reported(grafana: Outside) -> list[dict[str, Any]]:
    answer = httpx.get(f"{grafana.url}/api/annotations", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


def test_once_from_intent_to_result(grafana: Outside) -> None:
    before = len(reported(grafana))
    outcome, log, trouble = act(grafana.url, dashboard_uid="trading")
    assert (outcome.state, trouble) == (MitigationState.VERIFIED, "")
    newest, *others = reported(grafana)
    assert len(others) == before
    assert newest["time"] <= newest["timeEnd"]
    assert newest["tags"] == ["flowrex-ops", "erase", "verified"]
    assert newest["dashboardUID"] == "trading"
    assert newest["text"].startswith("erase verified on flowrex, by ada (plan ")
    assert "to: number 1; number 2" in newest["text"]
    assert log.kinds[-2:] == ["mitigation-result", "annotation"]


def test_a_failure_is_told_too(grafana: Outside) -> None:
    act(grafana.url, erase=Erase([1, 2], fail_at=2))
    assert reported(grafana)[0]["tags"][-1] == "failed"


@pytest.mark.parametrize("approval", [Approval({}), Approval({"erase": None}, "")])
def test_what_did_not_act_is_not_told(grafana: Outside, approval: Approval) -> None:
    """Dry runs and refusals."""
    before = len(reported(grafana))
    _, log, _ = act(grafana.url, approval=approval)
    assert (len(reported(grafana)), log.events) == (before, [])


def test_without_an_address_nothing_is_sent() -> None:
    outcome, log, trouble = act("")
    assert (outcome.state, trouble) == (MitigationState.VERIFIED, "")
    assert "annotation" not in log.kinds


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("silent", "did not answer"),
        ("unauthorized", "HTTP 401; grafana.token needs the permission annotations:create"),
        ("rate-limit", "answered HTTP 429 and no id"),
        ("malformed", "answered HTTP 201 and no id"),
    ],
)
def test_trouble_costs_one_line(grafana: Outside, fault: str, said: str) -> None:
    """The mitigation stays verified."""
    grafana.fail("grafana", fault=fault)
    outcome, log, trouble = act(grafana.url)
    assert outcome.state is MitigationState.VERIFIED
    assert said in trouble
    assert log.events[-1] == ("annotation", {"slug": "erase", "reason": trouble})


def test_down_or_another_token(grafana: Outside) -> None:
    assert "did not answer" in act("http://127.0.0.1:1")[2]
    assert "HTTP 401" in act(grafana.url, token="wrong")[2]  # it is wrong


def test_nothing_secret_is_told(grafana: Outside) -> None:
    class Telling(Erase):
        undo = "log in with hunter2-secret"

        def apply(self, target: Any) -> str:
            return f"{super().apply(target)} with hunter2-secret"

    act(grafana.url, erase=Telling([1]))
    assert "hunter2" not in reported(grafana)[0]["text"]


def test_in_the_sandbox_by_its_own_settings(platform: Sandbox) -> None:
    """As a notebook has it: the stand-in of the sandbox is told, and the timeline says so."""
    outcome = mitigate(platform, "maintenance-on")
    mitigate(platform, "maintenance-off")
    assert outcome.plan is not None
    settings = load(platform.settings_file).grafana
    assert settings.token is not None
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    answer = httpx.get(f"{settings.url}/api/annotations", params={"tags": "maintenance-on"}, headers=headers, timeout=5)
    assert outcome.plan.hash in answer.json()[0]["text"]
