"""A sandbox that needs a certificate renewed, or NGINX reloaded, and how what is planned changes before it is done."""

from __future__ import annotations

from flowrex_ops.sandbox import Sandbox
from flowrex_ops.sandbox import faults as f
from flowrex_ops.sandbox.faults.certificates import SITE
from flowrex_ops.sandbox.faults.proxy import reload_nginx


def let_expire(sandbox: Sandbox) -> None:
    """``tls.expired``: an ACME server runs, and ``renew-certificate`` has one target."""
    f.ExpiredCertificate(renewable=True).inject(sandbox, {})


def replace_expired(sandbox: Sandbox) -> None:
    """Another expired certificate is served than the one that was planned for."""
    sandbox.authority.issue(SITE, days_left=-3)
    reload_nginx(sandbox)


def leave_unreloaded(sandbox: Sandbox) -> None:
    """``tls.not-reloaded``: ``reload-nginx`` has one target."""
    f.RenewedNotReloaded().inject(sandbox, {})


def renew_again(sandbox: Sandbox) -> None:
    """Another certificate waits on disk than the one that was planned for."""
    sandbox.authority.issue(SITE)
