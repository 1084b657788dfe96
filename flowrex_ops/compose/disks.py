"""Filesystems: as ``df`` in a container tells them, and as this machine does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from flowrex_ops.model import Disk

DF = ("df", "-P", "-k")
LOOK = ("sh", "-c", "cat /proc/mounts; echo =; df -P -i; echo =; df -P -k")
"""All in one; what is cut of too long an output is its beginning. Where there is no shell, ``DF`` alone."""
NOT_STARTED = (126, 127)
_ON_DISK = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "jfs")
"""The kernel mounts these read-only after an error; others may be so from their start (``man 5 proc``, /proc/pid/mounts)."""
_NOT_WRITTEN_TO = ("/dev", "/proc", "/sys", "/run")
_COLUMNS = 6


def parse_look(where: str, text: str, writable: Collection[str] = ()) -> list[Disk]:
    """What ``LOOK`` or ``DF`` says, without the kernel's own filesystems and single files that are mounted.

    *writable* is where the container's definition mounts something to be written to. ``df`` tells of each device once, so that
    one which is read-only may have a row of its own, without sizes.
    """
    *others, blocks = text.split("\n=\n")
    mounts, inodes = others if len(others) == len(("mounts", "inodes")) else (None, "")
    read_only = None if mounts is None else _read_only(mounts) & set(writable)
    counted = _parse_df(inodes)
    found = []
    for mount, (used, free) in _parse_df(blocks).items():
        if not mount.startswith(_NOT_WRITTEN_TO) and not mount.startswith("/etc/") and used + free:
            used_inodes, free_inodes = counted.get(mount, (None, None))
            total = None if used_inodes is None or free_inodes is None else used_inodes + free_inodes
            stuck = None if read_only is None else mount in read_only
            found.append(Disk(where, mount, used * 1024, (used + free) * 1024, used_inodes, total, stuck))
    unlisted = sorted((read_only or set()) - {disk.mount for disk in found})
    return found + [Disk(where, mount, 0, 0, 0, 0, read_only=True) for mount in unlisted]


def _parse_df(text: str) -> dict[str, tuple[int, int]]:
    """Mount to what is used and free by ``df -P`` (POSIX); a dash, for what the filesystem does not count, is 0."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split(None, _COLUMNS - 1)
        counts = [0 if word == "-" else int(word) for word in words[1:4] if word == "-" or word.isdigit()]
        if len(words) == _COLUMNS and len(counts) == len(("total", "used", "free")):
            found[words[5]] = (counts[1], counts[2])
    return found


def _read_only(mounts: str) -> set[str]:
    """Where a disk is mounted read-only, by the device's state or the mount's."""
    rows = [line.split() for line in mounts.splitlines()]
    return {row[1] for row in rows if len(row) == _COLUMNS and row[2] in _ON_DISK and row[3].split(",")[0] == "ro"}


def each_once(disks: Iterable[Disk]) -> list[Disk]:
    """Containers share the disk beneath them: of several that look alike, the fullest, and of those the first."""
    ordered = sorted(disks, key=lambda disk: disk.used_bytes, reverse=True)[::-1]
    found = {(disk.used_bytes >> 24, disk.total_bytes, disk.read_only): disk for disk in ordered}
    return sorted(found.values(), key=lambda disk: (disk.where, disk.mount))


def local_disks(folders: Iterable[Path]) -> list[Disk]:
    """The filesystems under *folders* of this machine, each once."""
    found: dict[int, Disk] = {}
    for folder in folders:
        try:
            usage, device, told = shutil.disk_usage(folder), folder.stat().st_dev, os.statvfs(folder)
        except OSError:
            continue
        inodes, read_only = told.f_files - told.f_ffree, bool(told.f_flag & os.ST_RDONLY)
        sizes = (usage.used, usage.used + usage.free, inodes, told.f_files)
        found.setdefault(device, Disk("this machine", str(folder), *sizes, read_only))
    return list(found.values())
