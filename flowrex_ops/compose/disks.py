"""Filesystems: as ``df`` in a container tells them, and as this machine does."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from flowrex_ops.model import Disk

DF = ("df", "-P", "-k")
_NOT_WRITTEN_TO = ("/dev", "/proc", "/sys", "/run")
_COLUMNS = 6


def parse_df(where: str, text: str) -> list[Disk]:
    """What ``df -P -k`` (POSIX) says, without the kernel's own filesystems and single files that are mounted."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split(None, _COLUMNS - 1)
        if len(words) < _COLUMNS or not words[1].isdigit() or not words[2].isdigit() or not words[3].isdigit():
            continue
        mount, used, free = words[5], int(words[2]), int(words[3])
        if not mount.startswith(_NOT_WRITTEN_TO) and not mount.startswith("/etc/") and used + free:
            found.append(Disk(where, mount, used * 1024, (used + free) * 1024))
    return found


def each_once(disks: Iterable[Disk]) -> list[Disk]:
    """Containers share the disk beneath them: of several that look alike, the first."""
    found = {(disk.used_bytes >> 24, disk.total_bytes): disk for disk in reversed(list(disks))}
    return sorted(found.values(), key=lambda disk: (disk.where, disk.mount))


def local_disks(folders: Iterable[Path]) -> list[Disk]:
    """The filesystems under *folders* of this machine, each once."""
    found: dict[int, Disk] = {}
    for folder in folders:
        try:
            usage, device = shutil.disk_usage(folder), folder.stat().st_dev
        except OSError:
            continue
        found.setdefault(device, Disk("this machine", str(folder), usage.used, usage.used + usage.free))
    return list(found.values())
