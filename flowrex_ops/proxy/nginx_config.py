"""NGINX's effective configuration: what holds for a WebSocket in each location, after includes and inheritance.

It is dumped by ``nginx -v -T`` where NGINX runs (what lies on disk there: the running NGINX has it only after a reload), or read
from a file here, and parsed by crossplane. Only the directives that decide over WebSockets leave this module.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.proxy.snippets import MANAGED_COLUMNS, list_managed
from flowrex_ops.reading import Source, reads
from flowrex_ops.settings import ProxySettings

LOCATION_COLUMNS = [
    "server",
    "listen",
    "location",
    "proxy_pass",
    "carries_websockets",
    "upgrade_header",
    "connection_header",
    "http_version",
    "read_timeout_seconds",
    "send_timeout_seconds",
    "worker_connections",
    "workers",
]
DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_WORKER_CONNECTIONS = 512
HTTP_1_1_SINCE = (1, 29, 7)
"""From this version on ``proxy_http_version`` is 1.1 where nothing is said (CHANGES of NGINX 1.29.7), 1.0 before."""

PATIENCE = 0.3
"""Share of the time limit for a question on the side: the format of the log that is being read."""

_MARK = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
_VERSION = re.compile(r"nginx/(\d+)\.(\d+)\.(\d+)")
_DURATION = re.compile(r"(\d+)(ms|[smhdwMy]?)")
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}

Directive = Mapping[str, Any]


class NginxSource(Source):
    """The proxy's configuration, read where the proxy runs."""

    name = "nginx"

    def __init__(self, stack: Stack, proxy: ProxySettings, path: str, *, limit_seconds: float, limit_rows: int) -> None:
        super().__init__(limit_seconds=limit_seconds, limit_rows=limit_rows)
        self._stack = stack
        self._proxy = proxy
        self._path = path
        self._named_path = path if "websocket_path" in proxy.model_fields_set else ""
        self.used_path: Callable[[], str] = str
        """Where clients opened WebSockets before, if anybody knows."""

    @reads("proxy configuration")
    def get_locations(self) -> pd.DataFrame:
        """One row a location that passes requests on; columns ``LOCATION_COLUMNS``, headers as they are set or empty.

        ``carries_websockets``: requests for the WebSocket path end there, or it sets the header ``Upgrade``.
        """
        files, version = self._read()
        rows = list(find_locations(files, self._path_in(files), version))
        if not rows:
            raise SourceUnavailableError(
                f"the configuration of '{self._proxy.service}' has no location that passes requests on;"
                " set proxy.service or proxy.configuration"
            )
        return pd.DataFrame(rows[: self.limit_rows], columns=LOCATION_COLUMNS)

    def find_path(self) -> str:
        """Where clients open WebSockets: by the settings, else by NGINX's own configuration, else the usual one."""
        try:
            return self._path_in(self._read(PATIENCE)[0])
        except (SourceUnavailableError, StackUnavailableError):
            return self._path_in({})

    def _path_in(self, files: Mapping[str, str]) -> str:
        return self._named_path or path_of_websockets(files) or self.used_path() or self._path

    def find_formats(self) -> list[str]:
        """Each ``log_format`` that an ``access_log`` uses, as NGINX writes it; none where nobody tells."""
        try:
            files, _ = self._read(PATIENCE)
            return list(log_formats(files))
        except (SourceUnavailableError, StackUnavailableError):
            return []  # then the lines have to tell

    @reads("changes to the proxy")
    def get_managed(self) -> pd.DataFrame:
        """One row a snippet that this tool has put into NGINX's configuration; columns ``MANAGED_COLUMNS``, times in UTC."""
        if self._proxy.control is None:
            raise SourceUnavailableError(
                "the proxy has no control folder; see docs/procedures.md and set proxy.control"
            )
        return pd.DataFrame(list_managed(self._proxy.control), columns=MANAGED_COLUMNS)

    def _read(self, share: float = 0.8) -> tuple[dict[str, str], tuple[int, ...]]:
        """The files by name, the main one first, and NGINX's version (empty where nobody told)."""
        if self.copy:
            text = self.copy()  # with what NGINX says on its other stream before it, or without
            found = _VERSION.search(text)
            whole = text[max(0, text.find("# configuration file")) :]
            return split_dump(whole), tuple(map(int, found.groups())) if found else ()
        if self._proxy.configuration:
            return read_files(self._proxy.configuration), ()
        replicas = [replica for replica in self._stack.get_replicas(self._proxy.service) if replica.running]
        if not replicas:
            raise SourceUnavailableError(
                f"service '{self._proxy.service}' has no running replica to ask; start it, or set proxy.configuration"
            )
        command = (*self._proxy.program, "-v", "-T")
        done = self._stack.execute(replicas[0], command, timeout_seconds=self.limit_seconds * share)
        if done.exit_code != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SourceUnavailableError(f"'{' '.join(command)}' failed in '{replicas[0].name}': {last[:200]}")
        found = _VERSION.search(done.stderr)
        return split_dump(done.stdout), tuple(map(int, found.groups())) if found else ()


