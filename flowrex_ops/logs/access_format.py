"""What one line of an access log tells, in whichever of the usual forms it was written.

A form that is known (NGINX's own ``log_format``) is compiled into one expression; of any other line the request, its status,
time and client are looked for, and behind them whatever is labelled or has the look of an upstream's address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VARIABLES = {
    "time": "time_iso8601 time_local @timestamp timestamp startutc startlocal msec ts time datetime date",
    "client": "remote_addr clienthost client_ip clientip client.ip request.client_ip request.remote_ip remote_ip source.ip"
    " clientaddr remote_host remote client ip h",
    "path": "request_uri requestpath request.uri request.path url.path url.original uri path document_uri url",
    "method": "request_method requestmethod request.method http.request.method method verb",
    "request": "request request_line requestline http_request r",
    "status": "status downstreamstatus status_code statuscode http.response.status_code response.status response_status"
    " response_code code s",
    "seconds": "request_time rt reqtime response_time responsetime latency elapsed took duration event.duration",
    "upstream": "upstream_addr upstream upstream_address upstreamaddr serviceaddr serviceurl serviceurl.host ua backend"
    " backend_addr",
    "header": "upstream_header_time header_time uht upstreamheadertime",
    "asked": "upstream_connect_time connect_time uct",
    "response": "upstream_response_time upstream_time urt originduration",
    "version": "version upstream_version release",
}
"""NGINX's variables, and the names that they and others' fields have in JSON and as labels; of several the first counts."""
LABELS = ("seconds", "upstream", "header", "asked", "response", "version")
"""What may stand anywhere behind the status, with its name before it."""
_MEANING = {name: field for field, names in reversed(_VARIABLES.items()) for name in names.split()}
_NANOSECONDS = ("duration", "event.duration", "originduration")
"""Traefik's and ECS's are whole nanoseconds; Caddy's are seconds with a point."""

_ADDRESS = r"(?:(?:https?://)?(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}|unix:[^\s\",]+)"
_ADDRESSES = re.compile(rf"(?:(?:{_ADDRESS}|-)(?:, | : |$))+")
_SOMEWHERE = re.compile(
    rf'(?<![\w.:/"@-])(?:"({_ADDRESS}(?:(?:, | : )(?:{_ADDRESS}))*)"|((?:\d+\.){{3}}\d+:\d+(?:(?:, | : )(?:\d+\.){{3}}\d+:\d+)*)(?= |$))'
)
_TIME = re.compile(
    r"\[(\d\d/[A-Z][a-z]{2}/\d{4}:[\d:]{8} [+-]\d{4})\]|\[?(\d{4}[-/]\d\d[-/]\d\d[T ][\d:]{8}(?:[.,]\d+)?(?: ?(?:Z|[+-]\d\d:?\d\d))?)\]?|(?<!\S)(\d{10}\.\d{3})(?!\S)"
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)" "?(\d{3})"?(?=[\s,|]|$)')
_IP = re.compile(r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?=[0-9a-fA-F]*:[0-9a-fA-F:.]*:)[0-9a-fA-F:.]{3,})(?![\w.])")
_LABELLED = re.compile(
    r"(?<![\w-])("
    + "|".join(sorted({name for field in LABELS for name in _VARIABLES[field].split()}, key=len, reverse=True))
    + r')[=:] ?(?:"([^"]*)"|\[([^\]]*)\]|([^\s"|;,]+(?:, [\d.:-]+)*))'
)
_HAPROXY = re.compile(
    r"(\S+):\d+ \[(\d\d/\w{3}/\d{4}:[\d:]{8})\.\d+\] \S+ ([^/\s]+/(\S+)) ([-+\d]+)/([-+\d]+)/([-+\d]+)/([-+\d]+)/\+?(\d+)"
    r' (-?\d+) [^"]*"([^"]*)'
)
"""``option httplog`` (HAProxy's configuration manual, 8.2.3): client, time, backend/server, TR/Tw/Tc/Tr/Ta in ms, status, request."""
_LOOSE_SECONDS = re.compile(r"(?<![\w.:=\"/-])(\d+\.\d{3}(?:\d{3})?)(?![\w.:])")
_MILLISECONDS = re.compile(r" (\d+)ms$")
_REQUEST = re.compile(r"[A-Za-z]+ ([^ ?]*)")
_DIALLED = re.compile(r"\bdial \w+ (\S+?): ")
TORNADO = re.compile(r"(?<!\S)([1-5]\d\d) ([A-Z]{3,7}) (/[^ ?]*)\S* \([^()]*\) [\d.]+ms$")
"""Its own access log, ``tornado.web.Application.log_request``: ``200 GET /status (10.0.0.1) 1.20ms`` behind any head."""
NO_PATH = "(no request)"
"""What was sent was no HTTP, or nothing."""

