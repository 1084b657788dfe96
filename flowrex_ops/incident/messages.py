"""Messages about an incident: the playbook's three templates filled in, kept as drafts, and sent to named receivers through apprise.

What only people know, and nobody has said, is a placeholder in square brackets; such a text is not sent. ``messages/001-initial.txt``
is the text as it went out; the timeline says when, by whom and what became of it at each receiver. A receiver is a name and an apprise URL
(https://github.com/caronc/apprise/wiki): ``slack://…``, ``mailtos://…``, ``pagerduty://…``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flowrex_ops.archive import timeline
from flowrex_ops.archive.index import find_notebooks, read_metadata
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.archive.outcome import RunOutcome
from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import ParameterError, PreconditionError, SettingsError, SourceUnavailableError
from flowrex_ops.extras import require
from flowrex_ops.files import write_atomic
from flowrex_ops.incident.incident import Incident, Status
from flowrex_ops.incident.severity import KIND as ESCALATION
from flowrex_ops.incident.severity import OTHERS, ROLES, key
from flowrex_ops.incident.templates import fill_in
from flowrex_ops.model import MitigationState
from flowrex_ops.reading import call_within
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import NotifySettings

FOLDER = "messages"
RESOLVED = "resolved"
KINDS = ("initial", "update", RESOLVED)
_PLACEHOLDER = re.compile(r"\[[^\]\n]+\]")
_MARKER = re.compile(r"\[redacted:[a-z-]+\]")


def initial(outcome: RunOutcome) -> str:
    """The first message about an incident, from ``Investigation.outcome``."""
    found = outcome.findings[0].title if outcome.findings else "No cause was confirmed; the search goes on."
    service = f"{outcome.platform} ({outcome.runbook.replace('_', ' ')})"
    return fill_in("initial.txt.j2", severity=outcome.severity, service=service, found=found).strip()


def update(outcome: RunOutcome) -> str:
    """A status update after a change, from ``Investigation.outcome``: what was done, and what showed the effect."""
    done = [one for one in outcome.mitigations if one.state is not MitigationState.PLANNED]
    return fill_in("update.txt.j2", status="Mitigating" if done else "", done=done).strip()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What runs have found of an incident, for what nobody has said of it."""

    diagnosis: str = ""
    status: str = ""


def read_records(folder: Path) -> Recorded:
    """What the newest runbook of the incident in *folder* confirmed; that of triage, which only points, where no other did.

    With a verified mitigation it is being mitigated, with a runbook's diagnosis identified.
    """
    known = filter(None, map(read_metadata, find_notebooks(folder)))
    records = sorted(known, key=lambda about: (about.runbook != "triage", about.started))
    runbook, title = next(
        ((about.runbook, about.finding.title) for about in reversed(records) if about.finding), ("", "")
    )
    verified = any(one.state is MitigationState.VERIFIED for about in records for one in about.mitigations)
    identified = runbook not in ("", "triage")
    return Recorded(title, Status.MITIGATING if verified else Status.IDENTIFIED if identified else "")


NOTHING_RECORDED = Recorded()


def compose(
    kind: str, incident: Incident, *, force: bool = False, recorded: Recorded = NOTHING_RECORDED, timezone: str = ""
) -> str:
    """The message of *kind* (one of ``KINDS``) about *incident*; its times are in UTC, and beside it in *timezone*.

    What is *recorded* stands where nobody has named the root cause, or the incident is as it was opened.

    That an open incident is resolved is said only by *force*: its draft begins with a placeholder that says how it is.
    """
    duration = format_seconds(incident.duration_seconds)
    facts = {**dict(incident), "resolved": incident.over, "duration": duration, "force": force}
    facts["diagnosis"] = recorded.diagnosis
    if incident.status == Status.INVESTIGATING and recorded.status:
        facts["status"] = recorded.status
    return fill_in(f"{kind}.txt.j2", timezone=timezone, **facts).strip()


def require_resolved(kind: str, incident: Incident) -> None:
    """PreconditionError where the message of *kind* would say that an open *incident* is over."""
    if kind == RESOLVED and not incident.over:
        raise PreconditionError(
            f"{incident.id} is '{incident.status}', so nobody is notified that it is resolved;"
            f" run 'flowrex-ops incident resolve {incident.id}', or give --force with --reason"
        )


def placeholders(text: str) -> list[str]:
    """What is still to be said in *text*: the parts in square brackets."""
    return [found for found in _PLACEHOLDER.findall(text) if not _MARKER.fullmatch(found)]


