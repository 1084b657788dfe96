"""The broker, asked read-only in two places: by the backend's own adapter inside each replica, and from here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.broker_errors import classify
from flowrex_ops.model import Execution, Replica
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import Settings
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.trades.reconciliation import Fills, parse_fills
from flowrex_ops.web import get

BROKER_COLUMNS = ["place", "connected", "seconds", "kind", "error"]
HERE = "from here"
MOST_PAGES, _PAGE = 5, 1000
"""Of the list of fills; a page is as long as OANDA allows."""

ADAPTER_CHECK = """\
import asyncio, faulthandler, json, sys
faulthandler.dump_traceback_later(float(sys.argv[1]), exit=True)
from app.execution.adapters import get_adapter
adapter = get_adapter()
print(json.dumps(asyncio.run(adapter.check_connection()), default=str))
"""
"""The playbook's own check; its answer is printed as JSON, since a program reads it.

One that takes too long says where it was when its time ran out: a name that does not resolve, a connection that is not
made and an answer that does not come are different troubles (https://docs.python.org/3/library/faulthandler.html).
"""

_NOT_RUN = (126, 127)
"""What a shell, ``timeout`` and Docker answer where a program is not there, or is none."""

_OUT_OF_TIME = re.compile(r"^Timeout \(", re.MULTILINE)
_LOADING = re.compile(r'File "<string>", line 3 in <module>')
"""It was at the import: a busy machine, or an application that does much while it is loaded."""
_CONNECTING = re.compile(
    r"line \d+ in (getaddrinfo|gethostbyname\w*|create_connection|connect|_connect)$", re.MULTILINE
)


# The playbook's adapter check runs where it belongs, inside the replica. A broker that takes no connection is
# unreachable, one that takes it and does not answer is slow: only in the second case may an order have arrived. The
# check from here is optional: without `broker.url` nothing becomes inconclusive.
class BrokerSource(Source):
    """Whether the broker answers and takes the credentials; every row says from which place it was asked."""

    name = "broker"
    libraries = ("httpx",)

    def __init__(self, stack: Stack, service: str, *, url: str, token: str, account: str, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack
        self._service = service
        self._url = url.rstrip("/")
        self._token = token
        self._account = account

    @reads("broker check inside the backend")
    def check_from_backend(self) -> pd.DataFrame:
        """The adapter's ``check_connection()`` in every running replica at once; columns ``BROKER_COLUMNS``.

        ``seconds`` is what the adapter says it took, where it says so. A replica in which nothing could be run has
        kind ``unknown``; if that is so in all, there is no reading.
        """
        replicas = [replica for replica in self._stack.get_replicas(self._service) if replica.running]
        if not replicas:
            raise SourceUnavailableError(f"service '{self._service}' has no running replica to ask in; start it")
        rows = side_by_side(self._check_in, replicas, most=8)
        if all(row["kind"] == "unknown" for row in rows):
            raise SourceUnavailableError(f"the adapter could not be asked in any replica: {rows[0]['error']}")
        return pd.DataFrame(rows, columns=BROKER_COLUMNS)

    @reads("broker check from here")
    def check_from_here(self, *, times: int = 3) -> pd.DataFrame:
        """The account's summary over HTTP, *times* in a row while it answers; columns ``BROKER_COLUMNS``."""
        self._require_address()
        until = time.monotonic() + self.limit_seconds * 0.8
        rows = [self._ask(until)]
        while len(rows) < times and rows[-1]["connected"] and time.monotonic() < until:
            rows.append(self._ask(until))
        return pd.DataFrame(rows, columns=BROKER_COLUMNS)

    @reads("fills at the broker")
    def get_fills(self, *, minutes: float) -> Fills:
        """What the broker has filled within that time, by its own list of transactions: the newest ``MOST_PAGES`` pages of a thousand."""
        self._require_address()
        until = time.monotonic() + self.limit_seconds * 0.8
        since = datetime.now(UTC) - timedelta(minutes=minutes)
        asked = {"from": f"{since:%Y-%m-%dT%H:%M:%S.%fZ}", "pageSize": _PAGE, "type": "ORDER_FILL"}
        listed = self._get("transactions", until, asked)
        pages = listed["pages"]
        found: list[dict[str, Any]] = []
        for page in pages[-MOST_PAGES:]:
            # Where the page is said to lie is not followed: our token goes to nobody but the address in the settings.
            ids = dict(parse_qsl(urlsplit(page).query))
            asked = {"from": ids["from"], "to": ids["to"], "type": "ORDER_FILL"}
            found += self._get("transactions/idrange", until, asked)["transactions"]
        table = parse_fills(found)
        begins_at, ends_at = (pd.Timestamp(listed[name]).to_pydatetime() for name in ("from", "to"))
        return Fills(table, table["filled_at"].min() if len(pages) > MOST_PAGES else begins_at, ends_at)

    def _get(self, what: str, until: float, asked: dict[str, Any]) -> Any:
        """The broker's answer; SourceUnavailableError where it gives none that is good."""
        import httpx

        url = f"{self._url}/v3/accounts/{self._account}/{what}"
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = get(url, headers=headers, params=asked, seconds=max(0.1, until - time.monotonic()))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceUnavailableError(f"{url} did not answer: {error or type(error).__name__}") from None
        if not answer.is_success:
            raise SourceUnavailableError(f"{url} answered HTTP {answer.status_code}", code=str(answer.status_code))
        return answer.json()

    def _require_address(self) -> None:
        if not self._url:
            raise SourceUnavailableError(
                "the broker's address is not configured; set broker.url, broker.token and broker.account"
            )

    def _check_in(self, replica: Replica) -> dict[str, Any]:
        limit = self.limit_seconds * 0.8
        started = time.monotonic()
        try:
            for program in ("python", "python3"):
                argv = (program, "-c", ADAPTER_CHECK, f"{limit * 0.8:.2f}")
                done = self._stack.execute(replica, argv, timeout_seconds=limit)
                if done.exit_code not in _NOT_RUN:
                    break
        except SourceUnavailableError as error:
            # The check ends itself before: what took too long was to begin it.
            return _row(replica.name, started, "unknown", str(error))
        return parse_adapter_answer(replica.name, done, time.monotonic() - started)

    def _ask(self, until: float) -> dict[str, Any]:
        import httpx

        url = f"{self._url}/v3/accounts/{self._account}/summary"
        started = time.monotonic()
        try:
            answer = get(url, headers={"Authorization": f"Bearer {self._token}"}, seconds=max(0.1, until - started))
            kind, error = _judge_answer(answer.status_code, answer.json)
        except httpx.ConnectTimeout:
            kind, error = "unreachable", f"{url} took no connection in {time.monotonic() - started:.1f} s"
        except httpx.TimeoutException:
            kind, error = "timeout", f"{url} did not answer in {time.monotonic() - started:.1f} s"
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            kind, error = "unreachable", f"{url} cannot be reached: {failure or type(failure).__name__}"
        return _row(HERE, started, kind, error)


def open_broker(settings: Settings, stack: Stack) -> BrokerSource:
    """The source as *settings* have it; nothing is contacted yet."""
    broker = settings.broker
    return BrokerSource(
        stack,
        settings.backend.service,
        url=broker.url,
        token=broker.token.get_secret_value() if broker.token else "",
        account=broker.account,
        limit_seconds=settings.limits.reading_seconds,
    )


def _judge_answer(status: int, read_json: Callable[[], Any]) -> tuple[str, str]:
    """Kind and error of an answer to a question for the account's summary; ``("ok", "")`` for a good one."""
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        kind = classify(f"HTTP {status}")
        return ("rejected" if kind == "other" else kind), f"HTTP {status}"
    try:
        body = read_json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("account"), dict):
        return "ok", ""
    return "unreachable", f"malformed answer: HTTP {status}, and no account in it"


