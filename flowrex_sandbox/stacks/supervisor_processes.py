"""What supervisord itself does not tell of its programs: what they use, and how often they ended by themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flowrex_ops.model import Usage

if TYPE_CHECKING:
    import psutil

_EVENT = re.compile(r"(exited|stopped): (\S+) \(([^)]*)\)")


Children = Mapping[int, Sequence["psutil.Process"]]


def read_children() -> Children:
    """Every process of this machine by the number of its parent: one look at ``/proc`` for all who ask for families."""
    import psutil

    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process)
    return children


def read_usage(
    service: str, name: str, pid: int, limit_bytes: int | None = None, *, children: Children
) -> Usage | None:
    """Resident memory and CPU time of a process and all that descend from it; ``None`` when it has just gone.

    PostgreSQL's processes share memory, so the proportional set size is summed where the kernel tells it (proc(5),
    ``/proc/pid/smaps_rollup``), and the resident one where it does not.
    """
    import psutil

    try:
        family = [psutil.Process(pid)]
    except psutil.Error:
        return None
    for process in family:  # grows as it is walked
        family += children.get(process.pid, ())
    memory, seconds = 0, 0.0
    for process in family:
        try:
            memory += _memory(process)
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system
    return Usage(service, name, memory, limit_bytes, seconds)


def _memory(process: object) -> int:
    import psutil

    try:
        return int(process.memory_full_info().pss)  # type: ignore[attr-defined]  # psutil has no types
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)  # type: ignore[attr-defined]  # psutil has no types


def count_restarts(log: str) -> Counter[str]:
    """How often each process ended unasked since it was last stopped on purpose, by supervisord's own log.

    supervisord writes ``exited: backend-1 (terminated by SIGKILL; not expected)`` and ``stopped: backend-1 (…)``
    (http://supervisord.org/logging.html).
    """
    restarts: Counter[str] = Counter()
    for what, name, how in _EVENT.findall(log):
        if what == "stopped":
            restarts.pop(name, None)
        elif "not expected" in how:
            restarts[name] += 1
    return restarts
