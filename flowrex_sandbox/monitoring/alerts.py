"""What fires in the stand-in platform, by Alertmanager's API (https://github.com/prometheus/alertmanager, api/v2)."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Collection

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.monitoring.configuration import write_receiver
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_FIRE_SECONDS = 45.0
_SILENCE_SECONDS = 100.0
"""An alert of earlier trouble ends when its window has passed; the longest looks back a minute."""


def has_alerts(sandbox: Sandbox) -> bool:
    """Whether Prometheus and Alertmanager are part of this sandbox; on a machine without them nothing fires."""
    return "alertmanager" in sandbox.state.ports


def firing(sandbox: Sandbox) -> set[str]:
    """Names of the alerts that are active at Alertmanager; empty while it does not answer."""
    url = f"http://127.0.0.1:{sandbox.state.ports['alertmanager']}/api/v2/alerts?active=true"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # our own http URL
            return {alert["labels"]["alertname"] for alert in json.loads(answer.read())}
    except (OSError, ValueError):
        return set()


def send_alerts_to(sandbox: Sandbox, url: str) -> None:
    """Have Alertmanager send all alerts to *url* (``flowrex-ops serve``; empty: to nobody), from now until the sandbox is started anew.

    SandboxError where there is no Alertmanager, or it does not take it.
    """
    if not has_alerts(sandbox):
        raise SandboxError(
            "this sandbox has no Alertmanager; install Prometheus, Alertmanager and the blackbox exporter"
        )
    write_receiver(sandbox.home / "monitoring", url)
    reload = f"http://127.0.0.1:{sandbox.state.ports['alertmanager']}/-/reload"
    try:
        with urllib.request.urlopen(reload, data=b"", timeout=5):  # our own http URL
            return
    except OSError as error:
        raise SandboxError(
            f"alertmanager did not take '{url}': {error}; give a URL such as http://127.0.0.1:9099/alertmanager"
        ) from None


def await_alerts(sandbox: Sandbox, names: Collection[str]) -> None:
    """Return once all of *names* fire; SandboxError naming those that do not."""
    await_condition(
        lambda: set(names) <= firing(sandbox),
        f"alerts {', '.join(sorted(names))} fired",
        timeout_seconds=_FIRE_SECONDS,
        poll_seconds=0.5,
        details=lambda: f"firing: {', '.join(sorted(firing(sandbox))) or 'none'}",
    )


def await_silence(sandbox: Sandbox) -> None:
    """Return once nothing fires any more."""
    await_condition(
        lambda: not firing(sandbox),
        "all alerts ended",
        timeout_seconds=_SILENCE_SECONDS,
        poll_seconds=0.5,
        details=lambda: f"still firing: {', '.join(sorted(firing(sandbox)))}",
    )
