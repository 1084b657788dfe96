"""``flowrex-ops doctor``: what is configured, what can be reached, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from flowrex_ops.cli.options import JsonOption, ProjectOption, SettingsOption, echo_json

if TYPE_CHECKING:
    from flowrex_ops.investigation import Investigation
    from flowrex_ops.model import Reading
    from flowrex_ops.settings import Settings

OK, UNREACHABLE, SET, NOT_SET = "OK", "unreachable", "set", "not set"
_LOOKS = {OK: ("green", "●"), UNREACHABLE: ("red", "✖"), SET: ("green", "○"), NOT_SET: ("yellow", "○")}
_PLATFORM = frozenset({"postgres", "redis", "backend", "front door", "prometheus", "tls", "broker"})
"""Of these one at least answers where there is a platform at all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One source: where its address comes from, whether it answers, and what it said."""

    source: str
    origin: str
    state: str
    detail: str


def doctor(settings: SettingsOption = "", project: ProjectOption = "", as_json: JsonOption = False) -> None:  # noqa: ARG001  # its callback uses it
    """Show every source and tool: what configures it, and whether it answers. Exits 1 where nothing of the platform does.

    Settings come from --settings, $FLOWREX_OPS_SETTINGS or ./flowrex-ops.toml; single values from the environment
    (FLOWREX_OPS_POSTGRES__DSN) or as files in $FLOWREX_OPS_SECRETS_DIR. Sections: platform, outputs, stack (kind,
    project, socket, docker_host, may_be_absent, version_variable), postgres (dsn, admin_dsn, reserve_dsn, service,
    application_role), redis (url, service), backend (service, port, scheme, urls, health_path, pool_size), front_door (url, path, service,
    port), tls (endpoints, ca_file, warn_days, service, port), certbot (service, program, server, webroot, seconds), broker (url, token, account), proxy (service, port,
    program, configuration, control, control_inside, websocket_url, websocket_path), prometheus (url, service, port),
    metrics (pool_in_use, pool_open, pool_idle, pool_maximum, pool_base, pool_overflow, pool_waiting, pool_requests,
    pool_queued, pool_errors, pool_wait_seconds, pool_wait_ms, websocket_connections, websocket_messages,
    websocket_closed, websocket_memory_bytes, load_requests),
    sentry (url, organization, project, token), grafana (url, token, dashboard_uid, tags), status_pages (name = url), contacts (role = contact), approvers,
    notify (urls, default, seconds, attempts, retry_seconds), ticket (url, token, headers, body, address, link, seconds, attempts,
    retry_seconds), limits
    (reading_seconds, log_seconds, rows, log_bytes, cell_seconds, run_seconds, max_targets), rollback (script,
    script_seconds), backup (folder, binaries, seconds, services, probe_path), serve (host, port, token,
    jobs, queue_size, max_request_bytes, request_seconds, repeat_seconds, rejoin_seconds,
    join_seconds, grace_seconds, state),
    redaction (values).
    What is left out is discovered from the running compose project; 'flowrex-ops init' writes down what was found.

    Example: flowrex-ops doctor --json
    """
    from flowrex_ops.investigation import Investigation
    from flowrex_ops.redaction.redactor import Redactor
    from flowrex_ops.settings import find_file, load

    investigation = Investigation.for_readings("doctor", load(settings or None))
    rows, loaded = _examine(investigation), investigation.settings
    investigation.database.close()
    clean = Redactor(loaded.secret_values()).json([asdict(row) for row in rows])
    file = find_file(settings or None)
    if as_json:
        echo_json({"settings": str(file) if file else None, "platform": loaded.platform, "sources": clean})
    else:
        typer.echo(f"settings: {file or 'none found; defaults and discovery'}")
        _print(clean)
    if not any(row.state == OK for row in rows if row.source in _PLATFORM):
        raise typer.Exit(1)


def _examine(investigation: Investigation) -> list[Row]:
    """All sources at once; each has its own time limit."""
    from flowrex_ops.health import judge_door

    i, settings, endpoints = investigation, investigation.settings, investigation.endpoints
    questions: dict[str, tuple[Callable[[], Any], Callable[[Any], str]]] = {
        "postgres": (i.database.get_connection_limits, _postgres),
        "redis": (i.redis.get_version, lambda version: f"Redis {version}"),
        "backend": (i.backend.get_readiness, _backend),
        "front door": (i.front_door.get_answer, lambda answer: judge_door(answer)[1]),
        "prometheus": (i.prometheus.get_targets, _prometheus),
        "tls": (i.tls.get_certificates, _tls),
        "logs": (lambda: i.logs.get_pool_errors(since=timedelta(minutes=1)), _logs),
        "proxy": (i.nginx.get_locations, lambda found: _proxy(found, settings)),
        "certbot": (lambda: _ask_certbot(i), str),
        "backups": (i.backups.get_backups, _backups),
        "status pages": (i.status_pages.get_pages, _pages),
    }
    proxy, certbot = settings.proxy, settings.certbot
    origins = {
        **endpoints.origins,
        "logs": f"stack: service '{settings.backend.service}'",
        "proxy": "settings: proxy.configuration" if proxy.configuration else f"stack: service '{proxy.service}'",
        "certbot": f"stack: service '{certbot.service}'" if certbot.service else "settings: certbot.program",
        "backups": f"backup.folder '{settings.backup.folder}'",
        "status pages": f"status_pages ({', '.join(settings.status_pages)})",
        "broker": "settings: broker.url",
        "sentry": f"settings: sentry.token for {settings.sentry.url}",
    }
    if settings.broker.url:
        questions["broker"] = (lambda: i.broker.check_from_here(times=1), _broker)
    if settings.sentry.token:
        questions["sentry"] = (lambda: i.sentry.get_issues(since=i.since), lambda found: f"{len(found)} recent issues")
    state, kind = UNREACHABLE if endpoints.stack_error else OK, f"settings: stack.kind={settings.stack.kind}"
    stack = Row("stack", kind, state, endpoints.stack_error or endpoints.stack_line)
    with ThreadPoolExecutor(len(questions)) as pool:
        asked = pool.map(lambda name: _row(name, origins.get(name, ""), *questions[name]), questions)
        unset = (
            () if settings.sentry.token else (Row("sentry", "", NOT_SET, "not asked for new issues; set sentry.token"),)
        )
        return [stack, *asked, *unset, _notify(settings)]


def _row(source: str, origin: str, ask: Callable[[], Any], tell: Callable[[Any], str]) -> Row:
    reading = ask()
    if not reading.available:
        return Row(source, origin, UNREACHABLE, str(reading.error))
    return Row(source, origin, UNREACHABLE if _silent(reading.value) else OK, tell(reading.require()))


def _notify(settings: Settings) -> Row:
    """Nobody is asked: that would be a message. Whether each role of the matrix has a receiver, and whether one could be sent."""
    from flowrex_ops.errors import MissingExtraError
    from flowrex_ops.extras import require
    from flowrex_ops.incident.severity import ROLES, key

    names = list(settings.notify.urls)
    if not names:
        return Row("notify", "", NOT_SET, "nobody is notified; set notify.urls")
    try:
        require("notify", "notify", "apprise")
    except MissingExtraError as error:
        return Row("notify", "settings: notify.urls", UNREACHABLE, str(error))
    without = [role for role in ROLES if key(role) not in {key(name) for name in names}]
    lack = f"; without a receiver of their own: {', '.join(without)}" if without else ""
    return Row("notify", "settings: notify.urls", SET, f"not tried: {', '.join(names)}{lack}")


def _ask_certbot(investigation: Investigation) -> Reading[str]:
    from flowrex_ops.errors import FlowrexOpsError
    from flowrex_ops.model import Reading
    from flowrex_ops.tls.certbot import Certbot

    try:
        certbot = Certbot(investigation.endpoints.stack, investigation.settings.certbot)
        return Reading("certbot", "version", value=certbot.require())
    except (FlowrexOpsError, OSError) as error:
        return Reading("certbot", "version", error=str(error))


def _silent(value: Any) -> bool:
    """Whether it is a table of those that were asked, and each gave an error."""
    errors = getattr(value, "get", lambda _name: None)("error")
    return errors is not None and len(errors) > 0 and all(isinstance(error, str) and error for error in errors)


def _postgres(limits: Any) -> str:
    sees = "" if limits.sees_all_sessions else "; cannot see other roles' sessions: grant it pg_read_all_stats"
    return f"PostgreSQL {limits.server_version} as {limits.asked_as}, {limits.used} of {limits.max_connections} connections{sees}"


def _backend(readiness: Any) -> str:
    from flowrex_ops.health import judge_answer

    judged = [judge_answer(row) for row in readiness.to_dict("records")]
    ready = sum(one is True for one, _ in judged)
    others = "; ".join(sorted({says for one, says in judged if one is not True}))
    return f"{ready} of {len(readiness)} replicas ready" + (f"; {others}" if others else "")


def _prometheus(targets: Any) -> str:
    return f"{targets['health'].eq('up').sum()} of {len(targets)} targets up"


def _tls(endpoints: Any) -> str:
    answering = endpoints[endpoints["error"].isna()]
    if answering.empty:
        return str(endpoints["error"].iloc[0])
    first = min(chain[0].not_after for chain in answering["chain"])
    return f"{len(answering)} of {len(endpoints)} endpoints serve a certificate, the first ends {first:%Y-%m-%d}"


def _broker(checks: Any) -> str:
    check = checks.iloc[0]
    return f"connected, {check['seconds']:.2f} s" if check["connected"] else f"not connected: {check['error']}"


def _logs(summary: Any) -> str:
    return f"{summary.lines} lines in the last minute"


def _proxy(locations: Any, settings: Settings) -> str:
    lack = "" if settings.proxy.control else "; proxy.control is not set, so nothing is put into its configuration"
    return f"{len(locations)} locations pass requests on{lack}"


def _backups(backups: Any) -> str:
    if backups.empty:
        return "no backup yet; 'flowrex-ops backup' takes one"
    return f"{len(backups)} backups, the newest of {backups['taken_at'].iloc[0]:%Y-%m-%d %H:%M} UTC"


def _pages(pages: Any) -> str:
    return f"{pages['error'].eq('').sum()} of {len(pages)} pages answer"


def fold(rows: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    """*rows*, those of which the same is said as one; what the stack said (the first row) is said once."""
    why = rows[0]["detail"] if rows[0]["state"] != OK else ""
    reported: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        detail = (
            "needs the stack, which cannot be asked"
            if why and row is not rows[0] and why in row["detail"]
            else row["detail"]
        )
        one = reported.setdefault((row["state"], detail), {**row, "detail": detail, "source": ""})
        one["origin"] = "" if one["source"] else row["origin"].replace(why or "\n", "see stack")
        one["source"] = ", ".join(filter(None, [one["source"], row["source"]]))
    yield from reported.values()


def _print(rows: list[dict[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    columns = (Column(name, overflow="fold") for name in ("source", "status", "configured by", "detail"))
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in fold(rows):
        style, mark = _LOOKS[row["state"]]
        table.add_row(row["source"], f"[{style}]{mark} {row['state']}[/]", row["origin"], row["detail"])
    Console(soft_wrap=False).print(table)
