"""Maintenance mode: users get a page and 503 with ``Retry-After`` (RFC 9110, 15.6.4), health checks and some addresses the platform."""

from __future__ import annotations

import hashlib
import html
import ipaddress
from collections.abc import Sequence
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Self

import httpx

from flowrex_ops.errors import MitigationRefusedError, ParameterError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.health_probe import HEALTH_PATHS
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.proxy.snippets import header_of, parse_header
from flowrex_ops.waiting import wait_until
from flowrex_ops.web import get

HTTP, SERVER, PAGE = "http-maintenance.conf", "server-maintenance.conf", "flowrex-ops-maintenance.html"
HEADER = "X-Flowrex-Maintenance"
PURPOSE = "maintenance"
MOST_PAGE_BYTES = 1_000_000
_SLOW_SECONDS = 2.0
"""One answer that is late does not mean that the page is not served."""
_ACME = "~^/.well-known/acme-challenge/"
"""A certificate that is renewed meanwhile must stay possible (RFC 8555, 8.3)."""


class _Maintenance(Mitigation):
    """What both directions share: where users come in, and what they get there."""

    causes = ()
    resource = "nginx"

    def __init__(self, proxy: ProxyControl, *, url: str | None, health: str, request_seconds: float) -> None:
        self._proxy = proxy
        self._url = url
        self._health = health
        self._request_seconds = request_seconds

    @classmethod
    def _wired(cls, context: Context) -> dict[str, Any]:
        settings = context.settings
        return {
            "proxy": ProxyControl.of(context),
            "url": context.endpoints.front_door_url,
            "health": settings.front_door.path or HEALTH_PATHS[0],
            "request_seconds": settings.limits.reading_seconds,
        }

    def find_targets(self) -> Sequence[Target]:
        """The proxy, as it is now: on since when and by whom, or off."""
        if self._url is None:
            raise MitigationRefusedError(
                "where users come in is not known, so nothing could be verified; set front_door.url"
            )
        state = self._state()
        replica = self._proxy.replica()
        return [Target((replica.name, replica.identity, state), f"{replica.name}, maintenance is {state}")]

    def _state(self) -> str:
        head = parse_header(self._proxy.read().get(SERVER, ""))
        return f"on since {head.since}, by {head.by}" if head else "off"

    def _get(self, path: str) -> httpx.Response | None:
        """What a user gets who has no rights and no patience; names and certificates are another runbook's business."""
        try:
            return get(f"{str(self._url).rstrip('/')}{path}", seconds=self._request_seconds, verified=False)
        except httpx.HTTPError:
            return None

    def _is_on(self, edition: str = "") -> bool:
        """Whether users get the page; of this *edition* only, where one is named: an old worker still serves the one before."""
        answer = self._get("/")
        if answer is None or answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            return False
        return answer.headers.get(HEADER, "").endswith(edition) and HEADER in answer.headers

    def _is_off(self) -> bool:
        answer = self._get("/")
        return answer is not None and HEADER not in answer.headers

    def _health_is_served(self) -> bool:
        """Whether the health check reaches the platform itself, whatever that answers."""
        answer = self._get(self._health)
        return answer is not None and HEADER not in answer.headers


