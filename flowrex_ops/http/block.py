"""Shut a client out at the proxy until a moment: 429 with ``Retry-After`` (RFC 6585, section 4; RFC 9110, 10.2.3).

429 and a pattern over ``$msec``, not ``deny``: NGINX compares texts, so "before this second" is a regular expression
of the numbers below it, and the block ends without anybody's doing.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Self

import httpx
import pandas as pd

from flowrex_ops.errors import MitigationRefusedError, ParameterError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.http.block_snippets import (
    PROBE,
    PURPOSE,
    Network,
    file_names,
    find_blocks,
    find_expired,
    parse_network,
    short,
    snippets_of,
)
from flowrex_ops.http.context import Limits, find_flood
from flowrex_ops.logs.access_log import AccessLog
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Reading, Target
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.proxy.snippets import SnippetHeader, header_of
from flowrex_ops.waiting import wait_until
from flowrex_ops.web import get

MOST_MINUTES = 24 * 60
_SETTLED_SECONDS = 2.0
"""Requests that were under way when NGINX was reloaded are answered by its old workers; so long none may have been."""
_SETTLE_SECONDS = 20.0
_REACH_SECONDS = 5.0


class _Block(Mitigation):
    """What blocking and unblocking share: the snippets of each client, and a user's view of the front door."""

    resource = "nginx"

    def __init__(self, proxy: ProxyControl, *, url: str | None, request_seconds: float) -> None:
        self._proxy = proxy
        self._url = url
        self._request_seconds = request_seconds

    @staticmethod
    def _wired(context: Context) -> dict[str, Any]:
        return {
            "proxy": ProxyControl.of(context),
            "url": context.endpoints.front_door_url,
            "request_seconds": context.settings.limits.reading_seconds,
        }

    def _require_front_door(self) -> None:
        if self._url is None:
            raise MitigationRefusedError(
                "where users come in is not known, so nothing could be verified; set front_door.url"
            )

    def _blocks(self) -> dict[str, tuple[SnippetHeader, str]]:
        return find_blocks(self._proxy.read())

    def _answers(self, token: str = "") -> int | None:
        """The status that a user gets, or one who bears the *token* of a block; ``None`` for no answer."""
        try:
            headers = {PROBE: token} if token else {}
            return get(str(self._url), headers=headers, seconds=self._request_seconds, verified=False).status_code
        except httpx.HTTPError:
            return None

    def _is_blocked(self, token: str) -> bool:
        return self._answers(token) == HTTPStatus.TOO_MANY_REQUESTS

    def _is_open(self, token: str = "") -> bool:
        return self._answers(token) not in (None, HTTPStatus.TOO_MANY_REQUESTS)


