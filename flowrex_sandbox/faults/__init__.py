"""The faults, by doing the real thing, and the one way back to health."""

from __future__ import annotations

from collections.abc import Callable

from flowrex_ops.errors import SandboxError
from flowrex_sandbox.faults.application import (
    Burst,
    HungTransactions,
    LeakedConnections,
    OpenTransactions,
    PastErrors,
    SlowReports,
)
from flowrex_sandbox.faults.base import Fault
from flowrex_sandbox.faults.certificates import (
    ExpiredCertificate,
    ExpiringCertificate,
    FutureCertificate,
    MissingIntermediate,
    RenewedNotReloaded,
    SelfSignedCertificate,
    SoundCertificate,
    UnknownAuthority,
    WrongNameCertificate,
)
from flowrex_sandbox.faults.database import BackupRunning, LockChain, NoSlotsLeft, OrphanedPreparedTransaction
from flowrex_sandbox.faults.errors import (
    BackendHanging,
    BackendStopped,
    Flood,
    MistakenClient,
    NewException,
    RedisStopped,
)
from flowrex_sandbox.faults.keyspace import (
    RedisEvicts,
    RedisFragmented,
    RedisGrows,
    RedisLargeKey,
    RedisRejects,
)
from flowrex_sandbox.faults.memory import MemoryLeak, Neighbour
from flowrex_sandbox.faults.observe import is_quiet
from flowrex_sandbox.faults.outage import PostgresHanging, PostgresStopped
from flowrex_sandbox.faults.outside import BrokerFault, BrokerStopped
from flowrex_sandbox.faults.platform import Announced, DiskFilled, ReplicaCrashing
from flowrex_sandbox.faults.proxy import NginxHanging, NginxStopped, empty_control, reload_nginx
from flowrex_sandbox.faults.proxy_configuration import (
    CorrectedNotReloaded,
    FewWorkerConnections,
    ShortReadTimeout,
    ShortTimeoutElsewhere,
    UpgradesNotPassed,
)
from flowrex_sandbox.faults.release import Release, restore
from flowrex_sandbox.faults.streams import (
    FailingHandler,
    LeakingHandler,
    LowConnectionLimit,
    PastRollingRestart,
    ReplicasKilled,
    TabsClosed,
)
from flowrex_sandbox.faults.trading import OrdersAboveRiskLimit, TradesNotWritable, TradesVetoed
from flowrex_sandbox.health import await_backends, unready_replicas
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

__all__ = [
    "ALL_FAULTS",
    "BackupRunning",
    "Burst",
    "ExpiredCertificate",
    "ExpiringCertificate",
    "Fault",
    "FutureCertificate",
    "HungTransactions",
    "LeakedConnections",
    "LockChain",
    "MissingIntermediate",
    "NginxHanging",
    "NginxStopped",
    "NoSlotsLeft",
    "OpenTransactions",
    "OrphanedPreparedTransaction",
    "PastErrors",
    "PostgresHanging",
    "PostgresStopped",
    "RenewedNotReloaded",
    "SelfSignedCertificate",
    "SlowReports",
    "SoundCertificate",
    "UnknownAuthority",
    "WrongNameCertificate",
    "heal",
]

ALL_FAULTS: tuple[Fault, ...] = (
    # In the order in which they are healed: replicas that are halted answer nobody who wants to heal them, and
    # PostgreSQL must answer before anything else can be asked of it.
    BackendHanging(),
    BackendStopped(),
    Flood(),
    MistakenClient(),
    PostgresHanging(),
    PostgresStopped(),
    NoSlotsLeft(),
    LockChain(),
    OrphanedPreparedTransaction(),
    BackupRunning(),
    Burst(),
    OpenTransactions(),
    LeakedConnections(),
    SlowReports(),
    NginxHanging(),
    NginxStopped(),
    ExpiredCertificate(),
    ExpiringCertificate(),
    FutureCertificate(),
    WrongNameCertificate(),
    MissingIntermediate(),
    SelfSignedCertificate(),
    UnknownAuthority(),
    RenewedNotReloaded(),
    SoundCertificate(),
    BrokerStopped(),
    BrokerFault(),
    OrdersAboveRiskLimit(),
    TradesNotWritable(),
    TradesVetoed(),
    CorrectedNotReloaded(),
    UpgradesNotPassed(),
    ShortReadTimeout(),
    FewWorkerConnections(),
    ShortTimeoutElsewhere(),
    FailingHandler(),
    LeakingHandler(),
    LowConnectionLimit(),
    ReplicasKilled(),
    PastRollingRestart(),
    TabsClosed(),
    Announced(),
    DiskFilled(),
    ReplicaCrashing(),
    RedisStopped(),
    NewException(),
    Release(),
    Neighbour(),
    MemoryLeak(),  # heals every hoard
    RedisGrows(),
    RedisEvicts(),
    RedisRejects(),
    RedisFragmented(),
    RedisLargeKey(),
)

_BY_ITSELF_SECONDS = 6.0
_AFTER_RESTART_SECONDS = 40.0


def heal(sandbox: Sandbox, on_progress: Callable[[str], None]) -> None:
    """Take every fault away, whichever there are, and return once the platform is healthy and quiet.

    A replica that does not recover by itself is restarted.
    """
    stale = empty_control(sandbox)
    for fault in ALL_FAULTS:
        on_progress(f"healing {fault.name}")
        fault.stop(sandbox)
    if stale:
        reload_nginx(sandbox)
    restore(sandbox)
    on_progress("waiting for the platform to recover")
    _start_missing(sandbox)
    try:
        await_backends(sandbox, timeout_seconds=_BY_ITSELF_SECONDS)
    except SandboxError:
        _restart_unready(sandbox, on_progress)
        await_backends(sandbox, timeout_seconds=_AFTER_RESTART_SECONDS)
    await_condition(
        lambda: is_quiet(sandbox),
        "the platform became quiet",
        timeout_seconds=_AFTER_RESTART_SECONDS,
        details=lambda: "see pg_stat_activity for what is left; 'flowrex-ops sandbox down' and 'up' give a new one",
    )


def _start_missing(sandbox: Sandbox) -> None:
    stack = sandbox.stack()
    for replica in stack.get_replicas("backend"):
        if replica.state == "exited":
            stack.start(replica, timeout_seconds=20)


def _restart_unready(sandbox: Sandbox, on_progress: Callable[[str], None]) -> None:
    unready = set(unready_replicas(sandbox))
    stack = sandbox.stack()
    for replica in stack.get_replicas("backend"):
        if replica.name in unready:
            on_progress(f"restarting {replica.name}, which does not recover")
            stack.restart(replica, timeout_seconds=20)