def split_dump(dump: str) -> dict[str, str]:
    """What ``nginx -T`` prints, as text by file name; SourceUnavailableError where it is something else."""
    before, *parts = _MARK.split(dump)
    if before.strip() or not parts:
        raise SourceUnavailableError(
            "what came is no whole 'nginx -T'; set proxy.program to NGINX with its options, or proxy.configuration to a copy of it"
        )
    return dict(zip(parts[::2], parts[1::2], strict=True))


def read_files(main: Path) -> dict[str, str]:
    """The file and what it includes, as text by name; SourceUnavailableError where it cannot be read."""
    files: dict[str, str] = {}
    wanted = [main]
    while wanted:
        file = wanted.pop(0)
        if str(file) in files:
            continue
        try:
            files[str(file)] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceUnavailableError(f"'{file}' cannot be read: {error}; correct proxy.configuration") from None
        for pattern in re.findall(r"\binclude\s+([^;#\n]+);", files[str(file)]):
            wanted += sorted(Path("/").glob(str(main.parent.resolve() / pattern.strip())[1:]))
    return files


def log_formats(files: Mapping[str, str]) -> Iterator[str]:
    """The text of each format that is used; ``combined`` is NGINX's own and known."""
    directives = [one for name, text in files.items() for one in _everywhere(_parse(name, text))]
    used = {(one["args"] + ["", "combined"])[1] for one in directives if one["directive"] == "access_log"}
    for one in directives:
        if one["directive"] == "log_format" and one["args"][0] in used:
            yield "".join(part for part in one["args"][1:] if not part.startswith("escape="))


def path_of_websockets(files: Mapping[str, str]) -> str:
    """The one location that sets the header ``Upgrade``, as a path; empty where none does, several do, or ``/`` takes all."""
    every = [one for name, text in files.items() for one in _everywhere(_parse(name, text))]
    found = {
        one["args"][-1].lstrip("^").rstrip("$")
        for one in every
        if one["directive"] == "location" and one["args"] and _upgrades(one.get("block") or ())
    }
    path = found.pop() if len(found) == 1 else ""
    return path if re.fullmatch(r"/[\w./-]+", path) else ""


def _everywhere(block: Sequence[Directive]) -> Iterator[Directive]:
    for directive in block:
        yield directive
        yield from _everywhere(directive.get("block") or ())