_OTHER_LINES = re.compile(
    r"\s*$|\d{4}/\d\d/\d\d [\d:]{8}(?:\.\d+)?[ \t](?:\[\w+\] \d|[A-Z]{4,5}[ \t])|/docker-entrypoint|\d\d-[\w.-]+\.(?:sh|envsh): |nginx: |time=\"|\s"
    r"|\[(?:NOTICE|WARNING|ALERT)\] |(?:Server|Health check for server|Proxy|backend) \S+ |\S+:\d+ \[[^\]]+\] \S+/\d+: "
    r"|\[\w{3} \w{3} +\d+ [\d:.]+ \d{4}\] \[[\w-]*:\w+\] |AH\d{5}: |\d{4}-\d\d-\d\dT\S+ (?:TRC|DBG|INF|WRN|ERR|FTL) |(?:INFO|WARNING|ERROR|DEBUG|CRITICAL): |\[[^\]]+\] \[\d+\] \[\w+\] "
)
"""What proxies and servers write beside their requests: their error log, their start."""

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_CLF_TIME = r"\d\d/\w{3}/\d{4}:[\d:]{8} [+-]\d{4}"
_ISO_TIME = r"\d{4}-\d\d-\d\dT[\d:]{8}(?:Z|[+-]\d\d:?\d\d)"
_KNOWN = {"time_local": _CLF_TIME, "time_iso8601": _ISO_TIME, "msec": r"\d+\.\d+", "status": r"\d{3}"}


@dataclass(frozen=True, slots=True)
class Format:
    """NGINX's ``log_format``, compiled: an expression over whole lines, or names of JSON keys."""

    pattern: re.Pattern[bytes] | None
    keys: Mapping[str, str]


def compile_format(text: str) -> Format:
    """A ``log_format`` with NGINX's variables; what stands between them stands for itself."""
    if text.lstrip().startswith("{"):
        pairs = re.findall(r'"([^"]+)"\s*:\s*"?\$\{?(\w+)', text)
        return Format(None, {key.lower(): field for key, name in pairs if (field := _meaning(name))})
    parts: list[str] = []
    seen: set[str] = set()
    at = 0
    for match in _VARIABLE.finditer(text):
        parts.append(re.escape(text[at : match.start()]))
        name, at = match[1] or match[2], match.end()
        field = _meaning(name)
        inner = _KNOWN.get(name) or _value(name, text[at : at + 1])
        parts.append(f"(?P<{field}>{inner})" if field and field not in seen else f"(?:{inner})")
        seen.add(field)
    parts.append(re.escape(text[at:]))
    return Format(re.compile(("^" + "".join(parts) + r"\r?$").encode(), re.MULTILINE), {})


def _meaning(variable: str) -> str:
    """The field that one of NGINX's variables tells; a header of the answer from upstream that has a version is the release."""
    if variable.startswith("upstream_http_") and ("version" in variable or "release" in variable):
        return "version"
    return _MEANING.get(variable, "")


def _value(name: str, following: str) -> str:
    """What a variable's value looks like, by what follows it."""
    end = re.escape(following) if following else ""
    if name == "request" and following == '"':
        return r'(?:[^"\\\n]|\\.)*'
    if name.startswith("upstream_") and following != '"':
        return rf"[^\s,{end}]+(?:(?:, | : )[^\s,{end}]+)*"
    return rf"[^{end}\n]*" if end and following != " " else r"[^\n]*?"


def parse_line(text: str, formats: Sequence[Format] = ()) -> dict[str, str] | None:
    """The fields (the keys of ``_VARIABLES``) of one line, empty where it is none of a request; ``None`` where it is not understood."""
    start = text.find("{")
    if start == 0 or (start > 0 and "handled request" in text[:start]):
        return _from_json(text[:start], text[start:], formats)
    if found := _QUOTED.search(text):
        return _from_text(text, found)
    if found := _HAPROXY.search(text):
        return _from_haproxy(*found.groups())
    return {} if _OTHER_LINES.match(text) else None


