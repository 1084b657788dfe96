"""Why requests fail with 5xx: seven causes told apart. Each failed request is charged to one of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flowrex_ops.checks import circumstances as c
from flowrex_ops.checks import failures as f
from flowrex_ops.checks.verdicts import confirmed, inconclusive, judges, missing, percent, ruled_out, undecided
from flowrex_ops.model import Evidence, Reading, Severity, Verdict
from flowrex_ops.sources.access_log import AccessLog
from flowrex_ops.sources.error_log import ErrorLog

Access = Reading[AccessLog]
Errors = Reading[ErrorLog]
Services = Reading[pd.DataFrame]

HALF = 0.5
"""From this share of failed requests on it is an outage for users (P1), below it a part of them suffers (P2)."""

PROXY, LOG, STACK = "access log", "backend log", "stack"
_SHOWN = 4
_TENTH = 0.1


@judges("http.upstream-unreachable")
def check_upstream_unreachable(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """The proxy reaches the backend: it makes no 502 or 504 of its own."""
    cause = "http.upstream-unreachable"
    bounds = c.Limits(**limits)
    charged = f.charge(access, errors, services, bounds)
    rows = charged.of(cause)
    if missing(access):
        return inconclusive(cause, access)
    if not charged.counts(rows, bounds):
        return ruled_out(
            cause, f"the proxy made {_number(rows)} of {charged.total} recent answers itself as 502 or 504"
        )
    refused, late = (rows[rows["status"].eq(status)] for status in (f.BAD_GATEWAY, f.GATEWAY_TIMEOUT))
    places = sorted({str(name) for name in rows["replica"]} - {""})
    how = [f"{_number(refused)} refused or not there (502)"] if len(refused) else []
    how += [f"{_number(late)} without an answer in time (504)"] if len(late) else []
    title = f"The proxy does not reach {_of_all(places, services, bounds)}: {', '.join(how)}"
    evidence = [*_states(services, {bounds.service}), *_by(rows, "replica", PROXY), *_by(rows, "route", PROXY)]
    return _confirmed(cause, charged, rows, title, evidence)


@judges("http.dependency-failing")
def check_dependency_failing(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No request fails with an error that names something which the backend needs: PostgreSQL, Redis, the broker."""
    cause = "http.dependency-failing"
    bounds = c.Limits(**limits)
    charged = f.charge(access, errors, services, bounds)
    rows = charged.of(cause)
    if charged.counts(rows, bounds):
        names = _names(rows, "dependency")
        title = f"Requests fail because of {' and '.join(names)}"
        evidence = [*_states(services, set(names)), *_signatures(rows, errors), *_by(rows, "route", LOG)]
        if charged.deploy and charged.deploy.previous:
            evidence.append(Evidence("release", _said_of(charged.deploy), STACK))
        return _confirmed(cause, charged, rows, f"{title}: {_example(rows, errors)}", evidence)
    if missing(errors):
        return inconclusive(cause, errors)
    return _unexplained(cause, charged, bounds) or ruled_out(
        cause, f"{_number(rows)} of {charged.total} recent requests failed with an error that names a dependency"
    )


