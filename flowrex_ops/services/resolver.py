"""Names that do not resolve: every client of whatever they lead to fails at once, and each calls it something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, whole
from flowrex_ops.compose import Stack
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Evidence, Reading, Replica, Verdict
from flowrex_ops.reading import Source, reads
from flowrex_ops.side_by_side import side_by_side

Frame = Reading[pd.DataFrame]
Log = Reading[LogSummary]

LOOKUP_COLUMNS = ["replica", "name", "resolves", "error"]
"""``resolves`` is missing where that could not be told."""
NOW_SECONDS = 60.0
"""A failure that is longer ago is over: whoever needs a name asks for it more often than that."""
FEW_LINES, ENOUGH_REQUESTS = 3, 20
_MOST_NAMES = 8
_SCRIPT = 'for n; do (timeout "$0" getent hosts "$n" >/dev/null 2>&1; echo "$n $?") & done; wait'
_SAYS = {
    "0": (True, ""),
    "2": (False, "not found"),
    "124": (None, "no answer in time"),
    "127": (None, "no getent there"),
}
"""getent's exit codes, those of ``timeout``, and the shell's."""
_HOST_VARIABLE = re.compile(r"(?:DB|DATABASE|PG|POSTGRES\w*|REDIS|VALKEY)_?(?:HOST|SERVER)")
_NEEDED = re.compile(r"BROKER|OANDA|EXCHANGE|MARKET|FEED|PRICE")
_NAME = re.compile(r"(?=[\d.]*[a-z])[a-z0-9_][\w.-]*")


class ResolverSource(Source):
    """Asked inside each running replica of *service*, with the resolver that the replica itself has."""

    name = "resolver"

    def __init__(self, stack: Stack, service: str, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack, self._service = stack, service

    @reads("name lookups")
    def get_lookups(self) -> pd.DataFrame:
        """Whether the names that a replica's environment leads to resolve in it, columns ``LOOKUP_COLUMNS``; no row where it holds addresses alone."""
        running = [replica for replica in self._stack.get_replicas(self._service) if replica.running]
        if not running:
            raise SourceUnavailableError(
                f"no replica of '{self._service}' runs to ask in it; by hand: getent hosts NAME"
            )
        rows = [row for found in side_by_side(self._ask, running) for row in found]
        return pd.DataFrame(rows, columns=LOOKUP_COLUMNS).astype({"resolves": object})

    def _ask(self, replica: Replica) -> list[tuple[str, str, bool | None, str]]:
        names, seconds = needed_names(replica.definition.environment), self.limit_seconds * 0.4
        if not names:
            return []
        try:
            done = self._stack.execute(
                replica, ["sh", "-c", _SCRIPT, f"{seconds:g}", *names], timeout_seconds=self.limit_seconds * 0.8
            )
        except StackUnavailableError as error:
            return [(replica.name, name, None, str(error)) for name in names]
        return parse_lookups(replica.name, names, done.stdout)


def needed_names(environment: Mapping[str, str]) -> list[str]:
    """The hosts of databases, caches, queues and of the broker, by variables that hold URLs or hosts; nothing else of a URL."""
    found = set()
    for variable, value in environment.items():
        scheme, _, rest = value.partition("://")
        if rest and (not scheme.startswith("http") or _NEEDED.search(variable)):
            with suppress(ValueError):  # part of a password that nobody quoted may stand where the host and its port do
                parts = urlsplit(value)
                found.add(parts.hostname if parts.port != 0 else "")
        elif _HOST_VARIABLE.fullmatch(variable):
            found.add(value.lower())
    return sorted(name for name in found if name and _NAME.fullmatch(name))[:_MOST_NAMES]


def parse_lookups(replica: str, names: list[str], stdout: str) -> list[tuple[str, str, bool | None, str]]:
    """Rows of ``LOOKUP_COLUMNS``, by a line with name and exit code each."""
    codes = dict(line.rsplit(" ", 1) for line in stdout.splitlines() if " " in line)
    return [(replica, name, *_SAYS.get(codes.get(name, ""), (None, "getent told nothing"))) for name in names]


