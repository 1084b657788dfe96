"""The drills: faults with the causes that the runbook must confirm and must rule out, as data."""

from __future__ import annotations

from collections.abc import Callable

from flowrex_ops.errors import UsageError
from flowrex_sandbox import faults as f
from flowrex_sandbox.certificates import LIFE_DAYS
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.drills_errors import ERRORS
from flowrex_sandbox.drills_memory import MEMORY
from flowrex_sandbox.drills_trades import TRADES
from flowrex_sandbox.drills_triage import TRIAGE
from flowrex_sandbox.drills_websockets import WEBSOCKETS
from flowrex_sandbox.faults.certificates import OTHER_SITE
from flowrex_sandbox.faults.errors import await_calm
from flowrex_sandbox.faults.memory import has_stood_still
from flowrex_sandbox.faults.observe import is_quiet
from flowrex_sandbox.faults.outside import seconds_since_trouble
from flowrex_sandbox.faults.streams import await_streams
from flowrex_sandbox.monitoring.alerts import await_silence, has_alerts
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition

_DATABASE: tuple[Drill, ...] = (
    Drill("healthy", "nothing is wrong"),
    Drill(
        "idle-in-transaction",
        "handlers open transactions and never end them",
        (f.OpenTransactions(),),
        ("db.idle-in-transaction",),
        ("terminate-idle-in-transaction",),
        alerts=("DatabasePoolExhausted",),
        cures=True,
    ),
    Drill(
        "hung-transactions",
        "handlers hang inside their transactions, and keep the pool's slots when their sessions are ended",
        (f.HungTransactions(),),
        ("db.idle-in-transaction",),
        ("terminate-idle-in-transaction", "restart-backend"),
        cures=True,
        leaves=("terminate-idle-in-transaction",),
    ),
    Drill(
        "long-running-query",
        "reports without a limit hold the pool",
        (f.SlowReports(),),
        ("db.long-running-query",),
        ("cancel-long-queries",),
        alerts=("DatabasePoolExhausted",),
        cures=True,
    ),
    Drill(
        "lock-chain",
        "a migration holds a row, and a chain of sessions waits behind it",
        (f.LockChain(),),
        ("db.lock-contention",),
        ("terminate-root-blocker",),
        alerts=("DatabasePoolErrors",),
        cures=True,
    ),
    Drill(
        "max-connections",
        "an outside client takes every connection slot",
        (f.NoSlotsLeft(),),
        ("db.max-connections",),
    ),
    Drill(
        "pool-saturated",
        "more users than the pools have connections for; nothing is stuck",
        (f.Burst(),),
        ("db.pool-saturated",),
    ),
    Drill(
        "pool-leak",
        "connections are taken and never given back, their sessions plainly idle",
        (f.LeakedConnections(),),
        ("db.pool-saturated",),
        ("restart-backend",),
        alerts=("DatabasePoolExhausted",),
        cures=True,
    ),
    Drill(
        "orphaned-prepared-transaction",
        "a prepared transaction without an owner keeps a row locked",
        (f.OrphanedPreparedTransaction(),),
        ("db.orphaned-prepared-transaction",),
    ),
    Drill("postgres-stopped", "PostgreSQL is stopped", (f.PostgresStopped(),), ("db.unreachable",)),
    Drill(
        "postgres-hanging",
        "PostgreSQL accepts connections and never answers",
        (f.PostgresHanging(),),
        ("db.unreachable",),
    ),
    Drill(
        "leak-and-slow-report",
        "two at once: leaked transactions, and reports without a limit",
        (f.OpenTransactions(per_replica=3), f.SlowReports(per_replica=2)),
        ("db.idle-in-transaction", "db.long-running-query"),
        ("terminate-idle-in-transaction", "cancel-long-queries"),
        alerts=("DatabasePoolExhausted",),
        cures=True,
    ),
    Drill(
        "prepared-and-lock",
        "two at once: an orphaned prepared transaction, and a migration that holds another row",
        (f.OrphanedPreparedTransaction(), f.LockChain()),
        ("db.orphaned-prepared-transaction", "db.lock-contention"),
        ("terminate-root-blocker",),
    ),
    Drill("backup-running", "red herring: a backup that takes its time", (f.BackupRunning(),)),
    Drill("old-error-burst", "red herring: pool errors in the log that are over", (f.PastErrors(),)),
)