@judges("http.bad-deploy")
def check_bad_deploy(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No error began with a release: none came lately, or what fails failed before it, or fails in the older one too."""
    cause = "http.bad-deploy"
    bounds = c.Limits(**limits)
    charged = f.charge(access, errors, services, bounds)
    rows, deploy = charged.of(cause), charged.deploy
    if deploy and charged.counts(rows, bounds):
        evidence = [
            Evidence("release", _said_of(deploy), f"{STACK}, {PROXY}"),
            *_signatures(rows, errors),
            *_by(rows, "route", LOG),
        ]
        title = f"Errors began with release {deploy.version}: {_example(rows, errors)}"
        return _confirmed(cause, charged, rows, title, evidence)
    if missing(services) or (missing(access) and missing(errors)):
        return inconclusive(cause, services, access, errors)
    blind = missing(access) or (deploy is not None and not deploy.previous)
    if blind and c.find_start(services, bounds) and len(charged.rows):
        return undecided(
            cause, "replicas started lately, and no log tells which release served before; compare by hand"
        )
    return _unexplained(cause, charged, bounds) or ruled_out(cause, _no_deploy(deploy, charged))


@judges("http.traffic-flood")
def check_traffic_flood(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No few clients send most of the requests while others are refused for want of connections."""
    cause = "http.traffic-flood"
    bounds = c.Limits(**limits)
    if missing(access):
        return inconclusive(cause, access)
    charged = f.charge(access, errors, services, bounds)
    rows, flood = charged.of(cause), charged.flood
    if flood and charged.counts(rows, bounds):
        who = f"{len(flood.clients)} clients send {percent(flood.share)} of all requests"
        evidence = [*_busiest(access), *_signatures(rows, errors), *_by(rows, "route", PROXY)]
        return _confirmed(cause, charged, rows, f"{who}, more than there are connections for", evidence)
    if flood and missing(errors) and len(charged.rows):
        return inconclusive(cause, errors)
    told = (
        f"{len(flood.clients)} clients send {percent(flood.share)} of all requests, and none fails of it"
        if flood
        else f"no {bounds.flood_clients} clients send {percent(bounds.flood_share)} of all requests"
    )
    return ruled_out(cause, told, _busiest(access))


@judges("http.single-replica")
def check_single_replica(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No replica fails where the others do not."""
    return _judge_place("http.single-replica", "replica", access, errors, services, c.Limits(**limits))


@judges("http.single-route")
def check_single_route(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No route fails where the others do not."""
    return _judge_place("http.single-route", "route", access, errors, services, c.Limits(**limits))


@judges("http.new-exception")
def check_new_exception(access: Access, errors: Errors, services: Services, **limits: Any) -> Verdict:
    """No request fails with an error that the log did not show before."""
    cause = "http.new-exception"
    bounds = c.Limits(**limits)
    charged = f.charge(access, errors, services, bounds)
    rows = charged.of(cause)
    if charged.counts(rows, bounds):
        title = f"New error on every route: {_example(rows, errors)}"
        evidence = [*_signatures(rows, errors), *_by(rows, "route", LOG), *_by(rows, "replica", LOG)]
        return _confirmed(cause, charged, rows, title, evidence)
    if missing(errors):
        return inconclusive(cause, errors)
    return _unexplained(cause, charged, bounds) or ruled_out(
        cause, f"{_number(rows)} of {charged.total} recent requests failed with an error that is new everywhere"
    )


def _judge_place(
    cause: str, column: str, access: Access, errors: Errors, services: Services, bounds: c.Limits
) -> Verdict:
    charged = f.charge(access, errors, services, bounds)
    rows = charged.of(cause)
    if charged.counts(rows, bounds):
        names = _names(rows, column)
        title = f"Only {' and '.join(names)} {'fails' if len(names) == 1 else 'fail'}: {_example(rows, errors)}"
        evidence = [*_by(rows, column, LOG), *_signatures(rows, errors)]
        evidence += _states(services, set(names)) if column == "replica" else _by(rows, "replica", LOG)
        return _confirmed(cause, charged, rows, title, evidence)
    if missing(access) and missing(errors):
        return inconclusive(cause, access, errors)
    return _unexplained(cause, charged, bounds) or ruled_out(
        cause, f"{_number(rows)} of {charged.total} recent requests failed on one {column} alone"
    )


def _confirmed(cause: str, charged: f.Charged, rows: pd.DataFrame, title: str, evidence: list[Evidence]) -> Verdict:
    number = _number(rows)
    share = number / max(1, charged.total)
    counted = Evidence("failed requests", f"{number} of {charged.total} recent ones ({percent(share)})", PROXY)
    severity = Severity.P1 if share >= HALF else Severity.P2
    reason = f"{title} ({number} of {charged.total} recent requests)"
    return confirmed(cause, reason, [counted, *evidence], severity=severity, title=title)


def _unexplained(cause: str, charged: f.Charged, bounds: c.Limits) -> Verdict | None:
    """Inconclusive where requests fail in a way that fits no hypothesis here."""
    rows = charged.of("")
    if not charged.counts(rows, bounds):
        return None
    signature, number = f.most(rows, "signature")
    return undecided(cause, f"{_number(rows)} failed requests fit none of these hypotheses; {number} with: {signature}")


def _no_deploy(deploy: c.Deploy | None, charged: f.Charged) -> str:
    if deploy is None:
        return "no release came within the time looked at"
    if charged.rows.empty:
        return f"{_said_of(deploy)}, and no request fails"
    return f"{_said_of(deploy)}; no error began with it"


def _said_of(deploy: c.Deploy) -> str:
    return f"{deploy.version} replaced {deploy.previous or 'an earlier one'} at {deploy.at:%H:%M:%S} UTC"


def _signatures(rows: pd.DataFrame, errors: Errors) -> list[Evidence]:
    """The commonest errors: first line and last frame, with how many requests each has cost."""
    counts = _ranked(rows, "signature")
    found = []
    for signature, number in counts[:_SHOWN]:
        line, frame = _told(signature, errors)
        found.append(Evidence(f"{number} requests", f"{signature}: {line}" if line != signature else line, LOG))
        found += [Evidence("raised at", frame, LOG)] if frame else []
    return found


def _example(rows: pd.DataFrame, errors: Errors) -> str:
    ranked = _ranked(rows, "signature")
    if not ranked:
        return c.UNLOGGED
    line, _ = _told(ranked[0][0], errors)
    return line or ranked[0][0]


def _told(signature: str, errors: Errors) -> tuple[str, str]:
    """First line and last frame of a signature."""
    if not errors.available:
        return "", ""
    table = errors.require().exceptions
    rows = table[table["signature"].eq(signature)].sort_values(["recent", "first_line"], ascending=[False, True])
    return (str(rows["first_line"].iloc[0]), str(rows["last_frame"].iloc[0])) if len(rows) else ("", "")


def _by(rows: pd.DataFrame, column: str, source: str) -> list[Evidence]:
    return [
        Evidence(f"{column} {name or '(none)'}", f"{number} failed", source)
        for name, number in _ranked(rows, column)[:_SHOWN]
    ]


def _ranked(rows: pd.DataFrame, column: str) -> list[tuple[str, int]]:
    sums = rows.groupby(column)["requests"].sum()
    return sorted(((str(name), int(number)) for name, number in sums.items()), key=lambda item: (-item[1], item[0]))


def _names(rows: pd.DataFrame, column: str) -> list[str]:
    """Those that matter: a tenth of the failures or more."""
    return [name for name, number in _ranked(rows, column) if number >= _TENTH * _number(rows)][:_SHOWN]


def _states(services: Services, names: set[str]) -> list[Evidence]:
    """What the stack says of the replicas of these services, or of these replicas."""
    if not services.available:
        return []
    table = services.require()
    rows = table[table["service"].isin(names) | table["name"].isin(names)].sort_values("name")
    return [Evidence(str(row["name"]), f"{row['state']}, {row['health']}", STACK) for _, row in rows.head(8).iterrows()]


def _busiest(access: Access) -> list[Evidence]:
    clients = access.require().clients.sort_values(["requests", "client"], ascending=[False, True])
    return [
        Evidence(f"client {row.client}", f"{row.requests} recent requests, {row.failed} failed", PROXY)
        for row in clients.head(3).itertuples()
    ]


def _of_all(places: list[str], services: Services, bounds: c.Limits) -> str:
    known = set(c.versions_of(services, bounds.service))
    if places and known and set(places) < known:
        return " and ".join(places)
    return "the backend"


def _number(rows: pd.DataFrame) -> int:
    return int(rows["requests"].sum())
