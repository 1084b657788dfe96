"""What was said in a channel becomes a part of what happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flowrex_ops.archive import timeline
from flowrex_ops.errors import ParameterError
from flowrex_ops.incident.chat import import_chat
from flowrex_ops.incident.events import merge_events
from flowrex_ops.incident.incident import open_new
from flowrex_ops.redaction.redactor import Redactor

SECRET = "s3cret-token"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return open_new(tmp_path / "outputs", {"title": "Orders time out"}, by="ada", redactor=Redactor())


def said(text: str, ts: str = "1769832900.000100", user: str = "U1", **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": ts, **more}


def export(tmp_path: Path, *messages: dict[str, Any]) -> Path:
    """A channel's folder, and who is who beside it."""
    channel = tmp_path / "export" / "incident-20260131-0412"
    channel.mkdir(parents=True, exist_ok=True)
    (channel / "2026-01-31.json").write_text(json.dumps(messages), encoding="utf-8")
    people = [{"id": "U1", "name": "ada", "profile": {"real_name": "Ada L."}}, {"id": "U2", "name": "grace"}]
    (channel.parent / "users.json").write_text(json.dumps(people), encoding="utf-8")
    return channel


def take(folder: Path, channel: Path) -> int:
    return import_chat(folder, channel, by="ada", redactor=Redactor([SECRET]))


def chat(folder: Path) -> list[tuple[str, str]]:
    return [(line["by"], line["text"]) for line in timeline.read(folder) if line["kind"] == "chat"]


def test_who_said_what_the_earliest_first(folder: Path, tmp_path: Path) -> None:
    """By their names, as a reader sees it; who joined and what a program wrote is left out, and so is a secret."""
    channel = export(
        tmp_path,
        said("see <https://x.test/1|the graph> &amp; tell <@U2>", "1769832960.5"),
        said(f"token {SECRET} was in the log", "1769832900.5", "U2"),
        said("<@U1> has joined", subtype="channel_join"),
        said("alert fired", subtype="bot_message"),
        said("from outside", "1769832999.5", "U9", user_profile={"real_name": "Eve"}),
    )
    assert take(folder, channel) == 3
    assert chat(folder) == [
        ("grace", "token [redacted:secret] was in the log"),
        ("Ada L.", "see the graph & tell @grace"),
        ("Eve", "from outside"),
    ]
    assert timeline.verify(folder) is None


def test_again_adds_what_is_new(folder: Path, tmp_path: Path) -> None:
    channel = export(tmp_path, said("restarting", "1769832900.5"))
    assert (take(folder, channel), take(folder, channel)) == (1, 0)
    assert take(folder, export(tmp_path, said("restarting", "1769832900.5"), said("done", "1769832990.5"))) == 1
    assert [text for _, text in chat(folder)] == ["restarting", "done"]


def test_it_stands_where_it_was_said(folder: Path, tmp_path: Path) -> None:
    """Not where it was imported."""
    take(folder, export(tmp_path, said("orders fail", "1769832900.5")) / "2026-01-31.json")
    events = merge_events(timeline.read(folder), pd.DataFrame(columns=["at", "what", "event", "name"]))
    assert events[["what", "event", "who"]].iloc[0].tolist() == ["chat", "orders fail", "Ada L."]
    assert f"{events['at'].iloc[0]:%Y-%m-%d %H:%M:%S}" == "2026-01-31 04:15:00"


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"type": "message", "text": "x"}]', "not JSON"])
def test_what_is_no_export_is_refused_whole(folder: Path, tmp_path: Path, text: str) -> None:
    """Nothing of it is written."""
    file = tmp_path / "x.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match="Slack export"):
        take(folder, file)
    assert chat(folder) == []


def test_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no JSON file"):
        take(folder, tmp_path)
