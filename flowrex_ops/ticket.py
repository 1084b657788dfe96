"""An incident in whatever people track work in, by the one POST that makes a ticket there.

GitHub (https://docs.github.com/rest/issues/issues#create-an-issue), GitLab (https://docs.gitlab.com/api/issues/#new-issue), Jira
(https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/) and most others take a JSON object and answer with one that
tells where the ticket is. Tried again is only what nobody can have taken: no connection, 429, 503.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.settings import TicketSettings
from flowrex_ops.web import request

UNSURE = "unsure"
"""Code of a failure after which the ticket may be there all the same."""

_MOST_SAID = 200
_PLACE = re.compile(r"\{(\w+)\}")
_REFUSED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def fill(template: Any, facts: Mapping[str, Any]) -> Any:
    """*template* with its ``{names}`` replaced in every text; KeyError names one that *facts* do not have."""
    if isinstance(template, Mapping):
        return {name: fill(one, facts) for name, one in template.items()}
    if isinstance(template, list | tuple):
        return [fill(one, facts) for one in template]
    return _PLACE.sub(lambda found: str(facts[found[1]]), template) if isinstance(template, str) else template


def post(settings: TicketSettings, body: Any) -> str:
    """Make the ticket; its address. SourceUnavailableError says what went wrong and what to do, with code ``UNSURE`` where it may be there."""
    import httpx
    from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_attempt, wait_exponential

    token = settings.token.get_secret_value() if settings.token else ""
    headers = {
        name: fill(one, {"token": token}) for name, one in settings.headers.items() if token or "{token}" not in one
    }
    never_sent = (httpx.ConnectError, httpx.ConnectTimeout)
    retrying = Retrying(
        stop=stop_after_attempt(settings.attempts),
        wait=wait_exponential(multiplier=settings.retry_seconds, max=10),
        retry=retry_if_exception_type(never_sent) | retry_if_result(lambda answer: answer.status_code in _REFUSED),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    try:
        answer = retrying(request, "POST", settings.url, json=body, headers=headers, seconds=settings.seconds)
    except (*never_sent, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        said = f"'{settings.url}' was not reached ({str(error) or type(error).__name__}); no ticket was made, correct ticket.url"
        raise SourceUnavailableError(said) from None
    except httpx.HTTPError as error:
        said = f"'{settings.url}' did not answer to the end ({str(error) or type(error).__name__}); the ticket may be there"
        raise SourceUnavailableError(said, code=UNSURE) from None
    return _address(answer, settings)


def _address(answer: Any, settings: TicketSettings) -> str:
    status = answer.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise SourceUnavailableError(f"HTTP {status}: no ticket was made; correct ticket.token or its rights")
    if not answer.is_success:
        said = " ".join(answer.text.split())[:_MOST_SAID]
        sure = "" if status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _REFUSED else UNSURE
        done = "the ticket may be there" if sure else "no ticket was made; correct ticket.url or ticket.body"
        raise SourceUnavailableError(f"HTTP {status}: {done} ({said or 'no reason given'})", code=sure or None)
    try:
        told = {name: one for name, one in answer.json().items() if one is not None}
        return str(fill(settings.address, told))
    except (ValueError, KeyError, AttributeError):
        text = (
            f"HTTP {status}, and no '{settings.address}' in the answer; the ticket may be there, correct ticket.address"
        )
        raise SourceUnavailableError(text, code=UNSURE) from None
