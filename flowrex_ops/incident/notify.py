"""Sends a text to named receivers through apprise, and says of each whether it arrived.

A receiver is a name and an apprise URL (https://github.com/caronc/apprise/wiki): ``slack://…``, ``mailtos://…``, ``pagerduty://…``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import SecretStr

from flowrex_ops.errors import ParameterError, SettingsError, SourceUnavailableError
from flowrex_ops.extras import require
from flowrex_ops.reading import call_within
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import NotifySettings


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one receiver's message; ``error`` is empty where it was delivered, and never names the URL."""

    receiver: str
    delivered: bool
    error: str = ""
    attempts: int = 1

    def to_dict(self) -> dict[str, Any]:
        """``{receiver, delivered, error, attempts}``."""
        return asdict(self)


def choose(settings: NotifySettings, names: Sequence[str]) -> dict[str, SecretStr]:
    """The receivers called *names*; those of ``notify.default`` where none is named. UsageError where there is none such."""
    require("message --send", "notify", "apprise")
    if not settings.urls:
        raise SettingsError("nobody can be told: no receiver is set; set notify.urls.NAME to an apprise URL")
    wanted = list(names) or [name for name in settings.default if name in settings.urls] or list(settings.urls)
    unknown = [name for name in wanted if name not in settings.urls]
    if unknown:
        raise ParameterError(f"'{unknown[0]}' is no receiver; there are: {', '.join(settings.urls)} (notify.urls)")
    return {name: settings.urls[name] for name in wanted}


def send(
    receivers: Mapping[str, SecretStr], *, title: str, body: str, settings: NotifySettings, redactor: Redactor
) -> list[Delivery]:
    """Send *body* (redacted once more) to each receiver side by side, with retries; never raises for one that fails."""
    title, body = redactor.text(title), redactor.text(body)
    with ThreadPoolExecutor(max(1, len(receivers))) as pool:
        sent = [
            pool.submit(_deliver, name, url.get_secret_value(), title, body, settings)
            for name, url in receivers.items()
        ]
    return [delivery.result() for delivery in sent]


def _deliver(name: str, url: str, title: str, body: str, settings: NotifySettings) -> Delivery:
    from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_exponential

    retrying = Retrying(
        stop=stop_after_attempt(settings.attempts),
        wait=wait_exponential(multiplier=settings.retry_seconds, max=10),
        retry=retry_if_result(bool),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else "not tried",
    )
    error = str(retrying(_try, url, title, body, settings.seconds))
    return Delivery(name, not error, error, int(retrying.statistics["attempt_number"]))


def _try(url: str, title: str, body: str, seconds: float) -> str:
    """What went wrong; nothing where it was delivered."""
    try:
        return call_within(seconds + 1, lambda: _notify(url, title, body, seconds), "the receiver")
    except SourceUnavailableError:
        return f"no answer in {seconds:g} s; look whether it is up"


def _notify(url: str, title: str, body: str, seconds: float) -> str:
    from apprise import Apprise, LogCapture, NotifyFormat

    place = Apprise()
    # apprise's own time limits: cto to connect, rto to answer.
    if not place.add(f"{url}{'&' if '?' in url else '?'}cto={seconds}&rto={seconds}"):
        return "its URL is none that apprise understands; correct notify.urls"
    with LogCapture(level=logging.WARNING, fmt="%(message)s") as log:
        delivered = place.notify(body=body, title=title, body_format=NotifyFormat.TEXT)
        said = str(log.getvalue())
    return "" if delivered else _reason(said)


def _reason(said: str) -> str:
    """Apprise's last complaint, without what may hold the address."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "://" not in line]
    return (
        lines[-1].rstrip(".").lower() if lines else "it refused the message"
    ) + "; look whether it is up and its URL is right"
