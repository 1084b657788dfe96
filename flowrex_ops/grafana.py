"""What was changed, as an annotation in Grafana: whoever looks at a dashboard sees when, by whom and whether it helped.

Grafana's HTTP API, ``POST /api/annotations`` (https://grafana.com/docs/grafana/latest/developers/http_api/annotations/): a
region from ``time`` to ``timeEnd`` (milliseconds since 1970), text and tags; without ``dashboardUID`` it is the organization's.

Sent after the result is on disk, by whatever writes the timeline, so that a failure and Ctrl-C are told too; what
goes wrong is one line and fails no mitigation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flowrex_ops.errors import RecordError
from flowrex_ops.guard import Timeline
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.settings import GrafanaSettings
from flowrex_ops.web import request

MOST_TEXT = 2000
_KIND = "annotation"


class AnnotatedTimeline:
    """A timeline that tells Grafana of each mitigation that acted, once its result is on disk.

    ``trouble`` says why Grafana was not told; the mitigation is none the worse for it.
    """

    def __init__(
        self, note: Timeline, settings: GrafanaSettings, redactor: Redactor, *, platform: str, limit_seconds: float
    ) -> None:
        self._note = note
        self._settings = settings
        self._redactor = redactor
        self._platform = platform
        self._limit_seconds = limit_seconds
        self._began = 0.0
        self._targets: list[str] = []
        self.trouble = ""

    def __call__(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "mitigation-intent":
            self._began, self._targets = time.time(), list(facts.get("targets", ()))
        self._note(kind, facts)
        if kind == "mitigation-result" and self._settings.url:
            self._annotate(facts)

    def _annotate(self, facts: Mapping[str, Any]) -> None:
        answer = self._post(self._body(facts, ended=time.time()))
        said = f"Grafana shows it as annotation {answer}"
        if not isinstance(answer, int):
            said = self.trouble = f"Grafana was not told of {facts['slug']}: {answer}"
        try:
            self._note(_KIND, {"slug": facts["slug"], "reason": said})
        except RecordError as error:
            self.trouble = f"{said}; the timeline lacks this: {error}"

    def _body(self, facts: Mapping[str, Any], *, ended: float) -> dict[str, Any]:
        slug, state = str(facts["slug"]), str(facts["state"])
        text = (
            f"{slug} {state} on {self._platform}, by {facts['operator']} (plan {facts['plan_hash']})\n"
            f"to: {'; '.join(self._targets)}\n{facts['reason']}"
        )
        body = {
            "time": int(self._began * 1000),
            "timeEnd": int(ended * 1000),
            "tags": [*self._settings.tags, slug, state],
            "text": self._redactor.text(text)[:MOST_TEXT],
        }
        return body | ({"dashboardUID": self._settings.dashboard_uid} if self._settings.dashboard_uid else {})

    def _post(self, body: Mapping[str, Any]) -> int | str:
        """The annotation's id, or what went wrong and what to do."""
        import httpx

        token = self._settings.token
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        url = f"{str(self._settings.url).rstrip('/')}/api/annotations"
        try:
            answer = request("POST", url, json=body, headers=headers, seconds=self._limit_seconds)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return self._redactor.text(
                f"'{url}' did not answer ({str(error) or type(error).__name__}); correct grafana.url"
            )
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return f"HTTP {answer.status_code}; grafana.token needs the permission annotations:create"
        try:
            return int(answer.raise_for_status().json()["id"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return f"'{url}' answered HTTP {answer.status_code} and no id; is it Grafana? correct grafana.url"
