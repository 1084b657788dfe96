"""The machine below the replicas, by the kernel's own files: they show the host also from inside a container."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.reading import Source, reads

FILES = ("/proc/meminfo", "/proc/pressure/memory", "/proc/vmstat")
_PRESSURE = re.compile(r"(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+)")
_FIELD = re.compile(r"^(?:[^:\n]*:)?(\w+)(?::\s+|\s)(\d+)(?: kB)?$", re.MULTILINE)
_KIB = 1024


@dataclass(frozen=True, slots=True)
class HostMemory:
    """The machine's memory. Pressure is the share of time (percent) in which some, or all, tasks waited for memory.

    It is None where the kernel does not measure it (PSI, https://docs.kernel.org/accounting/psi.html). ``oom_kills``
    counts since the machine started, whoever was killed.
    """

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    some_avg10: float | None = None
    some_avg60: float | None = None
    full_avg10: float | None = None
    oom_kills: int | None = None

    @property
    def available_share(self) -> float:
        """The part of the memory that can be had without swapping."""
        return self.available_bytes / self.total_bytes if self.total_bytes > 0 else 0.0


class HostSource(Source):
    """Read in a running replica of *service*, so that it is the platform's machine and not the one of who asks."""

    name = "host"

    def __init__(self, stack: Stack, service: str, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack, self._service = stack, service

    @reads("memory pressure")
    def get_memory(self) -> HostMemory:
        """Memory, swap and pressure of the machine; of the first replica's where there are several."""
        running = [replica for replica in self._stack.get_replicas(self._service) if replica.running]
        if not running:
            raise SourceUnavailableError(
                f"no replica of '{self._service}' runs to read it in; by hand: cat {' '.join(FILES)}"
            )
        done = self._stack.execute(
            running[0], ["grep", "-s", "-H", "", *FILES], timeout_seconds=self.limit_seconds * 0.8
        )
        return parse_host(done.stdout)


def parse_host(text: str) -> HostMemory:
    """``grep -H`` over ``FILES`` (or the files' bare text). ValueError where the memory's size is not among it."""
    fields = {name: int(value) for name, value in _FIELD.findall(text)}
    if "MemTotal" not in fields or "MemAvailable" not in fields:
        raise ValueError("/proc/meminfo tells no MemTotal and MemAvailable")
    pressure = {kind: (float(ten), float(sixty)) for kind, ten, sixty, _ in _PRESSURE.findall(text)}
    some, full = pressure.get("some"), pressure.get("full")
    return HostMemory(
        total_bytes=fields["MemTotal"] * _KIB,
        available_bytes=fields["MemAvailable"] * _KIB,
        swap_total_bytes=fields.get("SwapTotal", 0) * _KIB,
        swap_free_bytes=fields.get("SwapFree", 0) * _KIB,
        some_avg10=some[0] if some else None,
        some_avg60=some[1] if some else None,
        full_avg10=full[0] if full else None,
        oom_kills=fields.get("oom_kill"),
    )


def host_frame(host: HostMemory) -> pd.DataFrame:
    """One row a number, as people read them: what, value."""
    percent = {
        "time in which some tasks waited for memory, last 10 s": host.some_avg10,
        "time in which some tasks waited for memory, last 60 s": host.some_avg60,
        "time in which all tasks waited for memory, last 10 s": host.full_avg10,
    }
    rows = [("memory available", f"{host.available_bytes / 2**30:.1f} of {host.total_bytes / 2**30:.1f} GiB")]
    used_swap = (host.swap_total_bytes - host.swap_free_bytes) / 2**30
    rows.append(
        (
            "swap used",
            f"{used_swap:.1f} of {host.swap_total_bytes / 2**30:.1f} GiB" if host.swap_total_bytes else "none",
        )
    )
    rows += [
        (what, "not measured by this kernel" if value is None else f"{value:.1f} %") for what, value in percent.items()
    ]
    kills = "not told" if host.oom_kills is None else str(host.oom_kills)
    return pd.DataFrame([*rows, ("OOM kills since the machine started", kills)], columns=["what", "value"])