def require_complete(text: str) -> None:
    """ParameterError where something in *text* is still to be said."""
    missing = placeholders(text)
    if missing:
        raise ParameterError(f"the message still says '{missing[0]}'; give it by its option, or write it with --edit")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one receiver's message; ``error`` is empty where it was delivered, and never names the URL."""

    receiver: str
    delivered: bool
    error: str = ""
    attempts: int = 1

    def __str__(self) -> str:
        said = "sent to" if self.delivered else "NOT sent to"
        return f"{said} {self.receiver}" + (f": {self.error}" if self.error else "")


@dataclass(frozen=True, slots=True)
class Message:
    """A kept message: its name (``001-initial``), text, file, and what became of it at each receiver."""

    name: str
    text: str
    path: Path
    deliveries: tuple[Delivery, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """``{message, text, path, deliveries[]}``."""
        deliveries = [asdict(delivery) for delivery in self.deliveries]
        return {"message": self.name, "text": self.text, "path": str(self.path), "deliveries": deliveries}


def save_draft(folder: Path, kind: str, text: str, *, by: str, redactor: Redactor) -> Message:
    """Write *text* (redacted) as the incident's next message of *kind*; nothing is sent."""
    text = redactor.text(text.strip()) + "\n"
    with timeline.writing(folder) as write:
        (folder / FOLDER).mkdir(exist_ok=True)
        name = f"{len(list((folder / FOLDER).glob('*.txt'))) + 1:03d}-{kind}"
        message = Message(name, text, folder / FOLDER / f"{name}.txt")
        write_atomic(message.path, text)
        write({"kind": "message", "text": f"message {name} written", "message": name, "by": by})
    write_manifest(folder)
    return message


def choose_receivers(settings: NotifySettings, names: Sequence[str]) -> dict[str, SecretStr]:
    """The receivers called *names*; those of ``notify.default`` where none is named. UsageError where there is none such."""
    require("message --send", "notify", "apprise")
    if not settings.urls:
        raise SettingsError("nobody can be notified: no receiver is set; set notify.urls.NAME to an apprise URL")
    wanted = list(names) or [name for name in settings.default if name in settings.urls] or list(settings.urls)
    unknown = [name for name in wanted if name not in settings.urls]
    if unknown:
        raise ParameterError(f"'{unknown[0]}' is no receiver; there are: {', '.join(settings.urls)} (notify.urls)")
    return {name: settings.urls[name] for name in wanted}


def send(
    folder: Path,
    message: Message,
    receivers: Mapping[str, SecretStr],
    *,
    incident: Incident,
    by: str,
    settings: NotifySettings,
    redactor: Redactor,
) -> Message:
    """Send a kept message, note each delivery on the timeline, and count roles that were notified. Failed ones are in the result."""
    title = f"{incident.id} {incident.title}".strip()
    deliveries = deliver(receivers, title=title, body=message.text, settings=settings, redactor=redactor)
    sent = replace(message, deliveries=tuple(deliveries))
    for one in sent.deliveries:
        facts = {"message": message.name, "receiver": one.receiver, "delivered": one.delivered, "by": by}
        text = f"message {message.name} {one}"
        timeline.append(folder, redactor.json({"kind": "message-sent", "text": text, **facts}))
        role = next((role for role in (*ROLES, *OTHERS) if key(role) == key(one.receiver)), None)
        if one.delivered and role:
            timeline.append(folder, {"kind": ESCALATION, "text": f"{role} notified by message", "role": role, "by": by})
    write_manifest(folder)
    return sent


def deliver(
    receivers: Mapping[str, SecretStr], *, title: str, body: str, settings: NotifySettings, redactor: Redactor
) -> list[Delivery]:
    """Send *body* (redacted once more) to each receiver side by side, with retries; never raises for one that fails."""
    title, body = redactor.text(title), redactor.text(body)

    with ThreadPoolExecutor(max(1, len(receivers))) as pool:
        urls = [url.get_secret_value() for url in receivers.values()]
        return list(pool.map(lambda name, url: _deliver(name, url, title, body, settings), receivers, urls))


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
        if place.notify(body=body, title=title, body_format=NotifyFormat.TEXT):
            return ""
        said = str(log.getvalue()).splitlines()
    # Its last complaint, without what may hold the address.
    lines = [line.strip() for line in said if line.strip() and "://" not in line] or ["it refused the message"]
    return f"{lines[-1].rstrip('.').lower()}; look whether it is up and its URL is right"