class MaintenanceOn(_Maintenance):
    """Everything but health checks, ACME challenges and the allowed addresses gets the page."""

    slug = "maintenance-on"
    action = "let NGINX answer 503 with a page to everybody but health checks and the allow-list; tested, reloaded, confirmed"
    cost = "nobody else can use the platform until it is off; open WebSockets stay with NGINX's old workers until they close"
    undo = "maintenance-off; WebSockets that were closed come back by themselves"

    def __init__(
        self, *, page: str, message: str, retry_after_seconds: int, allow: Sequence[str], **common: Any
    ) -> None:
        super().__init__(**common)
        self._page = page
        self._message = message
        self._retry_after_seconds = retry_after_seconds
        self._served = ""
        self._allow = sorted(_network(one) for one in allow)

    def find_targets(self) -> Sequence[Target]:
        """The proxy; refused where the page could not be served, before anybody approves it."""
        self._read_page()
        return super().find_targets()

    @classmethod
    def build(
        cls,
        context: Context,
        *,
        page: str = "",
        message: str = "",
        retry_after_seconds: int = 600,
        allow: Sequence[str] = (),
    ) -> Self:
        """*page* is an HTML file of one's own, *message* a sentence on the built-in one; *allow* addresses or networks."""
        return cls(
            page=page, message=message, retry_after_seconds=retry_after_seconds, allow=allow, **cls._wired(context)
        )

    def action_of(self, _targets: Sequence[Target]) -> str:
        """The wishes are part of the plan, and so of its hash."""
        allowed = f"; not for {', '.join(self._allow)}" if self._allow else ""
        page = f"the page '{self._page}'" if self._page else f"the built-in page ({self._message or 'no message'})"
        return f"{self.action}; {page}, Retry-After {self._retry_after_seconds} s{allowed}"

    def apply(self, target: Target) -> str:
        page = self._read_page()
        present = self._proxy.read()
        head = parse_header(present.get(SERVER, "")) or header_of(PURPOSE, self.operator)
        edition = self._served = self._edition(page)
        files = {HTTP: f"{head}{self._http()}", SERVER: f"{head}{self._server(head.since, edition)}", PAGE: page}
        written = all(present.get(name) == text for name, text in files.items())
        if written and wait_until(lambda: self._is_on(edition), seconds=_SLOW_SECONDS):
            return f"it was {target.identity[2]} already, and stays so"
        self._proxy.change(files, lambda: self._is_on(edition))
        return f"NGINX serves the page, by {head.by}, since {head.since}"

    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # one target, always the same
        if not wait_until(lambda: self._is_on(self._served) and self._health_is_served(), seconds=5.0):
            raise VerificationError(
                f"'{self._url}' does not answer 503 with the page, or '{self._health}' is not served; look at NGINX"
            )
        return f"verified: 503 with Retry-After at '{self._url}', and '{self._health}' is still served"

    def _read_page(self) -> str:
        if not self._page:
            text = resources.files("flowrex_ops.proxy").joinpath("maintenance.html").read_text(encoding="utf-8")
            return Template(text).substitute(message=html.escape(self._message), seconds=self._retry_after_seconds)
        path = Path(self._page)
        if path.resolve().suffix.lower() not in (
            ".html",
            ".htm",
        ):  # what everybody will read is no other file of this machine
            raise MitigationRefusedError(f"page '{path}' is no HTML file; name one that ends in .html")
        try:
            if path.stat().st_size > MOST_PAGE_BYTES:
                raise MitigationRefusedError(
                    f"page '{path}' is larger than {MOST_PAGE_BYTES} bytes; take a smaller one"
                )
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MitigationRefusedError(f"page '{path}' cannot be read: {error}; correct the parameter page") from None

    def _http(self) -> str:
        allowed = "".join(f" {network} 1;" for network in self._allow)
        exempt = f"~^{_regex(health)} 1;" if (health := self._health.rpartition("/")[0] + "/") != "/" else ""
        # Volatile, because the page is served by an internal redirect, after which the URI is another.
        return (
            f"geo $flowrex_ops_allowed {{ default 0;{allowed} }}\n"
            f"map $uri $flowrex_ops_exempt {{ volatile; default 0; {exempt} {_ACME} 1; /{PAGE} 1; }}\n"
            "map $flowrex_ops_allowed$flowrex_ops_exempt $flowrex_ops_maintenance { volatile; default 0; 00 1; }\n"
        )

    def _edition(self, page: str) -> str:
        """What tells this page, with these wishes, from the one that was served before it."""
        return hashlib.sha256(repr((page, self._retry_after_seconds, self._allow)).encode()).hexdigest()[:8]

    def _server(self, since: str, edition: str) -> str:
        # Served by a redirect to a URI, which turns every method into GET; a named location would answer 405 to a POST.
        return (
            "if ($flowrex_ops_maintenance) { return 503; }\n"
            f"error_page 503 /{PAGE};\n"
            f"location = /{PAGE} {{\n"
            f'    internal; root "{self._proxy.inside}"; default_type text/html; charset utf-8;\n'
            f'    add_header Retry-After "{self._retry_after_seconds}" always;\n'
            f'    add_header Cache-Control "no-store" always;\n'
            f'    add_header {HEADER} "{since} {edition}" always;\n'
            "}\n"
        )


class MaintenanceOff(_Maintenance):
    """The platform is served again."""

    slug = "maintenance-off"
    action = "take the maintenance page out of NGINX's configuration; tested, reloaded, confirmed"
    cost = "none; users reach the platform again, whatever state it is in"
    undo = "maintenance-on"

    @classmethod
    def build(cls, context: Context) -> Self:
        return cls(**cls._wired(context))

    def apply(self, target: Target) -> str:
        if not {HTTP, SERVER, PAGE} & set(self._proxy.read()) and self._is_off():
            return "it was off already"
        self._proxy.change({HTTP: None, SERVER: None}, self._is_off)
        self._proxy.discard(PAGE)  # not before: an old worker would answer 404 in its place
        return f"the page is gone; it was {target.identity[2]}"

    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # one target, always the same
        if not wait_until(self._is_off, seconds=5.0):
            raise VerificationError(f"'{self._url}' still answers with the page, or not at all; look at NGINX")
        answer = self._get(self._health)
        said = f"HTTP {answer.status_code}" if answer is not None else "nothing"
        return f"verified: '{self._url}' is served by the platform, '{self._health}' answers {said}"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ParameterError(f"allow: '{text}' is no address or network; write 203.0.113.7 or 203.0.113.0/24") from None


def _regex(path: str) -> str:
    return path.replace(".", r"\.")
