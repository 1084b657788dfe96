"""What a container says of its filesystems, by coreutils, by busybox, and where it has no shell."""

from __future__ import annotations

import subprocess

from flowrex_ops.compose.disks import DF, LOOK, each_once, parse_look
from flowrex_ops.model import Disk

POSTGRES = """overlay / overlay rw,relatime,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B 0 0
proc /proc proc rw,nosuid 0 0
/dev/sda1 /etc/hosts ext4 ro,relatime 0 0
/dev/sdb1 /var/lib/postgresql/data ext4 ro,relatime,errors=remount-ro 0 0
/dev/sdb1 /rootfs ext4 ro,relatime 0 0
/dev/sr0 /var/lib/maps iso9660 ro,relatime 0 0
=
Filesystem      Inodes  IUsed   IFree IUse% Mounted on
overlay        6553600 655360 5898240   10% /
/dev/sda1      6553600 655360 5898240   10% /etc/hosts
=
Filesystem     1024-blocks     Used Available Capacity Mounted on
overlay          102687672 45129140  52296272      47% /
/dev/sda1        102687672 45129140  52296272      47% /etc/hosts
"""

ON_BTRFS = """overlay / overlay rw,relatime 0 0
=
Filesystem              Inodes      Used Available Capacity Mounted on
overlay                      0         0         0   0% /
=
Filesystem           1024-blocks    Used Available Capacity Mounted on
overlay               487652352 212345678 274113634  44% /
"""

WRITABLE = ("/var/lib/postgresql/data", "/var/lib/maps")


def test_a_volume_that_became_read_only_though_df_does_not_list_it() -> None:
    """``df`` tells of each device once. What is mounted read-only on purpose, or is so by its kind, is none."""
    root, data = parse_look("postgres-1", POSTGRES, WRITABLE)
    assert (root.mount, root.inodes_used, root.inodes_total, root.read_only) == ("/", 655360, 6553600, False)
    assert (data.mount, data.read_only) == ("/var/lib/postgresql/data", True)


def test_a_filesystem_without_a_number_of_inodes() -> None:
    """As busybox prints it; coreutils print a dash."""
    for text in (ON_BTRFS, ON_BTRFS.replace("0         0         0   0%", "-         -         -   -")):
        (root,) = parse_look("redis-1", text)
        assert (root.total_bytes > 0, root.inodes_total, root.read_only) == (True, 0, False)


def test_without_a_shell_there_is_df_alone() -> None:
    (root,) = parse_look("redis-1", ON_BTRFS.rsplit("=\n", maxsplit=1)[-1])
    assert (root.mount, root.inodes_total, root.read_only) == ("/", None, None)


def test_as_this_machine_says_it() -> None:
    """The same filesystems, whichever way they are asked for."""
    look, df = (
        parse_look("here", subprocess.run(command, capture_output=True, text=True, check=False).stdout)
        for command in (LOOK, DF)
    )
    assert [disk.mount for disk in look] == [disk.mount for disk in df]
    assert all(disk.inodes_total is not None and disk.read_only is False for disk in look)


def test_of_filesystems_that_look_alike_the_fullest_is_told() -> None:
    """Each replica has a small one of its own in memory, and only the second's is full."""
    alike = [
        Disk(f"desk-{number}", "/data", used, 12 << 20, 0, 0, read_only=False)
        for number, used in ((1, 0), (2, 12 << 20), (3, 0))
    ]
    assert [disk.where for disk in each_once(alike)] == ["desk-2"]
