"""The only code that changes the platform, always through ``guard.py``; one class per mitigation, found by its slug."""

from __future__ import annotations

from flowrex_ops.errors import ParameterError, UsageError, nearest
from flowrex_ops.guard import Mitigation

KNOWN = {
    "cancel-long-queries": "flowrex_ops.postgres.end_sessions:CancelLongQueries",
    "terminate-idle-in-transaction": "flowrex_ops.postgres.end_sessions:TerminateIdleInTransaction",
    "terminate-root-blocker": "flowrex_ops.postgres.end_sessions:TerminateRootBlocker",
    "rollback-backend": "flowrex_ops.services.rollback:RollbackBackend",
    "rollback-bad-deploy": "flowrex_ops.services.rollback:RollbackBadDeploy",
    "restore-database": "flowrex_ops.postgres.backups.restore:RestoreDatabase",
    "swap-back-database": "flowrex_ops.postgres.backups.swap_back:SwapBackDatabase",
    "scale-backend": "flowrex_ops.services.scale:ScaleBackend",
    "restart-backend": "flowrex_ops.postgres.restart_leaking:RestartBackend",
    "block-client": "flowrex_ops.http.block:BlockClient",
    "unblock-clients": "flowrex_ops.http.block:UnblockClients",
    "reload-websocket-proxy": "flowrex_ops.websocket.reload_proxy:ReloadWebSocketProxy",
    "unlink-keys": "flowrex_ops.memory.redis_keys:UnlinkKeys",
    "flush-redis": "flowrex_ops.memory.redis_flush:FlushRedis",
    "maintenance-on": "flowrex_ops.proxy.maintenance:MaintenanceOn",
    "maintenance-off": "flowrex_ops.proxy.maintenance:MaintenanceOff",
    "renew-certificate": "flowrex_ops.tls.renew:RenewCertificate",
    "reload-nginx": "flowrex_ops.tls.renew:ReloadNginx",
    "rolling-restart": "flowrex_ops.services.restart:RollingRestart",
}
"""Slug to class; imported only when used, so that a runbook without mitigations loads none."""


def find(slug: str) -> type[Mitigation]:
    """The mitigation named *slug*; UsageError that names the known ones otherwise."""
    from importlib import import_module

    if slug not in KNOWN:
        raise UsageError(f"'{slug}' is not a mitigation; {nearest(slug, sorted(KNOWN))}")
    module, _, name = KNOWN[slug].partition(":")
    found: type[Mitigation] = getattr(import_module(module), name)
    return found


def split_approval(approval: str) -> tuple[str, str | None]:
    """``slug`` or ``slug@hash`` into its parts; ParameterError when the slug is not known."""
    slug, _, plan_hash = approval.partition("@")
    if slug not in KNOWN:
        raise ParameterError(f"approve: '{slug}' is not a mitigation; {nearest(slug, sorted(KNOWN))}")
    return slug, plan_hash or None