def _row(place: str, started: float, kind: str, error: str) -> dict[str, Any]:
    values = (place, kind == "ok", time.monotonic() - started, kind, error)
    return dict(zip(BROKER_COLUMNS, values, strict=True))


def parse_adapter_answer(place: str, done: Execution, seconds: float) -> dict[str, Any]:
    """A row of ``BROKER_COLUMNS`` out of what the adapter's check printed.

    It may answer with a truth, with a mapping (``connected`` or ``ok``, ``latency_ms``, ``error``), or by raising.
    """
    if done.exit_code in _NOT_RUN:
        error = f"the adapter's check could not run here: {' '.join(done.stderr.split())[:200] or 'no python'}"
        return dict(zip(BROKER_COLUMNS, (place, False, seconds, "unknown", error), strict=True))
    if _OUT_OF_TIME.search(done.stderr) and _LOADING.search(done.stderr):
        error = f"the application was not loaded in {seconds:.1f} s, and nobody was asked"
        return dict(zip(BROKER_COLUMNS, (place, False, seconds, "unknown", error), strict=True))
    if _OUT_OF_TIME.search(done.stderr):
        connecting = _CONNECTING.search(done.stderr)
        kind, text = ("unreachable", "no connection") if connecting else ("timeout", "no answer")
        return dict(zip(BROKER_COLUMNS, (place, False, seconds, kind, f"{text} in {seconds:.1f} s"), strict=True))
    answer = _last_json(done.stdout.splitlines())
    if done.exit_code != 0 or answer is None:
        text = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it printed nothing")
        broken = re.match(
            r"(ModuleNotFoundError|ImportError|KeyError|AttributeError|SyntaxError|exec|OCI|timeout: )", text
        )
        kind = "unknown" if broken or classify(text) == "other" else classify(text)
        return dict(zip(BROKER_COLUMNS, (place, False, seconds, kind, text[:300]), strict=True))
    facts = answer if isinstance(answer, dict) else {"connected": answer}
    connected = bool(facts.get("connected", facts.get("ok", False)))
    latency = facts.get("latency_ms")
    took = float(latency) / 1000 if isinstance(latency, int | float) else seconds
    error = "" if connected else str(facts.get("error") or "the adapter says that it is not connected")[:300]
    kind = "ok" if connected else classify(error)
    return dict(zip(BROKER_COLUMNS, (place, connected, took, kind, error), strict=True))


def _last_json(lines: Sequence[str]) -> Any:
    """The last line that is JSON; a library may have printed something before it."""
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None