def _from_text(text: str, request: re.Match[str]) -> dict[str, str] | None:
    head, tail = text[: request.start()], text[request.end() :]
    time = _TIME.search(head) or _TIME.search(tail)
    if time is None:
        return None
    head = head.replace(time[0], "", 1)
    client = _IP.match(head) or _IP.search(head)
    fields = {"time": time[1] or time[2] or time[3], "request": request[1], "status": request[2]}
    fields["client"] = client[0] if client else head.partition(" ")[0]
    for match in _LABELLED.finditer(tail):
        field, value = _MEANING[match[1]], match[match.lastindex or 1]
        if field not in fields and _fits(field, value):
            fields[field] = value
    if "upstream" not in fields and (found := _SOMEWHERE.search(tail)):
        fields["upstream"] = found[1] or found[2]
    if "seconds" not in fields:
        if late := _MILLISECONDS.search(tail):
            fields["seconds"] = str(int(late[1]) / 1000)
        elif loose := _LOOSE_SECONDS.search(tail):
            fields["seconds"] = loose[1]
    return fields


def _from_haproxy(
    client: str,
    time: str,
    place: str,
    server: str,
    received: str,
    queued: str,
    connect: str,
    header: str,
    whole: str,
    status: str,
    request: str,
) -> dict[str, str]:
    """As NGINX would say it: -1 is a phase that was not reached, as a status a client that gave up. Its times have no zone."""
    fields = {"client": client, "time": f"{time} +0000", "request": request, "seconds": str(int(whole) / 1000)}
    fields["status"] = status if status.isdigit() and status != "0" else "499"
    if server.startswith("<"):  # <NOSRV>, <BADREQ>, <STATS>: it answered by itself; 503 for want of a server
        return fields | ({"upstream": place, "header": "-"} if status == "503" else {"upstream": "-"})
    reached = sum(max(0, int(part)) for part in (queued, connect))
    fields["asked"] = str(reached / 1000) if int(connect) >= 0 else "-"
    fields["header"] = str((reached + int(header)) / 1000) if int(header) >= 0 else "-"
    return fields | {"upstream": place, "response": str(max(0, int(whole) - max(0, int(received))) / 1000)}


def _fits(field: str, value: str) -> bool:
    """``ua="curl/8"`` is a browser, ``ua="172.30.0.4:8000"`` an upstream."""
    if field == "upstream":
        return value == "-" or bool(_ADDRESSES.fullmatch(value))
    return field == "version" or bool(re.fullmatch(r"[\d.,: -]+", value))


def _from_json(head: str, text: str, formats: Sequence[Format]) -> dict[str, str] | None:
    entry = parse_object(text)
    if entry is None:
        return None
    flat = {key.lower(): value for key, value in flatten(entry)}
    if str(flat.get("logger", "")).startswith("http.log.error"):
        # Caddy: why it gave that answer; the request itself is in its access log.
        gone = _DIALLED.search(str(flat.get("msg", "")))
        if not gone and "reverseproxy" not in str(flat.get("err_trace", "")):
            return {}
        reported = {"time": str(flat.get("ts", "")), "status": str(flat.get("status", ""))}
        return reported | {"unreached": gone[1] if gone else ""}
    keys = next((one.keys for one in formats if one.keys and set(one.keys) & set(flat)), {})
    fields = {field: str(flat[key]) for key, field in keys.items() if key in flat}
    for field, names in _VARIABLES.items():
        if field not in fields and (name := next((n for n in names.split() if flat.get(n) not in (None, "")), "")):
            fields[field] = _seconds(name, flat[name])
    if head and "time" not in fields and (time := _TIME.search(head)):
        fields["time"] = time[2] or ""
    if fields.get("status", "").isdigit() and "time" in fields and ("path" in fields or "request" in fields):
        return fields
    return {} if {"level", "msg", "message", "logger"} & set(flat) and "status" not in fields else None


def _seconds(name: str, value: object) -> str:
    if name in _NANOSECONDS and isinstance(value, int):
        return str(value / 1e9)
    return str(value)


def parse_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that *text* is; ``None`` for what is none, also where it is nested too deep to be read."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def flatten(entry: object, before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The members of a JSON object, those of objects in it by ``outer.inner``."""
    if not isinstance(entry, dict):
        return
    for key, value in entry.items():
        if isinstance(value, dict) and depth < 4:  # noqa: PLR2004  # deeper than any schema of log entries
            yield from flatten(value, f"{before}{key}.", depth + 1)
        else:
            yield f"{before}{key}", value


def method_of(fields: Mapping[str, str]) -> str:
    """``GET`` and the like; empty where the line has none."""
    first = fields.get("method") or fields.get("request", "").partition(" ")[0]
    return first if first.isalpha() and first.isupper() else ""


def path_of(fields: Mapping[str, str]) -> str:
    """The path without its query, as it was asked for."""
    if "path" in fields:
        return fields["path"].partition("?")[0]
    found = _REQUEST.match(fields.get("request", ""))
    return found[1] if found and found[1] else NO_PATH
