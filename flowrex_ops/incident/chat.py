"""What was said in the incident's channel, out of a Slack export, on its timeline.

https://slack.com/help/articles/220556107: a folder a channel, in it a file a day, each a list of messages; people by their id, whose names
stand in the message's own ``user_profile``, or in ``users.json`` beside the channel's folder.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.errors import ParameterError
from flowrex_ops.redaction.redactor import Redactor

KIND = "chat"
MOST_MESSAGES, LONGEST_TEXT = 2000, 1000
_SPOKEN = frozenset({None, "thread_broadcast", "me_message", "file_share"})
"""Of a message's ``subtype``: the others tell who joined, or are a program's."""
_LINK = re.compile(r"<(?P<to>[^<>|]+)(?:\|(?P<name>[^<>]*))?>")


def import_chat(folder: Path, export: Path, *, by: str, redactor: Redactor) -> int:
    """Put the messages of *export* (a file, or a channel's folder) on an incident's timeline, the earliest first; how many were new.

    Each line says when and by whom it was said; it carries that beside the moment at which it was written, which is now. Said twice is
    imported once. ParameterError where it is no such export.
    """
    said = sorted(_read(export), key=lambda one: float(one["ts"]))
    known = {line.get("said") for line in timeline.read(folder) if line.get("kind") == KIND}
    new = [one for one in said if one["said"] not in known]
    if len(new) > MOST_MESSAGES:
        raise ParameterError(f"'{export}' has {len(new)} messages, more than {MOST_MESSAGES}; give a file of one day")
    with timeline.writing(folder) as write:
        for one in new:
            at = datetime.fromtimestamp(float(one["ts"]), UTC)
            facts = {"said": one["said"], "said_at": at.isoformat(timespec="milliseconds"), "by": one["who"]}
            write(redactor.json({"kind": KIND, "text": one["text"], **facts, "imported_by": by}))
    write_manifest(folder)
    return len(new)


def _read(export: Path) -> Iterator[dict[str, Any]]:
    """Each message that a person wrote: ``ts``, ``said`` (its identity), ``who`` and ``text``."""
    files = sorted(export.glob("*.json")) if export.is_dir() else [export]
    if not files:
        raise ParameterError(
            f"'{export}' has no JSON file; give a channel's folder of a Slack export, or one of its files"
        )
    folder = export if export.is_dir() else export.parent
    names = {one.get("id"): _name(one) for one in _load(folder.parent / "users.json")}
    for file in files:
        for one in _load(file, required=True):
            if (
                one.get("type") != "message"
                or one.get("subtype") not in _SPOKEN
                or not str(one.get("text", "")).strip()
            ):
                continue
            user = str(one.get("user", ""))
            who = _name({"profile": one.get("user_profile") or {}}) or names.get(user) or user
            text = _LINK.sub(lambda found: _plain(found, names), str(one["text"]))
            said = f"{user} {one['ts']}"
            yield {"ts": one["ts"], "said": said, "who": who, "text": html.unescape(text)[:LONGEST_TEXT]}


def _load(file: Path, *, required: bool = False) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if required:
            raise ParameterError(f"'{file}' cannot be read as a Slack export: {error}") from None
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) and _is_timed(one) for one in found if required):
        if required:
            raise ParameterError(f"'{file}' is no list of messages with 'ts', as a Slack export has them")
        return []
    return [one for one in found if isinstance(one, dict)]


def _is_timed(one: Mapping[str, Any]) -> bool:
    return bool(re.fullmatch(r"\d{1,11}(\.\d+)?", str(one.get("ts", ""))))


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile") or {}
    return str(profile.get("display_name") or profile.get("real_name") or user.get("name") or "")


def _plain(found: re.Match[str], names: Mapping[Any, str]) -> str:
    """``<@U1>``, ``<#C1|incidents>`` and ``<https://…|page>`` as a reader sees them."""
    to, name = found["to"], found["name"]
    if to.startswith("@"):
        return "@" + (name or names.get(to[1:]) or to[1:])
    return f"#{name or to[1:]}" if to.startswith("#") else (name or to)