def find_locations(files: Mapping[str, str], path: str, version: Sequence[int] = ()) -> Iterator[dict[str, Any]]:
    """Rows of ``LOCATION_COLUMNS``; SourceUnavailableError where the configuration cannot be parsed."""
    main = next(iter(files), "")
    parsed = {name: _parse(name, text) for name, text in files.items()}
    whole = list(_with_includes(parsed[main], parsed, PurePosixPath(main).parent)) if main else []
    events = _block(whole, "events")
    facts = {
        "worker_connections": int(_first(events, "worker_connections", str(DEFAULT_WORKER_CONNECTIONS))),
        "workers": _first(whole, "worker_processes", "1"),
    }
    http = _block(whole, "http") or whole  # a file of conf.d alone is what stands inside http
    top = _Scope(version=tuple(version), maps=_maps(http)).within(http)
    servers = [directive["block"] for directive in http if directive["directive"] == "server"]
    meant = [block for server in servers if (block := match_location(server, path)) is not None]
    own = [block for block in meant if _is_for(block, path, servers) or _upgrades(block)]
    targets = {_first(block, "proxy_pass", "") for block in own}
    for server in servers:
        names = _arguments(server, "server_name")
        listens = [" ".join(args) for args in _all(server, "listen")]
        scope = top.within(server)
        matched = match_location(server, path)
        for location, block, inner in _locations(server, scope):
            passed = _first(block, "proxy_pass", "") or _inside_ifs(block)
            if passed:
                row = inner.facts()
                # A server whose "/" alone fits is held to the path only where no other is meant for it, or leads elsewhere.
                meant_for = not own or any(block is one for one in own) or passed in targets
                carries = bool(row["upgrade_header"]) or (block is matched and meant_for)
                yield {
                    "server": " ".join(names) or "_",
                    "listen": ", ".join(listens) or "80",
                    "location": location,
                    "proxy_pass": passed,
                    "carries_websockets": carries,
                    **row,
                    **facts,
                }


def _is_for(block: Sequence[Directive], path: str, servers: Sequence[Sequence[Directive]]) -> bool:
    """Whether NGINX chooses *block* by more than the catch-all ``/``."""
    return any(
        match_location(server, path) is block and match_location(server, "/" + "-" * len(path)) is not block
        for server in servers
    )


def _upgrades(block: Sequence[Directive]) -> bool:
    return any(args[:1] and args[0].lower() == "upgrade" for args in _all(block, "proxy_set_header"))


@dataclass(frozen=True)
class _Scope:
    """What is in force at one level. Headers are inherited only by a level that sets none of its own (ngx_http_proxy_module)."""

    version: tuple[int, ...] = ()
    maps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def within(self, block: Sequence[Directive]) -> _Scope:
        """The scope of a block inside this one."""
        values = {**self.values, **{d["directive"]: d["args"][0] for d in block if _sets_value(d)}}
        own = {args[0].lower(): args[1] for args in _all(block, "proxy_set_header") if args[1:]}
        return _Scope(self.version, self.maps, values, own or self.headers)

    def facts(self) -> dict[str, Any]:
        default = "1.1" if self.version >= HTTP_1_1_SINCE else "1.0" if self.version else ""
        return {
            "upgrade_header": self._resolved(self.headers.get("upgrade", "")),
            "connection_header": self._resolved(self.headers.get("connection", "")),
            "http_version": self.values.get("proxy_http_version", default),
            "read_timeout_seconds": _seconds(self.values.get("proxy_read_timeout")),
            "send_timeout_seconds": _seconds(self.values.get("proxy_send_timeout")),
        }

    def _resolved(self, value: str) -> str:
        """The value that an upgrade request gets: for a variable of a ``map``, the map's default."""
        return next(iter(self.maps.get(value, ())), value)


def match_location(block: Sequence[Directive], path: str) -> Sequence[Directive] | None:
    """The block of the location that NGINX chooses for *path*, in its own order: exact, ``^~``, regular expressions, longest prefix."""
    longest: tuple[int, bool, Sequence[Directive]] | None = None
    expressions = []
    for directive in block:
        if directive["directive"] != "location" or not directive["args"]:
            continue
        *modifier, pattern = directive["args"]
        kind = modifier[0] if modifier else ""
        inner: Sequence[Directive] = directive["block"]
        if kind == "=" and pattern == path:
            return inner
        if kind in ("~", "~*"):
            expressions.append((pattern, re.IGNORECASE if kind == "~*" else re.NOFLAG, inner))
        elif (
            kind in ("", "^~")
            and path.startswith(pattern)
            and not pattern.startswith("@")
            and (longest is None or len(pattern) > longest[0])
        ):
            longest = (len(pattern), kind == "^~", inner)
    if longest is None or not longest[1]:
        for pattern, flags, inner in expressions:
            if _searches(pattern, flags, path):
                return match_location(inner, path) or inner
    return (match_location(longest[2], path) or longest[2]) if longest else None


