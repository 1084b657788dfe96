"""What was said of an incident, and to whom: each message is kept before it is sent, and its deliveries after.

``messages/001-initial.txt`` is the text as it went out, ``001-initial.json`` says when, by whom and what became of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import ParameterError
from flowrex_ops.files import write_atomic
from flowrex_ops.incident.escalation import KIND as ESCALATION
from flowrex_ops.incident.escalation import key
from flowrex_ops.incident.facts import Incident
from flowrex_ops.incident.messages import gaps
from flowrex_ops.incident.notify import Delivery, send
from flowrex_ops.incident.severity import ROLES
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import NotifySettings

FOLDER = "messages"


@dataclass(frozen=True, slots=True)
class Message:
    """A kept message: its name (``001-initial``), text, file, and what became of it at each receiver."""

    name: str
    text: str
    path: Path
    deliveries: tuple[Delivery, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """``{message, text, path, deliveries[]}``."""
        deliveries = [delivery.to_dict() for delivery in self.deliveries]
        return {"message": self.name, "text": self.text, "path": str(self.path), "deliveries": deliveries}


def keep(folder: Path, kind: str, text: str, *, by: str, redactor: Redactor) -> Message:
    """Write *text* (redacted) as the incident's next message of *kind*; nothing is sent."""
    text = redactor.text(text.strip()) + "\n"
    with timeline.writing(folder) as write:
        (folder / FOLDER).mkdir(exist_ok=True)
        name = f"{len(list((folder / FOLDER).glob('*.txt'))) + 1:03d}-{kind}"
        path = folder / FOLDER / f"{name}.txt"
        write_atomic(path, text)
        _describe(path, by, ())
        write({"kind": "message", "text": f"message {name} written", "message": name, "by": by})
    write_manifest(folder)
    return Message(name, text, path)


def require_whole(text: str) -> None:
    """ParameterError where something in *text* is still to be said."""
    open_ones = gaps(text)
    if open_ones:
        raise ParameterError(f"the message still says '{open_ones[0]}'; give it by its option, or write it with --edit")


def deliver(
    folder: Path,
    message: Message,
    receivers: Mapping[str, SecretStr],
    *,
    incident: Incident,
    by: str,
    settings: NotifySettings,
    redactor: Redactor,
) -> Message:
    """Send a kept message, note each delivery on the timeline, and count roles that were told. Failed ones are in the result."""
    deliveries = tuple(
        send(
            receivers,
            title=f"{incident.id} {incident.title}".strip(),
            body=message.text,
            settings=settings,
            redactor=redactor,
        )
    )
    _note(folder, message, deliveries, by=by, redactor=redactor)
    _describe(message.path, by, deliveries)
    write_manifest(folder)
    return Message(message.name, message.text, message.path, deliveries)


def _note(folder: Path, message: Message, deliveries: Sequence[Delivery], *, by: str, redactor: Redactor) -> None:
    for one in deliveries:
        said = "sent to" if one.delivered else "NOT sent to"
        text = f"message {message.name} {said} {one.receiver}" + (f": {one.error}" if one.error else "")
        facts = {"message": message.name, "receiver": one.receiver, "delivered": one.delivered, "by": by}
        timeline.append(folder, redactor.json({"kind": "message-sent", "text": text, **facts}))
        role = next((role for role in ROLES if key(role) == key(one.receiver)), None)
        if one.delivered and role:
            timeline.append(folder, {"kind": ESCALATION, "text": f"{role} told by message", "role": role, "by": by})


def _describe(path: Path, by: str, deliveries: Sequence[Delivery]) -> None:
    facts = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "text": path.name,
        "deliveries": [delivery.to_dict() for delivery in deliveries],
    }
    write_atomic(path.with_suffix(".json"), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
