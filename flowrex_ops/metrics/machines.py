"""What Prometheus knows of the machines below the platform, where it scrapes node_exporter there.

Names as node_exporter documents them (https://github.com/prometheus/node_exporter, collectors conntrack, netdev, netclass, timex,
filesystem and uname, all of which are on by default). No container may read these counters of its host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from flowrex_ops.errors import SourceUnavailableError

MACHINE_COLUMNS = ["machine", "part", "quantity", "value"]
"""``part`` is a network device, or where a filesystem is mounted; empty for the machine as a whole."""
NO_EXPORTER = "no node_exporter in Prometheus; have it scrape one on each machine"

_LINKS = '{device!~"lo|veth.*|docker.*|br-.*|virbr.*|cali.*|cni.*|flannel.*|tun.*|tap.*|wg.*"}'
"""Lines that lead out: what is inside a machine has neither a speed nor a line that could be bad."""
_DISKS = '{fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660|fuse.*|nfs.*|cifs"}'
_FREE = {"room": f"node_filesystem_avail_bytes{_DISKS}", "files": f"node_filesystem_files_free{_DISKS}"}
QUANTITIES = (
    {
        "seen": "last_over_time(node_uname_info[1h])",
        "conntrack_entries": "node_nf_conntrack_entries",
        "conntrack_limit": "node_nf_conntrack_entries_limit",
        "synchronised": "max_over_time(node_timex_sync_status[5m])",
        "maximum_error_seconds": "node_timex_maxerror_seconds",
        "speed_bytes": f"node_network_speed_bytes{_LINKS}",
    },
    {
        f"{way}_{what}": f"rate(node_network_{way}_{what}_total{_LINKS}[5m])"
        for way in ("receive", "transmit")
        for what in ("packets", "bytes", "errs", "drop")
    },
    {
        **{f"{what}_free": free for what, free in _FREE.items()},
        **{f"{what}_in_{hours}h": f"deriv({free}[{hours}h])" for what, free in _FREE.items() for hours in (1, 6)},
        **{f"{what}_minutes": f"count_over_time({free}[1h:1m])" for what, free in _FREE.items()},
    },
)
"""Each by what it means, in three questions, which are asked side by side; ``in_1h`` is by how much it grows a second."""
QUERIES = [
    " or ".join(f'label_replace({asked},"quantity","{name}","","")' for name, asked in part.items())
    for part in QUANTITIES
]


def parse_machines(series: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The answers to ``QUERIES``, columns ``MACHINE_COLUMNS``; SourceUnavailableError where Prometheus scrapes no node_exporter."""
    rows = []
    for one in series:
        labels = one["metric"]
        quantity = labels.get("quantity", "")
        # A filesystem's device is the same wherever a part of it is mounted; there its mount tells it apart.
        part = labels.get("mountpoint") or labels.get("device", "")
        rows.append((labels.get("instance", ""), part, quantity, float(one["value"][1])))
    if not rows:
        raise SourceUnavailableError(NO_EXPORTER)
    return pd.DataFrame(rows, columns=MACHINE_COLUMNS).sort_values(MACHINE_COLUMNS[:3], ignore_index=True)
