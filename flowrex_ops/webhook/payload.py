"""What Alertmanager sends: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config, version 4.

Grafana's contact point "webhook" sends the same members and some of its own, and calls that version 1:
https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException

from flowrex_ops.model import Severity

_SUMMARY_CHARACTERS = 500


class RefusedError(HTTPException):
    """An HTTP answer other than 200: *status*, a *reason* for the metrics, and a text that names what would be right."""

    def __init__(self, status: int, reason: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text, headers)
        self.reason = reason


def _in_utc(value: datetime) -> datetime:
    """Go's zero time, year 1, is what Alertmanager sends for an end that is not known; west of Greenwich it has no UTC."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return value.replace(tzinfo=UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Text = Annotated[str, Field(max_length=10_000)]


class _Part(BaseModel):
    """Members that newer versions add are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class Alert(_Part):
    """One alert of a group. ``ends_at`` lies in the future, or in year 1, while it fires."""

    status: Literal["firing", "resolved"]
    labels: Mapping[str, Text]
    annotations: Mapping[str, Text] = Field(default_factory=dict)
    starts_at: Moment
    ends_at: Moment | None = None
    fingerprint: str = Field(min_length=1, max_length=100)

    @property
    def name(self) -> str:
        """The alert's name; alerts without one are legal, and left to triage."""
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        """The label ``severity`` as it was sent."""
        return self.labels.get("severity", "")

    @property
    def rank(self) -> str:
        """``P0`` to ``P3`` by the label ``severity``, whatever its words; empty where they are not known."""
        known = Severity.of_word(self.severity)
        return known.value if known else ""

    @property
    def summary(self) -> str:
        """What its annotations say of it, for people."""
        return (self.annotations.get("summary") or self.annotations.get("description") or "")[:_SUMMARY_CHARACTERS]


class Payload(_Part):
    """One notification: a group and its alerts."""

    version: Literal["4", "1"]
    group_key: str = Field(min_length=1, max_length=10_000)
    status: Literal["firing", "resolved"]
    alerts: tuple[Alert, ...] = Field(min_length=1)
    truncated_alerts: int = 0


def read_payload(raw: bytes) -> Payload:
    """*raw* as a payload. RefusedError in one line names the first member that is missing or wrong."""
    try:
        return Payload.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    member = ".".join(str(part) for part in first["loc"]) or "the body"
    said = first["msg"].lower()
    if first["type"] == "json_invalid":
        member, said = "the body is not JSON", said.removeprefix("invalid json: ")
    raise RefusedError(400, "malformed", f"{member}: {said}; send Alertmanager's webhook of version 4")


def redacted(payload: Payload, redactor: Any) -> Payload:
    """*payload* without secrets, in labels and annotations too: from here on it goes to disk."""
    return Payload.model_validate(redactor.json(payload.model_dump(mode="json", by_alias=True)))
