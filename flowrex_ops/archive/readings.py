"""The readings of a run, kept typed and redacted beside its record, and given again instead of asking anybody.

One line of JSON for each reading, in a gzip member of its own: a run that is killed keeps those that it had.
"""

from __future__ import annotations

import gzip
import json
import os
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flowrex_ops.archive.codec import KIND, decode, encode
from flowrex_ops.discovery.endpoints import Endpoints
from flowrex_ops.errors import ParameterError, StackUnavailableError
from flowrex_ops.model import Definition, Reading, Replica
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.redaction.secret_names import is_secret_name
from flowrex_ops.settings import Settings

if TYPE_CHECKING:
    from flowrex_ops.compose import Stack

SUFFIX = "-readings.jsonl.gz"
REPLAY = "FLOWREX_OPS_REPLAY"
"""Environment variable of a kernel that is to ask nobody: the path of the readings that it is given."""
MOST_BYTES = 4 * 2**20
"""Of one reading as text; a larger one is noted as left out."""
ALL_BYTES = 32 * 2**20
_FIELDS = ("source", "what", "asked", "error", "code", "truncated", "seconds")


class Capture:
    """Appends readings to the file of one record. Whatever goes wrong costs the capture, never the run."""

    def __init__(self, file: Path, redactor: Redactor) -> None:
        self._file, self._redactor, self._lock = file, redactor, threading.Lock()
        self._left = ALL_BYTES

    def write(self, reading: Reading[Any]) -> None:
        """Append one reading; one that cannot be kept says why in its place."""
        facts: dict[str, Any] = {name: getattr(reading, name) for name in _FIELDS}
        facts = self._redactor.json(facts) | {"taken_at": reading.taken_at.isoformat(), "value": None}
        try:
            text = json.dumps({**facts, "value": self._redacted(encode(reading.value))}, separators=(",", ":"))
            if len(text) > MOST_BYTES:
                raise TypeError(f"{len(text) / 2**20:.0f} MB are more than is kept of one reading")  # one way out
        except TypeError as error:
            text = json.dumps({**facts, "error": facts["error"] or f"it was read, and not kept: {error}"})
        with self._lock:
            self._left -= len(text)
            if self._left < 0:
                return
            try:
                self._file.parent.mkdir(exist_ok=True)
                with self._file.open("ab") as out:
                    out.write(gzip.compress(text.encode() + b"\n", 3, mtime=0))
            except OSError:  # a full disk: the record says so where it matters
                self._left = 0

    def _redacted(self, value: Any) -> Any:
        """As the redactor has it, but for columns of numbers, of which there are many and in which no secret fits."""
        if isinstance(value, dict) and value.get(KIND) == "table":
            columns = [
                [name, cells if _is_of_numbers(dtype) and not is_secret_name(str(name)) else self._redactor.json(cells)]
                for dtype, (name, cells) in zip(value["dtypes"], value["columns"], strict=True)
            ]
            return {**value, "columns": columns, "index": self._redactor.json(value["index"])}
        if isinstance(value, dict) and value.get(KIND) == "class":
            own = {
                name: self._redacted(item) if isinstance(item, dict) else self._redactor.json({name: item})[name]
                for name, item in value["fields"].items()
            }
            return {**value, "fields": own}
        return self._redactor.json(value)


def _is_of_numbers(dtype: str) -> bool:
    return dtype.startswith(("float", "int", "uint", "bool", "datetime64"))


