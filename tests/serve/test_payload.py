"""A request that is not Alertmanager's gets one line that names the member."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_bench import a_payload, an_alert

from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.webhook.payload import RefusedError, read_payload, redacted


def without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != name}


BAD: dict[str, tuple[object, str]] = {
    "nothing": (b"", "the body is not JSON"),
    "cut off": (json.dumps(a_payload(an_alert())).encode()[:-9], "the body is not JSON"),
    "not UTF-8": (b'{"version": "\xff"}', "the body is not JSON"),
    "a list": (b"[]", "the body: input should be an object"),
    "deep": (b"[" * 100_000, "the body is not JSON"),
    "no group": (without(a_payload(an_alert()), "groupKey"), "groupKey: field required"),
    "no alerts": (a_payload(), "alerts: "),
    "alerts of another kind": (a_payload(an_alert()) | {"alerts": {"a": 1}}, "alerts: "),
    "another version": (a_payload(an_alert()) | {"version": "5"}, "version: input should be '4' or '1'"),
    "unknown status": (a_payload(an_alert(status="silent")), "alerts.0.status: input should be 'firing' or 'resolved'"),
    "a time without zone": (a_payload(an_alert() | {"startsAt": "2026-01-02T03:04:05"}), "alerts.0.startsAt: "),
    "a time that is none": (a_payload(an_alert() | {"startsAt": "yesterday"}), "alerts.0.startsAt: "),
    "no fingerprint": (a_payload(without(an_alert(), "fingerprint")), "alerts.0.fingerprint: field required"),
    "labels of another type": (a_payload(an_alert() | {"labels": {"alertname": 7}}), "alerts.0.labels.alertname: "),
}


@pytest.mark.parametrize("example", BAD)
def test_one_line_that_names_what_is_wrong(example: str) -> None:
    body, words = BAD[example]
    with pytest.raises(RefusedError) as caught:
        read_payload(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.detail.startswith(words), caught.value
    assert "\n" not in caught.value.detail


def test_times_are_utc_and_gos_year_one_is_taken() -> None:
    """Alertmanager writes nanoseconds, local zones, and year 1 for an end that is not known."""
    sent = an_alert() | {"startsAt": "2026-01-02T03:04:05.123456789+02:00", "endsAt": "0001-01-01T00:00:00+05:00"}
    alert = read_payload(json.dumps(a_payload(sent)).encode()).alerts[0]
    assert alert.starts_at == datetime(2026, 1, 2, 1, 4, 5, 123456, UTC)
    assert alert.ends_at is not None


def test_what_newer_versions_add_is_ignored() -> None:
    raw = json.dumps(a_payload(an_alert() | {"mood": "bad"}) | {"notificationReason": "x"}).encode()
    assert read_payload(raw).alerts[0].name == "PoolExhausted"


def test_secrets_in_labels_and_annotations_do_not_pass() -> None:
    sent = an_alert() | {"annotations": {"summary": "postgresql://app:sesame-1@db/x refused, token is open-2-sesame"}}
    kept = redacted(read_payload(json.dumps(a_payload(sent)).encode()), Redactor(["open-2-sesame"]))
    assert "sesame" not in kept.model_dump_json()


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_any_json_is_refused_by_its_error(value: object) -> None:
    """Never by a traceback."""
    with pytest.raises(RefusedError):
        read_payload(json.dumps(value).encode())
