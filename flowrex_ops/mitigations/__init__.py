"""The only code that changes the platform, always through ``guard.py``; one class per mitigation, found by its slug."""

from __future__ import annotations

from flowrex_ops.errors import ParameterError, UsageError
from flowrex_ops.mitigations.guard import Mitigation

KNOWN = {
    "cancel-long-queries": "flowrex_ops.mitigations.database:CancelLongQueries",
    "terminate-idle-in-transaction": "flowrex_ops.mitigations.database:TerminateIdleInTransaction",
    "terminate-root-blocker": "flowrex_ops.mitigations.database:TerminateRootBlocker",
    "rollback-backend": "flowrex_ops.mitigations.rollback:RollbackBackend",
    "rollback-bad-deploy": "flowrex_ops.mitigations.rollback:RollbackBadDeploy",
    "restore-database": "flowrex_ops.mitigations.restore:RestoreDatabase",
    "swap-back-database": "flowrex_ops.mitigations.swap_back:SwapBackDatabase",
    "scale-backend": "flowrex_ops.mitigations.scale:ScaleBackend",
    "restart-backend": "flowrex_ops.mitigations.backend:RestartBackend",
    "block-client": "flowrex_ops.mitigations.block:BlockClient",
    "unblock-clients": "flowrex_ops.mitigations.block:UnblockClients",
    "reload-websocket-proxy": "flowrex_ops.mitigations.websocket_proxy:ReloadWebSocketProxy",
    "unlink-keys": "flowrex_ops.mitigations.redis_keys:UnlinkKeys",
    "flush-redis": "flowrex_ops.mitigations.redis_flush:FlushRedis",
    "maintenance-on": "flowrex_ops.mitigations.maintenance:MaintenanceOn",
    "maintenance-off": "flowrex_ops.mitigations.maintenance:MaintenanceOff",
    "renew-certificate": "flowrex_ops.mitigations.certificates:RenewCertificate",
    "reload-nginx": "flowrex_ops.mitigations.certificates:ReloadNginx",
    "rolling-restart": "flowrex_ops.mitigations.backend:RollingRestart",
}
"""Slug to class; imported only when used, so that a runbook without mitigations loads none."""


def find(slug: str) -> type[Mitigation]:
    """The mitigation named *slug*; UsageError that names the known ones otherwise."""
    from importlib import import_module

    if slug not in KNOWN:
        raise UsageError(f"'{slug}' is not a mitigation; there are: {', '.join(sorted(KNOWN))}")
    module, _, name = KNOWN[slug].partition(":")
    found: type[Mitigation] = getattr(import_module(module), name)
    return found


def split_approval(approval: str) -> tuple[str, str | None]:
    """``slug`` or ``slug@hash`` into its parts; ParameterError when the slug is not known."""
    slug, _, plan_hash = approval.partition("@")
    if slug not in KNOWN:
        raise ParameterError(f"approve: '{slug}' is not a mitigation; there are: {', '.join(sorted(KNOWN))}")
    return slug, plan_hash or None