# A name of a container that does not run leads nowhere under Docker: that is no fault of the resolver.
@check("net.dns-failing")
def check_dns_failing(lookups: Frame, log: Log, proxy_log: Log, services: Frame) -> Verdict:
    """The names that replicas need resolve in each of them, and no log tells of one that does not, now."""
    cause = "net.dns-failing"
    asked = whole(lookups.require() if lookups.available else pd.DataFrame(), LOOKUP_COLUMNS)
    good = asked["resolves"].map(lambda one: one is True).astype(bool)
    well = set(asked["name"]) - set(asked.loc[~good, "name"])
    broken = asked[asked["resolves"].map(lambda one: one is False).astype(bool)]
    found = [
        (str(name), Evidence(str(name), f"not found in {', '.join(map(str, part['replica']))}", "getent hosts"))
        for name, part in broken.groupby("name")
    ]
    past, unsettled = "", False
    for one in (log, proxy_log):
        if not (one.available and one.require().unresolved):
            continue
        names, said = set(one.require().unresolved_names), _in_log(one)
        if _going_on(one) and not (names and names <= well):
            found += [(name, said) for name in names - well or {""}]
        else:
            past, unsettled = said.value, unsettled or not names or not names <= well
    if found:
        return _judge(cause, found, services)
    if unsettled:
        return inconclusive(cause, f"{past}: over, or rare; look again with getent hosts in a replica")
    over = f"; over is: {past}" if past else ""
    if len(asked) and good.all():
        return ruled_out(cause, f"{len(well)} names resolve in each of {asked['replica'].nunique()} replicas{over}")
    late = asked.groupby("replica")["error"].agg(lambda said: bool(said.eq(_SAYS["124"][1]).all()))
    if late.any() and asked.loc[good, "replica"].nunique():  # its connections are open still; the next one is not
        ill = ", ".join(map(str, late[late].index))
        return inconclusive(cause, f"{ill}: {_SAYS['124'][1]} for any name, which resolve elsewhere; look again there")
    lines = log.require() if log.available else LogSummary()
    if lines.unresolved == 0 and lines.requests >= ENOUGH_REQUESTS:
        return ruled_out(
            cause, f"no line of the log tells of a name that did not resolve, {lines.requests} requests among them"
        )
    silent = next((f"{row.name} in {row.replica}: {row.error}" for row in asked[~good].itertuples()), "")
    few = f"the log of {lines.requests} requests does not suffice" if log.available else ""
    silent = silent or ("" if missing(lookups) else "no replica's environment names a host")
    return inconclusive(cause, lookups, log, *filter(None, (silent, few)))


def _going_on(log: Log) -> bool:
    lines = log.require()
    lately = log.taken_at - timedelta(seconds=NOW_SECONDS)
    return (lines.unresolved or 0) >= FEW_LINES and (lines.last_unresolved or lately) > lately


def _in_log(log: Log) -> Evidence:
    lines = log.require()
    names = ", ".join(f"{name} ({number})" for name, number in lines.unresolved_names.most_common(4))
    when = " to ".join(f"{at:%H:%M:%S}" for at in (lines.first_unresolved, lines.last_unresolved) if at)
    said = f"{lines.unresolved} lines of {names or 'a name that is not told'}, {when} UTC, such as '{lines.unresolved_example}'"
    return Evidence("log", said, log.source)


def _judge(cause: str, found: list[tuple[str, Evidence]], services: Frame) -> Verdict:
    """Confirmed by the names that do not belong to what does not run, each with what tells of it."""
    names = {name for name, _ in found if name}
    if missing(services) and not any("." in name for name in names):
        return inconclusive(cause, f"{found[0][1].value}; whether that service runs is not known", services)
    rows = whole(services.require() if services.available else pd.DataFrame(), REPLICA_COLUMNS)
    runs = rows[rows["state"].eq("running")]
    known = {*rows["service"], *rows["name"]}
    down = known - {*runs["service"], *runs["name"]}
    # A short name that is nobody's may be another one (an alias, a link) of what does not run.
    if left := {name for name in names - down if "." in name or name in known or not down}:
        title = f"Names do not resolve: {', '.join(sorted(left)[:4])}"
    elif names or down:
        where = ", ".join(sorted(map(str, names & down or down))[:4])
        return inconclusive(
            cause, f"{found[0][1].value}; {where} does not run, and so its name leads nowhere: see service.down"
        )
    else:
        title = "Names do not resolve"
    evidence = list(dict.fromkeys(said for name, said in found if name in left or not left))
    return confirmed(cause, f"{title}: {evidence[0].value}", evidence[:8], title=title)