class Replay:
    """Answers each reading as it was answered then; what was not asked then is unavailable, for that reason."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._answers: dict[tuple[str, str], list[Reading[Any]]] = defaultdict(list)
        self._lock = threading.Lock()
        for reading in _readings(file):
            self._answers[reading.source, reading.what].append(reading)
        self.taken_at = min((one.taken_at for some in self._answers.values() for one in some), default=None)

    def answer(self, source: str, what: str, asked: str) -> Reading[Any]:
        """The next answer to the same question, else to the same kind of question; the last one is given again."""
        with self._lock:
            known = self._answers.get((source, what), [])
            same = [one for one in known if one.asked == asked] or known
            if not same:
                return Reading(source, what, error="it was not asked when these readings were captured")
            if len(known) > 1:  # the last one stays
                self._answers[source, what] = [one for one in known if one is not same[0]]
            return replace(same[0], asked=asked)


def captures_in(folder: Path) -> list[Path]:
    """The files of readings below *folder*, but for those that are being written."""
    found = sorted(folder.rglob(f"*{SUFFIX}"))
    return [file for file in found if not any(part[0] == "." for part in file.relative_to(folder).parts)]


def readings_of(path: str, outputs: Path, runbook: str = "") -> Path:
    """The file of readings that *path* names: itself, that of a record's notebook or id, or the newest of *runbook* in a folder.

    A folder without readings is returned as it is: it may hold copies. ParameterError else.
    """
    given = Path(path)
    if given.is_dir():
        every = sorted(captures_in(given), key=lambda file: file.stat().st_mtime)
        own = [file for file in every if file.name.removesuffix(SUFFIX).partition("-")[2] == runbook]
        if every and not own:
            raise ParameterError(f"'{given}' has no readings of {runbook}; give a runbook that was captured there")
        return own[-1].resolve() if own else given.resolve()
    tried = [given, given.parent.parent / "evidence" / f"{given.stem}{SUFFIX}"]
    if path.count("/") == 1:
        folder, _, record = path.partition("/")
        tried += sorted((outputs / folder / "evidence").glob(f"{record}*{SUFFIX}"))
    found = next((file for file in tried if file.name.endswith(SUFFIX) and file.is_file()), None)
    if found is None:
        raise ParameterError(
            f"there are no readings of '{path}'; give a record, such as INC-20260131-0412-a1b2/001-triage, its notebook, a file *{SUFFIX}, or a folder of copied files"
        )
    if next(_readings(found), None) is None:
        raise ParameterError(f"no reading can be read in '{found}'; was it cut off, or is it of another making?")
    return found.resolve()


def platform_reading(endpoints: Endpoints) -> Reading[dict[str, Any]]:
    """What else a run knows of its platform, as a reading: what it is called, its services, where they were found, its replicas."""
    settings = endpoints.settings
    known = {
        "platform": settings.platform,
        "backend": settings.backend.service,
        "redis": settings.redis.service,
        "proxy": settings.proxy.service,
        "front_door": settings.front_door.service,
        "may_be_absent": list(settings.stack.may_be_absent),
        "warn_days": settings.tls.warn_days,
        "stack_line": endpoints.stack_line,
        "origins": dict(endpoints.origins),
        "application_role": endpoints.application_role,
        "replicas": [_without_environment(replica) for replica in endpoints.replicas],
    }
    return Reading(*_PLATFORM, known)


def endpoints_of(replay: Replay, settings: Settings) -> Endpoints:
    """The platform as it was captured, in place of one that is discovered; its stack has the replicas of then, and refuses whatever else it is asked."""
    known = replay.answer(*_PLATFORM, "").value or {}
    settings = without_addresses(settings)
    sections = {name: known.get(name) for name in ("backend", "redis", "proxy", "front_door")}
    update: dict[str, Any] = {
        name: getattr(settings, name).model_copy(update={"service": service})
        for name, service in sections.items()
        if service
    }
    update["stack"] = settings.stack.model_copy(update={"may_be_absent": tuple(known.get("may_be_absent", ()))})
    update["tls"] = settings.tls.model_copy(update={"warn_days": known.get("warn_days", settings.tls.warn_days)})
    replicas = tuple(known.get("replicas", ()))
    update["platform"] = known.get("platform", settings.platform)
    return Endpoints(
        stack=cast("Stack", _PastStack(replicas)),
        stack_line=f"{known.get('stack_line', 'unknown')}, as it was at {replay.taken_at or 'a time that is not known'}",
        replicas=replicas,
        origins=known.get("origins", {}),
        application_role=known.get("application_role", ""),
        settings=settings.model_copy(update=update),
    )


def without_addresses(settings: Settings) -> Settings:
    """*settings* that lead to nobody: what is judged is over, and those that answer today are others."""
    nobody: dict[str, dict[str, Any]] = {
        "postgres": dict.fromkeys(("dsn", "admin_dsn", "reserve_dsn")),
        "redis": {"url": None},
        "backend": {"urls": ()},
        "proxy": {"control": None, "configuration": None},
    }
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=fields) for name, fields in nobody.items()}
    )


def _without_environment(replica: Replica) -> Replica:
    return replace(replica, definition=Definition(labels=replica.definition.labels))


_PLATFORM = ("investigation", "platform")


class _PastStack:
    kind = "replay"

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        return [replica for replica in self._replicas if service in (None, replica.service)]

    def __getattr__(self, name: str) -> Any:
        raise StackUnavailableError("this is a replay: nothing is asked, and nothing is changed")


def replayed() -> Replay | None:
    """What this kernel is to be given instead of asking; None where it asks."""
    file = os.environ.get(REPLAY)
    return Replay(Path(file)) if file and not Path(file).is_dir() else None


def _readings(file: Path) -> Iterator[Reading[Any]]:
    """As many as can be read, whoever made them: of a run that was killed the last may be cut off. No more than a capture may hold."""
    left = 2 * ALL_BYTES
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            while left > 0 and (line := lines.readline(2 * MOST_BYTES)):
                left -= len(line)
                yield _reading(json.loads(line))
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    except OSError as error:
        raise ParameterError(f"'{file}' cannot be read: {error}") from None


def _reading(facts: dict[str, Any]) -> Reading[Any]:
    error = facts.get("error")
    try:
        value = decode(facts.get("value"))
    except ValueError as problem:
        value, error = None, error or f"what was captured cannot be understood: {problem}"
    if value is None and error is None:
        error = "nothing was captured of it"
    return Reading(
        source=str(facts.get("source")),
        what=str(facts.get("what")),
        value=value,
        error=error,
        code=facts.get("code"),
        truncated=bool(facts.get("truncated")),
        seconds=float(facts.get("seconds") or 0),
        taken_at=datetime.fromisoformat(facts["taken_at"]),
        asked=str(facts.get("asked") or ""),
    )
