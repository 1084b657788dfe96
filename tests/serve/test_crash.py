"""kill -9 at any moment: every accepted alert is run once, or its record says that it was interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable

import httpx
import pytest
from serve_bench import COMMAND, Server, a_payload, an_alert, until

from flowrex_ops.archive import timeline

CUT_OFF = """
import os, signal
from flowrex_ops.jobs import table
from flowrex_ops.record import runner_process
from flowrex_ops.webhook import intake

def cut_off(owner, name, *, before):
    real = getattr(owner, name)
    def wrapped(*arguments, **options):
        if before and (name != "claim" or arguments[0].length()):
            os.kill(os.getpid(), signal.SIGKILL)
        value = real(*arguments, **options)
        if not before:
            os.kill(os.getpid(), signal.SIGKILL)
        return value
    setattr(owner, name, wrapped)

cut_off({owner}, "{name}", before={before})
"""

MOMENTS: dict[str, tuple[str, str, bool]] = {
    "before it is kept": ("intake.Intake", "accept", True),
    "kept, before the 200": ("intake.Intake", "accept", False),
    "after the 200, before the claim": ("table.JobTable", "claim", True),
    "claimed, before its process exists": ("runner_process.RunnerProcess", "__init__", True),
    "its process has begun": ("runner_process.RunnerProcess", "wait", True),
    "the record is finished, its row does not say so": ("table.JobTable", "finish", True),
}
SAMPLE = (
    "kept, before the 200",
    "the record is finished, its row does not say so",
)


def killed_at(server: Server, moment: str) -> None:
    """A real server that is gone at *moment*, with one alert sent to it."""
    owner, name, before = MOMENTS[moment]
    server.start(code=CUT_OFF.format(owner=owner, name=name, before=before) + COMMAND)
    try:
        answered = server.send(a_payload(an_alert())).status_code
    except httpx.HTTPError:
        answered = 0
    assert answered == 0 or moment not in ("before it is kept", "kept, before the 200")
    assert server.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.thorough]) for name in MOMENTS]
)
def test_killed(prepare: Callable[..., Server], moment: str) -> None:
    """The server that comes next runs it, or knows its record; Alertmanager sends again what was not acknowledged."""
    server = prepare()
    killed_at(server, moment)
    server.start()
    if moment in ("before it is kept", "kept, before the 200"):
        server.send(a_payload(an_alert()))
    records = server.ended(1)
    assert [record.metadata.trigger for record in records] == ["alert 1"]
    assert records[0].status == "complete" or (records[0].status, moment) == ("interrupted", "its process has begun")
    alerts = [line for line in server.timeline() if line["kind"] == "alert"]
    assert len(alerts) <= 1, "nothing is told twice"
    assert alerts or moment not in ("before it is kept", "kept, before the 200"), "it was acknowledged"


def test_killed_while_a_run_goes_on(prepare: Callable[..., Server]) -> None:
    """The run ends with its server, its record says so, and it is not run again; what waited behind it is."""
    server = prepare("jobs = 1").start()
    server.hold()
    server.send(a_payload(an_alert()))
    until(server.busy)
    server.send(a_payload(an_alert("Odd", "f2")))
    server.kill()
    server.release()
    server.start()
    reported = [(record.status, record.metadata.trigger, record.metadata.runbook) for record in server.ended(2)]
    assert reported == [("interrupted", "alert 1", "pool"), ("complete", "alert 2", "triage")]
    (folder,) = server.outputs.glob("INC-*")
    assert timeline.verify(folder) is None


def test_a_second_server_does_not_touch_the_queue_of_the_first(prepare: Callable[..., Server]) -> None:
    """Its lock is held by the server and its runs; the port would not even let it come that far."""
    server = prepare().start()
    port = server.url.rpartition(":")[2]
    other = Server(server.folder)
    with pytest.raises(AssertionError):
        other.start("--port", port)
    assert other.process is not None
    assert (other.process.wait(timeout=20), "address already in use" in "\n".join(other.said)) == (2, True), other.said
