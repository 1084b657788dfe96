"""A certificate that is renewed, and one that is renewed already and only has to be served; both shown by what is served afterwards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from flowrex_ops.errors import (
    FlowrexOpsError,
    MitigationRefusedError,
    ParameterError,
    SourceUnavailableError,
    VerificationError,
)
from flowrex_ops.guard import Mitigation
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Target
from flowrex_ops.proxy.control import ProxyControl
from flowrex_ops.tls import views as c
from flowrex_ops.tls.certbot import Certbot
from flowrex_ops.tls.certificates import Certificate
from flowrex_ops.tls.source import TRUSTED, TlsSource
from flowrex_ops.tls.views import Served
from flowrex_ops.waiting import wait_until

_CONFIRM_SECONDS = 5.0


class _Served(Mitigation):
    """What both share: the endpoints that are in trouble as they were before, and that a reading afterwards decides."""

    resource = "nginx"

    def __init__(self, proxy: ProxyControl, tls: TlsSource) -> None:
        self._proxy = proxy
        self._tls = tls
        self._before: Mapping[str, Served] = {}

    @classmethod
    def _wired(cls, context: Context) -> dict[str, Any]:
        return {"proxy": ProxyControl.of(context), "tls": context.tls}

    @abstractmethod
    def wrong(self, before: Served, now: Served) -> str:
        """What is wrong with what an endpoint serves *now*; empty where it is as it should be."""

    # What is served decides, not what certbot says: it ends with 0 also where nothing was due.
    def verify(self, plan: Plan) -> str:  # noqa: ARG002  # all that was planned
        if not wait_until(lambda: not self._all_wrong(), seconds=_CONFIRM_SECONDS):
            raise VerificationError("; ".join(self._all_wrong()) or "it served the old certificate until just now")
        reported = [
            f"{one.name} until {c.day(_leaf(one).not_after)} UTC (serial {_leaf(one).serial[:16]})"
            for one in self._now()
        ]
        return f"verified as served: {'; '.join(reported)}"

    def clean_up(self) -> str:
        """Nothing is to be put back: NGINX goes on serving what it has read."""
        try:
            return "; ".join(map(_left, self._now()))
        except SourceUnavailableError as error:
            return f"what is served now could not be read: {error}"

    def _remember(self, is_ill: Callable[[Served, datetime], bool]) -> list[Served]:
        """The endpoints that are unhealthy now; they are compared with what is served later."""
        reading = self._tls.get_certificates()
        found = [one for one in c.each_endpoint(reading.require()) if one.chain and is_ill(one, reading.taken_at)]
        self._before = {one.endpoint: one for one in found}
        return found

    def _now(self) -> list[Served]:
        """The same endpoints as they are now."""
        endpoints = c.each_endpoint(self._tls.get_certificates().require())
        return [one for one in endpoints if one.endpoint in self._before]

    def _all_wrong(self) -> list[str]:
        now = {one.endpoint: one for one in self._now()}
        found = [_wrong(before, now.get(name), self.wrong) for name, before in self._before.items()]
        return [text for text in found if text]

    def _reload(self, endpoints: Sequence[str], serves: Callable[[Served], bool]) -> None:
        """Test, reload, and wait until all *endpoints* serve the other one, several times in a row."""

        def all_serve() -> bool:
            now = [one for one in self._now() if one.endpoint in endpoints]
            return len(now) == len(endpoints) and all(one.chain and serves(one) for one in now)

        self._proxy.reload(all_serve)


# Never forced: a certificate that is not near its end is unhealthy for another reason (its name, its chain, a clock), which
# another one from the same request would share, and five of them are all that Let's Encrypt gives in a week. NGINX is
# tested before certbot runs, and again before the reload.
class RenewCertificate(_Served):
    """certbot renews what has expired or soon will (http-01), then NGINX serves it."""

    slug = "renew-certificate"
    causes = ("tls.expired", "tls.expiring")
    action = "let certbot renew the certificate with the names that it has; then NGINX: tested, reloaded, read again"
    cost = (
        "nobody is cut off: NGINX's old workers finish what they have. Each renewal counts for the ACME server's limits"
        " (Let's Encrypt: five a week for the same names)"
    )
    undo = "cannot be undone, and need not be: the old certificate stays in certbot's archive"
    nothing = "no certificate is near its end"

    def __init__(self, proxy: ProxyControl, tls: TlsSource, certbot: Certbot, *, warn_days: float) -> None:
        super().__init__(proxy, tls)
        self._certbot = certbot
        self._limit = timedelta(days=warn_days)

    @classmethod
    def build(cls, context: Context, *, warn_days: float = 0.0) -> Self:
        """*warn_days* as the check has it; 0 means ``tls.warn_days``."""
        if warn_days < 0:
            raise ParameterError(f"warn_days: {warn_days:g} is negative; write days, or 0 for tls.warn_days")
        settings = context.settings
        certbot = Certbot(context.endpoints.stack, settings.certbot)
        return cls(certbot=certbot, warn_days=warn_days or settings.tls.warn_days, **cls._wired(context))

    def find_targets(self) -> Sequence[Target]:
        """One a certificate of certbot's, with the endpoints that serve it."""
        lineages: dict[str, list[Served]] = {}
        for one in self._remember(self._is_due):
            lineages.setdefault(_lineage(one), []).append(one)
        if lineages:
            self._proxy.replica()
            self._certbot.require()
        return [_target(name, served) for name, served in sorted(lineages.items())]

    def action_of(self, _targets: Sequence[Target]) -> str:
        """Which ACME server it asks is part of the plan."""
        server = self._certbot.settings.server
        return f"{self.action}; ACME server: {server or 'as certbot remembers it'}"

    def apply(self, target: Target) -> str:
        name, *endpoints = target.identity
        old = {key.rpartition(" ")[0]: key.rpartition(" ")[2] for key in endpoints}
        self._proxy.require_sound()
        self.log_step(f"certbot renews '{name}'")
        self._certbot.renew(name)
        self.log_step(f"NGINX serves the renewed '{name}'")
        try:
            self._reload(list(old), lambda one: _leaf(one).fingerprint != old[one.endpoint])
        except FlowrexOpsError as error:
            raise VerificationError(f"'{name}' was renewed, but NGINX does not serve it: {error}") from None
        return f"certbot renewed '{name}', NGINX was reloaded"

    def wrong(self, before: Served, now: Served) -> str:
        old, new = _leaf(before), _leaf(now)
        if new.serial == old.serial or new.not_after <= old.not_after:
            return f"{now.name} still serves the certificate until {c.day(new.not_after)} UTC"
        if now.server_name and not c.matches(now.server_name, new.names):
            return f"{now.name} serves a new certificate that is for {', '.join(new.names)}"
        if now.verify_code != TRUSTED:
            return f"{now.name} serves a new certificate, of which clients say: {now.verify_text}"
        return ""

    def _is_due(self, one: Served, now: datetime) -> bool:
        """Whether it ends too soon; not where the renewed one waits on disk, for then a reload is all that it takes."""
        renewed = c.pending(one, now)
        if renewed is not None and renewed.not_after - now >= self._limit:
            return False
        return any(link.not_after - now < self._limit for link in c.path_of(one.chain) if link.not_before <= now)


