"""A log entry of fields, in JSON or logfmt, whichever of the usual schemas it follows: Python's JSON loggers, structlog, loguru, ECS, OpenTelemetry, pino."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowrex_ops.logs.access_format import flatten, parse_object
from flowrex_ops.logs.tracebacks import HEADING

_LEVELS = (
    "level",
    "levelname",
    "severity",
    "log.level",
    "record.level.name",
    "severity_text",
    "severitytext",
    "level_name",
    "loglevel",
    "lvl",
)
_MESSAGES = ("record.message", "message", "msg", "event", "body", "body.stringvalue", "text")
_TRACEBACKS = (
    "exc_info", "exception", "traceback", "stack_trace", "stack", "error.stack_trace", "error.stack", "exc_text", "err.stack",
    "exception.stacktrace", "attributes.exception.stacktrace", "exception.traceback",
)  # fmt: skip
_TYPES = ("error.type", "exception.type", "attributes.exception.type", "exc_type", "record.exception.type", "err.type")
_REASONS = (
    "error.message",
    "exception.message",
    "attributes.exception.message",
    "exc_value",
    "record.exception.value",
    "err.message",
)
_WHY = ("error", "err", "reason", "exc", "cause")
"""What a handler that has caught an exception adds to its words, with no traceback: ``error=str(error)``."""
_URLS = ("url", "request.url", "http.url", "url.full", "target")
_REFUSAL = re.compile(r"40[137]|429|5\d\d")
_LEFT_ALONE = ("", "TRACE", "DEBUG", "INFO", "NOTICE")
_STATUSES = (
    "status",
    "status_code",
    "http.response.status_code",
    "response.status",
    "response.status_code",
    "http.status_code",
    "attributes.http.response.status_code",
    "attributes.http.status_code",
)
_PATHS = (
    "route",
    "path",
    "http.route",
    "url.path",
    "request.path",
    "request_path",
    "http.target",
    "uri",
    "attributes.http.route",
    "attributes.url.path",
    "attributes.http.target",
    "request.url.path",
)
_METHODS = (
    "method",
    "http.method",
    "http.request.method",
    "request.method",
    "request_method",
    "attributes.http.request.method",
)
_ERROR_LEVELS = ("ERROR", "ERR", "CRITICAL", "FATAL", "SEVERE", "ALERT", "EMERGENCY", "PANIC")
_NUMBERED_ERRORS = 40
_PINO_ERRORS = 50
"""Pino and Bunyan count in tens too, one step higher than Python; theirs come with ``pid`` and ``hostname``."""


_PAIR = re.compile(r'([A-Za-z_][\w.-]*)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
_LOGFMT = re.compile(rf"(?:time|ts|timestamp|level|t|at)=(?=.*?\s(?:{'|'.join(_MESSAGES[1:4])})=)")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class JsonEntry:
    """``status`` is 0 and ``path`` empty where it tells of no request; ``traceback`` are its lines."""

    message: str
    is_error: bool
    traceback: tuple[str, ...]
    method: str
    path: str
    status: int

    @staticmethod
    def of(text: str) -> JsonEntry | None:
        """The entry; ``None`` for what is neither a JSON object nor logfmt."""
        entry = parse_object(text) if text[:1] == "{" else _parse_logfmt(text)
        if entry is None:
            return None
        found = {key.lower(): value for key, value in flatten(entry)}
        found |= {f"attributes.{name}": value for name, value in _pairs(found.get("attributes"))}
        traceback = _traceback(found)
        message = str(_first(found, _MESSAGES) or "")
        if not traceback and isinstance(why := _first(found, _WHY), str) and why not in message:
            message = f"{message}: {why}".removeprefix(": ")
        status = str(_first(found, _STATUSES) or "")
        refused = _refused(found, status)
        return JsonEntry(
            message.partition("\n")[0] + refused,
            _is_error(found) or bool(refused) or any(HEADING in line for line in traceback),
            tuple(traceback),
            str(_first(found, _METHODS) or "").upper(),
            str(_first(found, _PATHS) or ""),
            int(status) if status.isdigit() and len(status) == len("200") else 0,
        )


def _refused(found: Mapping[str, Any], status: str) -> str:
    """In the words of requests what a warning's fields tell of an answer that was asked for elsewhere, of which a handler made the best."""
    url = str(_first(found, _URLS) or "")
    quiet = str(_first(found, _LEVELS) or "").upper() in _LEFT_ALONE
    return (
        f": {status} Client Error: refused for url: {url}"
        if "://" in url and _REFUSAL.fullmatch(status) and not quiet
        else ""
    )


def excerpt(text: str) -> str:
    """Of an entry in JSON what was said, and the last line of its traceback, for its beginning tells nothing; any other as it is."""
    entry = JsonEntry.of(text) if text[:1] == "{" else None
    return ": ".join([entry.message, *entry.traceback[-1:]]) if entry else text


def has_fields(text: str) -> bool:
    """Whether a line has the look of JSON, or of logfmt: ``level=error msg="not booked" path=/x``."""
    return text[:1] == "{" or bool(_LOGFMT.match(text))


def _parse_logfmt(text: str) -> dict[str, Any]:
    spelled = {"n": "\n", "t": "\t"}
    return {
        name: _ESCAPE.sub(lambda found: spelled.get(found[1], found[1]), quoted) or plain
        for name, quoted, plain in _PAIR.findall(text)
    }


def _first(found: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((found[name] for name in names if found.get(name) not in (None, "", [], {})), None)


def _pairs(attributes: object) -> list[tuple[str, Any]]:
    """OTLP's ``[{"key": …, "value": {"stringValue": …}}]``."""
    items = attributes if isinstance(attributes, list) else []
    return [
        (str(item["key"]), next(iter(item["value"].values()), ""))
        for item in items
        if isinstance(item, dict) and "key" in item and isinstance(item.get("value"), dict)
    ]


def _is_error(found: Mapping[str, Any]) -> bool:
    level = _first(found, _LEVELS)
    if isinstance(level, int):
        return level >= (_PINO_ERRORS if "hostname" in found and "pid" in found else _NUMBERED_ERRORS)
    return str(level or "").upper() in _ERROR_LEVELS


def _traceback(found: Mapping[str, Any]) -> list[str]:
    """The lines of its traceback, wherever it stands; made up from the exception's type where there is none."""
    for name in _TRACEBACKS:
        value = found.get(name)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return _of_structlog(value)
        if isinstance(value, list):
            return [line for item in value for line in str(item).splitlines()]
        if isinstance(value, str) and value:
            return value.splitlines()
    written = next((value for value in found.values() if isinstance(value, str) and HEADING in value), "")
    if written:
        return written[written.index(HEADING) :].splitlines()
    kind = _first(found, _TYPES)
    return [f"{HEADING}:", f"{kind}: {_first(found, _REASONS) or ''}"] if isinstance(kind, str) else []


def _of_structlog(chain: Sequence[Mapping[str, Any]]) -> list[str]:
    """``dict_tracebacks``: a list of exceptions, the one that the caller saw first."""
    lines: list[str] = []
    for one in reversed(chain):
        lines.append(f"{HEADING}:")
        lines += [
            f'  File "{frame.get("filename")}", line {frame.get("lineno", 0)}, in {frame.get("name")}'
            for frame in one.get("frames") or ()
        ]
        lines.append(f"{one.get('exc_type') or one.get('type')}: {one.get('exc_value') or one.get('value') or ''}")
    return lines