class BlockClient(_Block):
    """The clients of a flood get 429 from the proxy, for some minutes; everybody else is served."""

    slug = "block-client"
    causes = ("http.traffic-flood",)
    action = "let NGINX answer these clients 429 with Retry-After; tested, reloaded, confirmed, and over by itself"
    cost = "whoever shares these addresses (an office, a mobile network) is shut out too; WebSockets that are open stay open"
    undo = "unblock-clients, or wait: NGINX itself ends the block"
    nothing = "no client floods the platform, and none was named"

    def __init__(
        self,
        *,
        clients: Sequence[str],
        minutes: float,
        never: Sequence[Network],
        read_log: Callable[[float], Reading[AccessLog]],
        limits: Limits,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if not 0 < minutes <= MOST_MINUTES:
            raise ParameterError(
                f"minutes: {minutes:g} is not between 0 and {MOST_MINUTES}; a block is no firewall rule"
            )
        self._clients = tuple(parse_network("clients", client) for client in clients)
        self._minutes = minutes
        self._never = tuple(never)
        self._read_log = read_log
        self._limits = limits

    @classmethod
    def build(
        cls,
        context: Context,
        *,
        clients: Sequence[str] = (),
        minutes: float = 30.0,
        recent_minutes: float = 5.0,
        flood_share: float = 0.5,
    ) -> Self:
        """*clients* are addresses or networks; none means whoever floods: three at most that sent *flood_share* of the requests."""

        def read_log(recent: float) -> Reading[AccessLog]:
            return context.access.get_requests(since=timedelta(minutes=recent), recent_minutes=recent)

        return cls(
            clients=clients,
            minutes=minutes,
            never=context.settings.proxy.never_block,
            read_log=read_log,
            limits=Limits(recent_minutes=recent_minutes, flood_share=flood_share),
            **cls._wired(context),
        )

    def find_targets(self) -> Sequence[Target]:
        """Each client with what it sent lately, in the order of the addresses."""
        self._require_front_door()
        _ = self._proxy.folder
        access = self._read_log(self._limits.recent_minutes)
        clients = self._clients or self._flooding(access)
        public = [client for client in clients if not self._never_of(client)]
        # Named by a person, each is meant; of those found in a log the ones that may be blocked are.
        if not public or (self._clients and len(public) < len(clients)):
            client = next(client for client in clients if client not in public)
            raise MitigationRefusedError(
                f"{short(client)} is in {self._never_of(client)} of proxy.never_block: behind a load balancer this would be "
                "everybody; let NGINX see the real address (set_real_ip_from), or change that setting"
            )
        return [
            Target((str(client),), f"{short(client)}, {self._sent(access, client)}")
            for client in sorted(public, key=str)
        ]

    def action_of(self, _targets: Sequence[Target]) -> str:
        """How long is part of the plan, and so of its hash."""
        return f"{self.action}; for {self._minutes:g} minutes"

    def apply(self, target: Target) -> str:
        (client,) = target.identity
        present = self._proxy.read()
        earlier = self._blocks().get(client)
        until = datetime.now(UTC) + timedelta(minutes=self._minutes)
        head = header_of(PURPOSE, self.operator, until=until, about=client)
        token = secrets.token_hex(8)
        files: dict[str, str | None] = dict.fromkeys(find_expired(present))
        files |= snippets_of(client, head, token, until)
        self._proxy.change(files, lambda: self._is_blocked(token) and self._is_open())
        was = f"; it was blocked until {earlier[0].until} by {earlier[0].by} already" if earlier else ""
        return f"{short(client)} is blocked until {head.until}{was}"

    def verify(self, plan: Plan) -> str:
        """The proxy's own log: since it settled, nothing that these clients sent was let through, and others were."""
        clients = [identity for (identity,) in (target.identity for target in plan.targets)]
        # More than one look: old workers answer for a moment after the last of several reloads.
        if not wait_until(lambda: not self._absent(clients) and self._is_open(), seconds=_REACH_SECONDS):
            absent = self._absent(clients)
            raise VerificationError(
                f"{', '.join(map(short, absent)) or 'everybody'}: NGINX does not answer as planned; run unblock-clients, look at its log"
            )
        counts: list[tuple[int, int]] = []

        def settled() -> bool:
            access = self._read_log(_SETTLED_SECONDS / 60)
            rows = _rows_of(access, clients)
            counts[:] = [(int(rows["requests"].sum()), int(rows["limited"].sum()))]
            return access.available and counts[0][0] == counts[0][1]

        if not wait_until(settled, seconds=_SETTLE_SECONDS):
            sent, limited = counts[0]
            raise VerificationError(
                f"{sent - limited} of the {sent} requests of these clients were let through in the last {_SETTLED_SECONDS:g} s, "
                "or the log is silent; look at the access log"
            )
        sent, _ = counts[0]
        seen = f"all {sent} requests of theirs answered 429" if sent else "they have sent nothing"
        return f"verified: {seen} in the last {_SETTLED_SECONDS:g} s, and the front door is open to others"

    def _absent(self, clients: Sequence[str]) -> list[str]:
        """Those that are not turned away."""
        blocks = self._blocks()
        return [client for client in clients if client not in blocks or not self._is_blocked(blocks[client][1])]

    def _flooding(self, access: Reading[AccessLog]) -> tuple[Network, ...]:
        flood = find_flood(access, self._limits)
        if flood is None:
            why = "" if access.available else f" ({access.error})"
            raise MitigationRefusedError(f"no few clients send most of the requests now{why}; name them in clients")
        return tuple(parse_network("client in the access log", client) for client in flood.clients)

    def _never_of(self, client: Network) -> Network | None:
        """The network of ``proxy.never_block`` that has part of this client."""
        return next((one for one in self._never if one.version == client.version and one.overlaps(client)), None)

    def _sent(self, access: Reading[AccessLog], client: Network) -> str:
        if not access.available:
            return "what it sent is unknown"
        rows = _rows_of(access, [str(client)])
        total = int(access.require().clients["requests"].sum())
        sent = int(rows["requests"].sum())
        return f"{sent} of {total} requests in {self._limits.recent_minutes:g} minutes"


class UnblockClients(_Block):
    """Blocks that this tool has set are taken away."""

    slug = "unblock-clients"
    causes = ()
    action = "take the blocks of these clients out of NGINX's configuration; tested, reloaded, confirmed"
    cost = "they are served again, and may flood again"
    undo = "block-client, with these addresses as clients"
    nothing = "no client is blocked"

    def __init__(self, *, clients: Sequence[str], **common: Any) -> None:
        super().__init__(**common)
        self._clients = tuple(str(parse_network("clients", client)) for client in clients)

    @classmethod
    def build(cls, context: Context, *, clients: Sequence[str] = ()) -> Self:
        """*clients* are addresses or networks that were blocked; none means all of them."""
        return cls(clients=clients, **cls._wired(context))

    def find_targets(self) -> Sequence[Target]:
        """Every block, with by whom, since when and until when."""
        self._require_front_door()
        blocks = self._blocks()
        if missing := [client for client in self._clients if client not in blocks]:
            raise MitigationRefusedError(
                f"{', '.join(map(short, missing))} is not blocked; blocked are: {', '.join(map(short, blocks)) or 'none'}"
            )
        return [
            Target((client, token), f"{short(client)}, blocked by {head.by} since {head.since} until {head.until}")
            for client, (head, token) in sorted(blocks.items())
            if not self._clients or client in self._clients
        ]

    def apply(self, target: Target) -> str:
        client, token = target.identity
        self._proxy.change(dict.fromkeys(file_names(client)), lambda: self._is_open(token))
        return f"{short(client)} is served again"

    def verify(self, plan: Plan) -> str:
        tokens = {target.identity[0]: target.identity[1] for target in plan.targets}
        if not wait_until(lambda: all(map(self._is_open, tokens.values())), seconds=_REACH_SECONDS):
            still = [client for client, token in tokens.items() if not self._is_open(token)]
            raise VerificationError(f"NGINX still turns {', '.join(map(short, still))} away; look at its configuration")
        return "verified: none of them is turned away"


def _rows_of(access: Reading[AccessLog], networks: Sequence[str]) -> pd.DataFrame:
    """The clients of the log that are in one of *networks*; none where the log was not read."""
    if not access.available:
        return pd.DataFrame({"requests": [], "limited": []})
    inside = [ipaddress.ip_network(network) for network in networks]

    def fits(client: str) -> bool:
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            return False
        return any(address in network for network in inside)

    clients = access.require().clients
    return clients[clients["client"].map(fits).astype(bool)]