def _certificates(
    scenario: str,
    title: str,
    *faults: f.Fault,
    expected: tuple[str, ...] = (),
    alerts: tuple[str, ...] = (),
    approve: tuple[str, ...] = (),
) -> Drill:
    """Whatever is approved cures it."""
    return Drill(
        scenario,
        title,
        faults,
        expected,
        approve,
        cures=bool(approve),
        runbook="certificate_expiry",
        parameters={},
        alerts=alerts,
    )


_CERTIFICATE_DRILLS = (
    _certificates("certificates-healthy", "nothing is wrong with any certificate"),
    _certificates(
        "certificate-expired",
        "the certificate ended two days ago",
        f.ExpiredCertificate(),
        expected=("tls.expired",),
        alerts=("CertificateExpired", "CertificateRefused"),
    ),
    _certificates(
        "certificate-expiring",
        "the certificate ends in nine days",
        f.ExpiringCertificate(),
        expected=("tls.expiring",),
        alerts=("CertificateExpiringSoon",),
    ),
    _certificates(
        "certificate-not-yet-valid",
        "the certificate begins in three days",
        f.FutureCertificate(),
        expected=("tls.not-yet-valid",),
    ),
    _certificates(
        "certificate-wrong-name",
        "staging's certificate is served",
        f.WrongNameCertificate(),
        expected=("tls.hostname-mismatch",),
    ),
    _certificates(
        "certificate-chain-incomplete",
        "the intermediate certificate is not served",
        f.MissingIntermediate(),
        expected=("tls.incomplete-chain",),
    ),
    _certificates(
        "certificate-self-signed",
        "the certificate is signed by itself",
        f.SelfSignedCertificate(),
        expected=("tls.untrusted",),
    ),
    _certificates(
        "certificate-unknown-authority",
        "the certificate comes from an authority that nobody trusts",
        f.UnknownAuthority(),
        expected=("tls.untrusted",),
    ),
    _certificates(
        "certificate-not-reloaded",
        "the certificate was renewed on disk, and NGINX still serves the old one",
        f.RenewedNotReloaded(),
        expected=("tls.not-reloaded",),
        alerts=("CertificateExpiringSoon",),
        approve=("reload-nginx",),
    ),
    _certificates(
        "certificate-renewal",
        "the certificate ended two days ago, and certbot can renew it",
        f.ExpiredCertificate(renewable=True),
        expected=("tls.expired",),
        alerts=("CertificateExpired",),
        approve=("renew-certificate",),
    ),
    _certificates(
        "certificates-renewal-due",
        "two at once: both sites' certificates end in nine days, and certbot can renew them",
        f.ExpiringCertificate(renewable=True),
        f.ExpiringCertificate(OTHER_SITE, renewable=True),
        expected=("tls.expiring",),
        alerts=("CertificateExpiringSoon",),
        approve=("renew-certificate",),
    ),
    _certificates(
        "certificates-renewal-and-reload",
        "two at once: one site's certificate has expired, the other's was renewed and waits for a reload",
        f.ExpiredCertificate(renewable=True),
        f.RenewedNotReloaded(OTHER_SITE),
        expected=("tls.expired", "tls.not-reloaded"),
        alerts=("CertificateExpired",),
        approve=("reload-nginx", "renew-certificate"),
    ),
    _certificates("nginx-stopped", "NGINX is stopped", f.NginxStopped(), expected=("tls.unreachable",)),
    _certificates(
        "nginx-hanging", "NGINX accepts connections and never answers", f.NginxHanging(), expected=("tls.unreachable",)
    ),
    _certificates(
        "certificates-expiring-and-wrong-name",
        "two at once: one site's certificate ends soon, the other serves staging's",
        f.ExpiringCertificate(),
        f.WrongNameCertificate(OTHER_SITE),
        expected=("tls.hostname-mismatch", "tls.expiring"),
    ),
    _certificates(
        "certificates-renewed",
        "red herring: one certificate with sixty days left, and one that was renewed just now",
        f.SoundCertificate(),
        f.SoundCertificate(OTHER_SITE, days_left=LIFE_DAYS),
    ),
)

