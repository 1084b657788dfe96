"""Which replicas NGINX sends users to: a list of its own while one is out, the configured ones otherwise.

By a list of NGINX's own making, never by editing the platform's configuration. A probe location with a token of the
list tells which list is in use, so that a reload counts only when the new workers answer.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Self

import httpx

from flowrex_ops.errors import MitigationRefusedError, SourceUnavailableError
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Replica
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.proxy.nginx_config import split_dump
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.snippets import SnippetHeader, header_of, parse_header
from flowrex_ops.web import get

LIST, SWITCH = "http-rotation.conf", "server-rotation.conf"
UPSTREAM = "flowrex_rotation"
PROBE = "/.flowrex-ops/rotation"
PASSING, STANDING = "rotation", "replicas"
"""Purposes: a list for the time of a procedure, and one that stays because the configuration has other replicas."""

_OUT = "out: "
_NO_ANSWER = "0" * 16
_TOKEN = re.compile(r"[0-9a-f]{16}")
_UPSTREAM = re.compile(r"upstream\s+\S+\s*\{([^}]*)\}")
_SERVER = re.compile(r"^\s*server\s+([^\s;]+)", re.MULTILINE)


class Rotation:
    """NGINX's list of replicas. ``missing`` says why it cannot be changed; empty where it can."""

    def __init__(self, proxy: ProxyControl, fleet: ReplicaSet, *, url: str, limit_seconds: float, by: str) -> None:
        self._proxy = proxy
        self._fleet = fleet
        self._url = url
        self._limit_seconds = limit_seconds
        self._by = by

    @classmethod
    def of(cls, context: Context, fleet: ReplicaSet, by: str) -> Self:
        """The rotation of *fleet*, the backend's; *by* is the mitigation, for the head of what it writes."""
        return cls(
            ProxyControl.of(context),
            fleet,
            url=context.endpoints.front_door_url or "",
            limit_seconds=context.settings.limits.reading_seconds,
            by=by,
        )

    @property
    def missing(self) -> str:
        """Why no replica can be taken out."""
        if not self._proxy.has_folder():
            return "NGINX has no control folder (proxy.control)"
        return "" if self._url else "the front door is not known (front_door.url)"

    def leftover(self) -> SnippetHeader | None:
        """The head of a list that a run has left which did not come to its end; whoever holds the lock knows it for one."""
        head = parse_header(self._proxy.read().get(LIST, "")) if not self.missing else None
        return head if head and head.purpose == PASSING else None

    def left_out(self) -> Sequence[str]:
        """Replicas that such a run of the same mitigation has left out; that of another is for another to end."""
        head = self.leftover()
        return head.about.removeprefix(_OUT).split(", ") if head and head.by == self._by else []

    def take_out(self, names: Sequence[str]) -> None:
        """Send users to the ready replicas but these; returns once NGINX does. Refused where none would be left.

        Where no other is ready, to all that run: a database in trouble makes every replica unready, and they still answer.
        """
        others = [one for one in self._fleet.replicas() if one.running and one.name not in names]
        if not others:
            raise MitigationRefusedError(f"without {', '.join(names)} no replica would be left in the proxy's rotation")
        ready = [one for one in others if self._fleet.is_ready(one)]
        self._write(ready or others, PASSING, f"{_OUT}{', '.join(names)}")

    def restore(self) -> None:
        """Every replica back in: by the configuration alone where it has them all, else by a list that stays."""
        if not self.missing:
            replicas = self._fleet.replicas()
            if self._configured(replicas):
                self._clear()
            else:
                self._write(replicas, STANDING, f"in: {', '.join(one.name for one in replicas)}")

    def _configured(self, replicas: Sequence[Replica]) -> bool:
        """Whether NGINX's own configuration has these replicas and no other; under Compose names are resolved."""
        if self._fleet.resolved_by_name:
            return True
        wanted = {self._fleet.address_inside(replica) for replica in replicas}
        try:
            files = split_dump(self._proxy.dump())
        except SourceUnavailableError:
            return False  # too long to be read whole; a list of all replicas does no harm
        texts = [text for name, text in files.items() if not name.endswith(f"/{LIST}")]
        lists = [set(_SERVER.findall(block)) for text in texts for block in _UPSTREAM.findall(text)]
        own = [found for found in lists if found & wanted]
        return not own or all(found == wanted for found in own)

    def _write(self, replicas: Sequence[Replica], purpose: str, about: str) -> None:
        head = header_of(purpose, self._by, about=about)
        servers = "".join(f"    server {self._fleet.address_inside(one)} max_fails=0;\n" for one in replicas)
        token = secrets.token_hex(8)
        probe = f"location = {PROBE} {{ access_log off; return 200 {token}; }}\n"
        files = {
            LIST: f"{head}upstream {UPSTREAM} {{\n{servers}}}\n",
            SWITCH: f"{head}# {token}\nset $backend http://{UPSTREAM};\n{probe}",
        }
        self._proxy.change(files, lambda: self._probe() == token)

    def _clear(self) -> None:
        if {LIST, SWITCH} & self._proxy.read().keys():
            self._proxy.change({LIST: None, SWITCH: None}, lambda: not _TOKEN.fullmatch(self._probe() or _NO_ANSWER))

    def _probe(self) -> str:
        """What the proxy answers at the probe's place: the token of the list in use; empty for no answer."""
        try:
            return get(f"{self._url}{PROBE}", seconds=self._limit_seconds, verified=False).text or "-"
        except httpx.HTTPError:
            return ""