class ReloadNginx(_Served):
    """NGINX reads its certificates again."""

    slug = "reload-nginx"
    causes = ("tls.not-reloaded",)
    action = "let NGINX test its configuration and reload it, so that it serves the certificates that lie on disk"
    cost = "nobody is cut off: the old workers finish what they have, open WebSockets stay with them"
    undo = "cannot be undone: a reload also puts into effect whatever else was changed in NGINX's configuration since the last one"
    nothing = "NGINX serves what lies on disk"

    @classmethod
    def build(cls, context: Context) -> Self:
        return cls(**cls._wired(context))

    def find_targets(self) -> Sequence[Target]:
        """The proxy, with the endpoints whose renewed certificate waits on disk."""
        waiting = self._remember(lambda one, now: c.pending(one, now) is not None)
        if not waiting:
            return []
        replica = self._proxy.replica()
        keys = [f"{one.endpoint} {_leaf(one).fingerprint} {one.disk[0].fingerprint}" for one in waiting]
        reported = [
            f"{one.name} serves one until {c.day(_leaf(one).not_after)} UTC, until {c.day(one.disk[0].not_after)} UTC lies on disk"
            for one in waiting
        ]
        return [Target((replica.name, replica.identity, *keys), f"{replica.name}: {'; '.join(reported)}")]

    def apply(self, target: Target) -> str:
        self._proxy.require_sound()
        wanted = {key.rsplit(" ", 2)[0]: key.rsplit(" ", 2)[2] for key in target.identity[2:]}
        self._reload(list(wanted), lambda one: _leaf(one).fingerprint == wanted[one.endpoint])
        return f"{target.identity[0]} was reloaded"

    def wrong(self, before: Served, now: Served) -> str:
        if _leaf(now).fingerprint == before.disk[0].fingerprint:
            return ""
        return f"{now.name} still serves the certificate until {c.day(_leaf(now).not_after)} UTC"


def _leaf(one: Served) -> Certificate:
    """The server's own certificate, where it served one."""
    return one.chain[0]


def _wrong(before: Served, now: Served | None, judge: Callable[[Served, Served], str]) -> str:
    if now is None or not now.chain:
        return f"{before.name} gives no certificate any more: {now.error if now else 'it was not asked'}"
    return judge(before, now)


def _left(one: Served) -> str:
    """What an endpoint is left with."""
    if not one.chain:
        return f"{one.error}"
    waiting = one.disk and one.disk[0].fingerprint != _leaf(one).fingerprint
    on_disk = f"; one until {c.day(one.disk[0].not_after)} UTC lies on disk, for reload-nginx" if waiting else ""
    return f"{one.name} serves the certificate until {c.day(_leaf(one).not_after)} UTC{on_disk}"


def _lineage(one: Served) -> str:
    """What certbot calls it: the folder of the file that NGINX serves, else the name that clients use."""
    if one.disk_path:
        return Path(one.disk_path).parent.name
    if one.server_name:
        return one.server_name
    raise MitigationRefusedError(
        f"which of certbot's certificates {one.endpoint} serves is not known; name it in tls.endpoints, with its certificate"
    )


def _target(name: str, served: Sequence[Served]) -> Target:
    keys = [f"{one.endpoint} {_leaf(one).fingerprint}" for one in served]
    reported = [f"{one.endpoint} serves it until {c.day(_leaf(one).not_after)} UTC" for one in served]
    return Target((name, *keys), f"certificate '{name}': {'; '.join(reported)}")