def _searches(pattern: str, flags: re.RegexFlag, path: str) -> bool:
    try:
        return re.search(pattern, path, flags) is not None
    except re.error:
        return False  # PCRE knows more than Python's re


def _parse(name: str, text: str) -> list[Directive]:
    import crossplane

    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Includes are followed here, not by crossplane: the files lie on the proxy's machine.
        payload = crossplane.parse(file.name, single=True, check_ctx=False, check_args=False)
    if payload["errors"]:
        reason = str(payload["errors"][0]["error"]).replace(file.name, name)
        raise SourceUnavailableError(f"'{name}' cannot be parsed: {reason}; check it with 'nginx -t'")
    return list(payload["config"][0]["parsed"])


def _with_includes(
    block: Sequence[Directive], files: Mapping[str, Sequence[Directive]], folder: PurePosixPath, depth: int = 0
) -> Iterator[Directive]:
    """*block* with what it includes in its place; a file that includes itself is followed so far and no further."""
    for directive in block:
        if directive["directive"] == "include" and directive["args"] and depth < 10:  # noqa: PLR2004  # includes that include themselves
            pattern = str(folder / directive["args"][0])
            for name in sorted(name for name in files if PurePosixPath(name).match(pattern)):
                yield from _with_includes(files[name], files, folder, depth + 1)
        elif "block" in directive:
            yield {**directive, "block": list(_with_includes(directive["block"], files, folder, depth))}
        else:
            yield directive


def _locations(block: Sequence[Directive], scope: _Scope) -> Iterator[tuple[str, Sequence[Directive], _Scope]]:
    """Every location in a server, nested ones too: as written, its block, what is in force in it."""
    for directive in block:
        if directive["directive"] == "location":
            inner = scope.within(directive["block"])
            yield " ".join(directive["args"]), directive["block"], inner
            yield from _locations(directive["block"], inner)


def _maps(http: Sequence[Directive]) -> dict[str, list[str]]:
    """What ``map $http_upgrade $name { … }`` gives a request that asks for an upgrade: by ``$name``, its values."""
    found = {}
    for directive in http:
        if directive["directive"] == "map" and directive["args"][:1] == ["$http_upgrade"]:
            values = {d["directive"]: d["args"][0] for d in directive["block"] if d["args"]}
            fits = [
                key for key in values if key.startswith("~") and _searches(key.lstrip("~*"), re.IGNORECASE, "websocket")
            ]
            found[directive["args"][1]] = [values[key] for key in ("websocket", *fits, "default") if key in values]
    return found


def _sets_value(directive: Directive) -> bool:
    return directive["directive"].startswith("proxy_") and len(directive["args"]) == 1


def _inside_ifs(block: Sequence[Directive]) -> str:
    """``proxy_pass`` inside an ``if`` or ``limit_except`` of a location."""
    inner = [d["block"] for d in block if d["directive"] in ("if", "limit_except") and "block" in d]
    return next((passed for one in inner if (passed := _first(one, "proxy_pass", ""))), "")


def _all(block: Sequence[Directive], name: str) -> list[list[str]]:
    return [directive["args"] for directive in block if directive["directive"] == name]


def _arguments(block: Sequence[Directive], name: str) -> list[str]:
    return [argument for arguments in _all(block, name) for argument in arguments]


def _first(block: Sequence[Directive], name: str, default: str) -> str:
    return next((arguments[0] for arguments in _all(block, name) if arguments), default)


def _block(block: Sequence[Directive], name: str) -> list[Directive]:
    return [inner for directive in block if directive["directive"] == name for inner in directive.get("block", ())]


def _seconds(text: str | None) -> float:
    """``3600s``, ``1h30m``, ``60``: NGINX's durations in seconds."""
    if text is None:
        return DEFAULT_TIMEOUT_SECONDS
    parts = _DURATION.findall(text.replace(" ", ""))
    return float(sum(int(number) * _SECONDS[unit] for number, unit in parts)) if parts else DEFAULT_TIMEOUT_SECONDS