DRILLS: tuple[Drill, ...] = (*_DATABASE, *_CERTIFICATE_DRILLS, *TRADES, *ERRORS, *WEBSOCKETS, *TRIAGE, *MEMORY)

_QUIET_SECONDS = 15.0


def get_drill(scenario: str) -> Drill:
    """The drill of that name; UsageError naming those there are."""
    for drill in DRILLS:
        if drill.scenario == scenario:
            return drill
    names = ", ".join(drill.scenario for drill in DRILLS)
    raise UsageError(f"there is no drill '{scenario}'; take one of: {names}")


def inject(sandbox: Sandbox, drill: Drill, on_progress: Callable[[str], None]) -> None:
    """Set the drill's faults off in a healthy sandbox; returns once each is in place and old enough to be noticed."""
    if sandbox.state.stack not in drill.stacks:
        raise UsageError(
            f"drill '{drill.scenario}' is not for stack '{sandbox.state.stack}'; take --stack {drill.stacks[0]}"
        )
    on_progress("waiting for the platform to be healthy")
    _await_quiet(sandbox, "the platform was healthy before the drill")
    _await_trading(sandbox, drill)
    if "baseline_minutes" in drill.parameters:
        # What failed in an earlier drill must be neither recent nor in the time that this one is compared with.
        await_calm(sandbox, 60 * (drill.parameters["recent_minutes"] + drill.parameters["baseline_minutes"]))
    if drill.runbook == "triage" and has_alerts(sandbox):
        await_silence(sandbox)
    _await_steady_memory(sandbox, drill)
    for fault in drill.faults:
        on_progress(f"injecting {fault.name}")
        fault.inject(sandbox, drill.parameters)


def heal(sandbox: Sandbox, on_progress: Callable[[str], None]) -> None:
    """Take every fault away and return once the platform is healthy."""
    f.heal(sandbox, on_progress)


def _await_trading(sandbox: Sandbox, drill: Drill) -> None:
    """What failed in an earlier drill must no longer be recent."""
    recent_seconds = 60 * drill.parameters.get("recent_minutes", 0.0)
    if drill.runbook == "websocket_disconnections":
        await_streams(sandbox, recent_seconds)
    elif recent_seconds:
        await_condition(
            lambda: seconds_since_trouble(sandbox) > recent_seconds,
            "trades were filled again",
            timeout_seconds=recent_seconds + _QUIET_SECONDS,
            poll_seconds=0.2,
            details=lambda: "run 'flowrex-ops drill heal' first",
        )


def _await_steady_memory(sandbox: Sandbox, drill: Drill) -> None:
    """What moved in an earlier drill must lie outside the window over which memory is judged."""
    seconds = 60 * drill.parameters.get("trend_minutes", 0.0)
    if seconds:
        await_condition(
            lambda: has_stood_still(sandbox, seconds),
            "memory stood still",
            timeout_seconds=seconds + 60,
            poll_seconds=0.5,
            details=lambda: "run 'flowrex-ops drill heal' first",
        )


def _await_quiet(sandbox: Sandbox, what: str) -> None:
    await_condition(
        lambda: is_quiet(sandbox),
        what,
        timeout_seconds=_QUIET_SECONDS,
        details=lambda: "run 'flowrex-ops drill heal' first",
    )
