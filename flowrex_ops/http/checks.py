"""Why requests fail with 5xx: causes told apart. Each failed request is attributed to one of them, or is unexplained."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, percent, ruled_out
from flowrex_ops.http import blind_spots as blind
from flowrex_ops.http import context as c
from flowrex_ops.http import evidence as e
from flowrex_ops.http.attribution import Attribution, attribute
from flowrex_ops.http.evidence import ERROR_LOG, LOG, METRICS, PROXY, STACK, Access, Errors, Services
from flowrex_ops.http.failures import UNLOGGED, exhausted_of, limited_of
from flowrex_ops.http.refusals import are_of_few, find_surge, is_over
from flowrex_ops.logs.access_log import BAD_GATEWAY, GATEWAY_TIMEOUT, SERVER_ERROR, UNAVAILABLE
from flowrex_ops.logs.request_counts import most, total_of
from flowrex_ops.model import Evidence, Severity, Verdict
from flowrex_ops.services.impact import of_refusals

_A_STATUS = re.compile(r"\b[45]\d\d\b")
_AS_STEPS_SAY = {"postgres": "PostgreSQL", "redis": "Redis", "broker": "the broker"}
_OF_TLS = re.compile(r"\bcertificate\b|SSL routines")


class FailedRequests:
    """The readings of failed requests, and what each is attributed to: worked out once, for all checks.

    *limits* are those of ``context.Limits``.
    """

    def __init__(self, access: Access, errors: Errors, services: Services, files: Services, **limits: Any) -> None:
        self.access = access
        self.errors = errors
        self.services = services
        self.files = files
        self.bounds = c.Limits(**limits)

    @cached_property
    def found(self) -> Attribution:
        """Every recent failed request with its cause."""
        return attribute(self.access, self.errors, self.services, self.bounds)


@check("http.worker-connections")
def check_worker_connections(failed: FailedRequests) -> Verdict:
    """NGINX has connections and files for all: it logs no want of them, and makes no 500 of its own."""
    cause = "http.worker-connections"
    if missing(failed.access):
        return inconclusive(cause, failed.access)
    found, lines, rows = failed.found, exhausted_of(failed.access.require()), failed.found.of(cause)
    if total_of(lines) >= found.limits.least:
        what, number = most(lines, "what")
        title = f"NGINX has not enough connections or files: '{what}'"
        evidence = [Evidence(what, f"{number} recent lines", ERROR_LOG), *e.list_by(rows, "route", PROXY)]
        last, later = lines["at"].max(), found.requests[found.requests["at"].gt(lines["at"].max())]
        quiet = found.until is not None and found.until - last >= c.quiet_of(found.limits)
        severity = Severity.P3 if quiet and total_of(later) >= found.limits.few else None
        title = f"Over since {last:%H:%M:%S} UTC: {title}" if severity else title
        reason = f"{title}: {total_of(rows)} of {found.total} recent requests were answered 500 for it; who is cut off first is not logged"
        share = total_of(rows) / max(1, found.total)
        return confirmed(cause, reason, evidence, severity=severity, title=title, share=share)
    own = found.rows[found.rows["made_by"].ne("backend") & found.rows["status"].eq(SERVER_ERROR)]
    own = own[own["signature"].eq(UNLOGGED)]
    reported = f"{total_of(lines)} lines of the proxy's log tell of it, and {total_of(own)} of {found.total} answers are 500 of its own"
    unseen = "" if not found.counts(own) else f"{reported}: read why in its error log, which is to go to stderr"
    return _ruled_out(cause, found, failed.access, reported, unseen)


@check("backend.fd-exhausted")
def check_open_files(failed: FailedRequests, *, full_share: float = 0.9) -> Verdict:
    """No replica holds *full_share* of the files that it may open, and none logs that it could open no more."""
    cause, found = "backend.fd-exhausted", failed.found
    rows, files, logged = found.of(cause), e.open_files(failed.files), e.list_without_files(failed.errors)
    full = files[files["share"].ge(full_share)]
    held = [
        Evidence(str(row.replica), f"{row.open_files:.0f} of {row.limit:.0f} files are open", METRICS)
        for row in files[files["share"].notna()].sort_values(["share", "replica"], ascending=[False, True]).itertuples()
    ]
    if found.counts(rows):
        who = " and ".join(e.names_of(rows, "replica")) or "a replica"
        title = f"No files left to open on {who}: {e.example_of(rows, failed.errors)}"
        return _confirmed(cause, found, rows, title, [*held, *logged, *e.list_by(rows, "replica", LOG)])
    if len(full) or logged:
        first = held[0] if len(full) else logged[0]
        title = f"{first.name} runs out of open files: {first.value}"
        reason = f"{title}; {total_of(rows)} of {found.total} recent requests failed of it"
        return confirmed(cause, reason, [*held, *logged], severity=Severity.P2, title=title)
    if missing(failed.files, failed.errors):
        return inconclusive(cause, failed.files, failed.errors)
    silent = files[files["share"].isna() | files["replica"].isna()]
    if len(silent) or files.empty:
        who, error = (silent["replica"].iloc[0], silent["error"].iloc[0]) if len(silent) else ("no replica", "")
        why = error or "no process_open_fds and process_max_fds on its /metrics; by hand: ls /proc/1/fd | wc -l"
        return inconclusive(cause, f"{who} does not tell its open files: {why}")
    reported = f"{held[0].name} holds most: {held[0].value}; no log speaks of too many"
    return _ruled_out(cause, found, failed.access, reported, blind.of_errors(found))


@check("http.upstream-unreachable")
def check_upstream_unreachable(failed: FailedRequests) -> Verdict:
    """The proxy reaches the backend: it makes no 502 or 504 of its own."""
    cause = "http.upstream-unreachable"
    if missing(failed.access):
        return inconclusive(cause, failed.access)
    found = failed.found
    rows = found.of(cause)
    reported = f"the proxy made {total_of(rows)} of {found.total} recent answers itself (502, 503, 504) for want of one from the backend"
    if not found.counts(rows):
        return _ruled_out(cause, found, failed.access, reported, blind.of_makers(found))
    # What fails while containers are replaced has its reason, and is over as soon as the new ones answer.
    rollout = found.deploy is not None and rows["at"].min() >= found.deploy.at - c.ROLLOUT
    if found.deploy and rollout and (over := found.over_since(rows, quiet=2 * c.SLACK)):
        while_ = f"while {_said_of(found.deploy)}; none of {over[1]} requests since {over[0]:%H:%M:%S} UTC"
        return ruled_out(cause, f"{reported}, {while_}")
    refused, late = (rows[rows["status"].eq(status)] for status in (BAD_GATEWAY, GATEWAY_TIMEOUT))
    places = sorted({str(name) for name in rows["replica"]} - {""})
    why = e.why_unreached(failed.access, rows)
    lost = "answered 502" if why else "refused or not there (502)"
    how = [f"{total_of(refused)} {lost}"] if len(refused) else []
    how += [f"{number} that no server took (503)"] if (number := total_of(rows[rows["status"].eq(UNAVAILABLE)])) else []
    how += (
        [f"{number} whose name leads nowhere (500)"]
        if (number := total_of(rows[rows["status"].eq(SERVER_ERROR)]))
        else []
    )
    how += [f"{total_of(late)} without an answer in time (504)"] if len(late) else []
    title = f"The proxy does not reach {e.who_of(places, failed.services, failed.bounds)}: {', '.join(how)}"
    beside = found.requests[~found.requests["route"].isin(rows["route"]) & found.requests["status"].lt(SERVER_ERROR)]
    if len(late) == len(rows) and not places and total_of(beside) >= found.limits.few:  # it is there, and waits
        where = " and ".join(e.names_of(rows, "route"))
        title = f"The backend does not answer on {where} in time: {how[0]}, while other routes are served"
    if why:
        title = f"{title}; it says: {why}"
    logged = e.list_meanwhile(failed.errors)
    if logged:
        title = f"{title}; the backend: {logged[0].value}"
    evidence = [
        *logged,
        *e.list_said(failed.access, rows),
        *e.states_of(failed.services, {failed.bounds.service}),
        *e.list_by(rows, "replica", PROXY),
        *e.list_by(rows, "route", PROXY),
    ]
    told = _confirmed(cause, found, rows, title, evidence)
    of_tls = bool(_OF_TLS.search(why))
    return told.with_steps(lambda one: bool(_OF_TLS.search(one.text)) == of_tls or one.target.endswith("nginx"))


@check("http.dependency-failing")
def check_dependency_failing(failed: FailedRequests) -> Verdict:
    """No request fails with an error that names something which the backend needs: PostgreSQL, Redis, the broker."""
    cause = "http.dependency-failing"
    found = failed.found
    rows = found.of(cause)
    if found.counts(rows):
        names = e.names_of(rows, "dependency")
        title = f"Requests fail because of {' and '.join(names if len(names) == 1 else _in_turn(found, rows, names))}"
        evidence = [
            *e.states_of(failed.services, set(names)),
            *e.list_signatures(rows, failed.errors),
            *e.list_by(rows, "route", LOG),
        ]
        if found.deploy and found.deploy.previous:
            evidence.append(Evidence("release", _said_of(found.deploy), STACK))
        told = _confirmed(cause, found, rows, f"{title}: {e.example_of(rows, failed.errors)}", evidence)
        where = tuple(_AS_STEPS_SAY.get(name, "outside") for name in names)
        return told.with_steps(lambda one: one.text.endswith(where))
    if missing(failed.errors):
        return inconclusive(cause, failed.errors)
    reported = f"{total_of(rows)} of {found.total} recent requests failed with an error that names a dependency"
    return _ruled_out(cause, found, failed.access, reported, _unexplained(found), blind.of_errors(found))


@check("http.bad-deploy")
def check_bad_deploy(failed: FailedRequests) -> Verdict:
    """No error began with a release: none came lately, or what fails failed before it, or fails in the older one too."""
    cause = "http.bad-deploy"
    found = failed.found
    rows, deploy = found.of(cause), found.deploy
    if deploy and found.counts(rows):
        evidence = [
            Evidence("release", _said_of(deploy), f"{STACK}, {PROXY}"),
            *e.list_signatures(rows, failed.errors),
            *e.list_by(rows, "route", LOG),
        ]
        title = f"Errors began with release {deploy.version or '(not named)'}: {e.example_of(rows, failed.errors)}"
        return _confirmed(cause, found, rows, title, evidence)
    if missing(failed.services) or (missing(failed.access) and missing(failed.errors)):
        return inconclusive(cause, failed.services, failed.access, failed.errors)
    blind_to_before = missing(failed.access) or (deploy is not None and not deploy.previous)
    if blind_to_before and c.find_start(failed.services, failed.bounds) and len(found.rows):
        return inconclusive(
            cause, "replicas started lately, and no log tells which release served before; compare by hand"
        )
    return _ruled_out(
        cause,
        found,
        failed.access,
        _no_deploy(deploy, found),
        _unexplained(found),
        blind.of_releases(found, failed.services),
    )


@check("http.traffic-flood")
def check_traffic_flood(failed: FailedRequests) -> Verdict:
    """No few clients send most of the requests while others are refused for want of connections."""
    cause = "http.traffic-flood"
    if missing(failed.access):
        return inconclusive(cause, failed.access)
    found = failed.found
    rows, flood = found.of(cause), found.flood
    if flood and found.counts(rows):
        who = f"{len(flood.clients)} clients send {percent(flood.share)} of all requests"
        evidence = [
            *e.list_busiest(failed.access),
            *e.list_signatures(rows, failed.errors),
            *e.list_by(rows, "route", PROXY),
        ]
        return _confirmed(cause, found, rows, f"{who}, more than there are connections for", evidence)
    if flood and missing(failed.errors) and len(found.rows):
        return inconclusive(cause, failed.errors)
    reported = (
        f"{len(flood.clients)} clients send {percent(flood.share)} of all requests, and none fails of it"
        if flood
        else f"no few of {failed.access.require().clients['client'].nunique()} clients send {percent(failed.bounds.flood_share)} of all requests and far more than others do"
    )
    return _ruled_out(
        cause,
        found,
        failed.access,
        reported,
        blind.of_clients(found, failed.access),
        evidence=e.list_busiest(failed.access),
    )


@check("http.client-errors")
def check_client_errors(failed: FailedRequests) -> Verdict:
    """No 4xx is *refused_share* of the recent requests and *refused_factor* times what it was before, but for a few clients."""
    cause = "http.client-errors"
    if missing(failed.access):
        return inconclusive(cause, failed.access)
    log, found = failed.access.require(), failed.found
    if found.counts(limited := found.of(cause)):
        few = are_of_few(log, failed.bounds)
        whom = "only its busiest clients" if few else "users"
        title = f"The proxy's own limit refuses {whom} with 503: {limited_of(log)['what'].iloc[-1]}"
        evidence = [*e.list_by(limited, "route", PROXY), *e.list_busiest(failed.access)]
        told = _steps_about(UNAVAILABLE, _confirmed(cause, found, limited, title, evidence))
        return replace(told, severity=Severity.P3) if few else told
    rows, said, unclear = find_surge(log, failed.bounds)
    if rows.empty:
        return _ruled_out(cause, found, failed.access, said, unclear)
    title, severity = said, of_refusals(total_of(rows) / max(1, found.total))
    if is_over(rows, log):
        title, severity = f"Over since {rows['at'].max():%H:%M:%S} UTC: {said}", Severity.P3
    evidence = [
        Evidence(f"{column} {name or '(none)'}", f"{number} requests", PROXY)
        for column in ("route", "made_by", "replica", "version")
        for name, number in rows.groupby(column)["requests"].sum().sort_values(ascending=False).head(e.SHOWN).items()
    ]
    evidence += [Evidence("release", _said_of(found.deploy), STACK)] if found.deploy else []
    share = total_of(rows) / max(1, found.total)
    told = confirmed(
        cause, title, [*evidence, *e.list_said(failed.access, rows)], severity=severity, title=title, share=share
    )
    return _steps_about(int(rows["status"].iloc[0]), told)


def _steps_about(status: int, verdict: Verdict) -> Verdict:
    """Without the steps that are for other statuses."""
    return verdict.with_steps(lambda one: str(status) in one.text or not _A_STATUS.search(one.text))


@check("http.single-replica")
def check_single_replica(failed: FailedRequests) -> Verdict:
    """No replica fails where the others do not."""
    return _judge_place("http.single-replica", "replica", failed)


@check("http.single-route")
def check_single_route(failed: FailedRequests) -> Verdict:
    """No route fails where the others do not."""
    return _judge_place("http.single-route", "route", failed)


@check("http.new-exception")
def check_new_exception(failed: FailedRequests) -> Verdict:
    """No request fails with an error that the log did not show before."""
    cause = "http.new-exception"
    found = failed.found
    rows = found.of(cause)
    if found.counts(rows):
        title = f"New error on every route: {e.example_of(rows, failed.errors)}"
        evidence = [
            *e.list_signatures(rows, failed.errors),
            *e.list_by(rows, "route", LOG),
            *e.list_by(rows, "replica", LOG),
        ]
        return _confirmed(cause, found, rows, title, evidence)
    if missing(failed.errors):
        return inconclusive(cause, failed.errors)
    reported = f"{total_of(rows)} of {found.total} recent requests failed with an error that is new everywhere"
    return _ruled_out(cause, found, failed.access, reported, _unexplained(found), blind.of_errors(found))


@check("http.unexplained-errors")
def check_unexplained_errors(failed: FailedRequests) -> Verdict:
    """Every failed request has one of the causes above, or next to none fails."""
    cause = "http.unexplained-errors"
    found = failed.found
    rows = found.unexplained
    if found.counts(rows):
        route, _ = most(rows, "route")
        places = len(set(rows["route"]))
        where = route if places == 1 else f"{route} and {places - 1} other {'route' if places == 2 else 'routes'}"  # noqa: PLR2004  # the plural
        said = e.list_said(failed.access, rows) if rows["made_by"].eq("proxy").all() else []
        example = said[0].value if said else e.example_of(rows, failed.errors)
        title = f"Requests fail on {where}, and no known cause explains it: {example}"
        evidence = [Evidence("first seen", f"{rows['at'].min():%Y-%m-%d %H:%M:%S} UTC", LOG), *said]
        for column in ("route", "status", "method", "replica", "made_by"):
            evidence += e.list_by(rows, column, LOG)
        return _confirmed(cause, found, rows, title, [*evidence, *e.list_signatures(rows, failed.errors)])
    if missing(failed.access) and missing(failed.errors):
        return inconclusive(cause, failed.access, failed.errors)
    reported = f"{total_of(rows)} of {total_of(found.rows)} failed requests have no cause, of {found.total} recent ones"
    return _ruled_out(cause, found, failed.access, reported)


def _in_turn(found: Attribution, rows: pd.DataFrame, names: list[str]) -> list[str]:
    """Each with its own time, the first to fail first: two that fail at once may be one trouble, minutes apart they are not."""
    parts = sorted((part["at"].min(), name, part) for name in names if len(part := rows[rows["dependency"].eq(name)]))
    ends = {name: found.over_since(part) for _, name, part in parts}
    return [
        f"{name} ({f'until {over[0]:%H:%M:%S}' if (over := ends[name]) else f'since {at:%H:%M:%S}'} UTC)"
        for at, name, _ in parts
    ]


def _judge_place(cause: str, column: str, failed: FailedRequests) -> Verdict:
    found = failed.found
    rows = found.of(cause)
    if found.counts(rows):
        names = e.names_of(rows, column)
        title = f"Only {names[0]} fails: {e.example_of(rows[rows[column].eq(names[0])], failed.errors)}"
        if others := " and ".join(names[1:]):  # each alone with an error of its own
            title += f"; {others} with another error"
        evidence = [
            *e.list_by(rows, column, LOG),
            *e.list_by(rows, "method", LOG),
            *e.list_signatures(rows, failed.errors),
        ]
        evidence += e.states_of(failed.services, set(names)) if column == "replica" else e.list_by(rows, "replica", LOG)
        return _confirmed(cause, found, rows, title, evidence)
    if missing(failed.access) and missing(failed.errors):
        return inconclusive(cause, failed.access, failed.errors)
    unseen = blind.of_replicas(found, failed.errors, failed.services) if column == "replica" else blind.of_routes(found)
    reported = f"{total_of(rows)} of {found.total} recent requests failed on one {column} alone"
    return _ruled_out(cause, found, failed.access, reported, _unexplained(found), unseen)


def _confirmed(cause: str, found: Attribution, rows: pd.DataFrame, title: str, evidence: list[Evidence]) -> Verdict:
    """A finding; its severity is that of all that fails, for there is one outage at a time. What has ended is told as past."""
    number, failed = total_of(rows), total_of(found.rows)
    share = number / max(1, found.total, failed)
    counted = Evidence("failed requests", f"{number} of {found.total} recent ones ({percent(share)})", PROXY)
    severity = found.severity
    if over := found.over_since(rows):
        title = f"Over since {over[0]:%H:%M:%S} UTC, {over[1]} requests went well since: {title}"
        severity = Severity.P3
    reason = f"{title} ({number} of {found.total} recent requests)"
    return confirmed(cause, reason, [counted, *evidence], severity=severity, title=title, share=share)


def _ruled_out(
    cause: str, found: Attribution, access: Access, reported: str, *unseen: str, evidence: list[Evidence] | None = None
) -> Verdict:
    """Ruled out, unless something could not have been seen: then inconclusive, for that reason."""
    reason = next(filter(None, (blind.of_all(found, access), *unseen)), "")
    return inconclusive(cause, reason) if reason else ruled_out(cause, reported, evidence or ())


def _unexplained(found: Attribution) -> str:
    """Where requests fail in a way that fits no hypothesis, none of them is out of the question."""
    rows = found.of("")
    if not found.counts(rows):
        return ""
    signature, number = most(rows, "signature")
    return f"{total_of(rows)} failed requests fit none of these hypotheses; {number} with: {signature}"


def _no_deploy(deploy: c.Deploy | None, found: Attribution) -> str:
    if deploy is None:
        return "no release came within the time looked at"
    if found.rows.empty:
        return f"{_said_of(deploy)}, and no request fails"
    return f"{_said_of(deploy)}; no error began with it"


def _said_of(deploy: c.Deploy) -> str:
    version = deploy.version or "a release that is not named"
    return f"{version} replaced {deploy.previous or 'an earlier one'} at {deploy.at:%H:%M:%S} UTC"
