"""What node_exporter tells, through a real Prometheus: its documented text is scraped, and asked for."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from conftest import missing_part
from triage_examples import CALM

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.metrics.machines import NO_EXPORTER, parse_machines
from flowrex_ops.metrics.prometheus import PrometheusSource
from flowrex_ops.model import VerdictKind
from flowrex_ops.services import checks
from flowrex_sandbox.waiting import await_condition

TEXT = """\
node_uname_info{{nodename="web",sysname="Linux"}} 1
node_nf_conntrack_entries 250000
node_nf_conntrack_entries_limit 262144
node_timex_sync_status 0
node_timex_maxerror_seconds 16
node_network_speed_bytes{{device="eth0"}} 1.25e+06
node_network_speed_bytes{{device="docker0"}} -125000
node_network_receive_packets_total{{device="eth0"}} {packets}
node_network_receive_bytes_total{{device="eth0"}} {bytes}
node_network_receive_errs_total{{device="eth0"}} {lost}
node_network_receive_drop_total{{device="eth0"}} {lost}
node_network_transmit_packets_total{{device="eth0"}} {packets}
node_network_transmit_bytes_total{{device="eth0"}} {bytes}
node_network_transmit_errs_total{{device="eth0"}} 0
node_network_transmit_drop_total{{device="eth0"}} 0
node_network_receive_packets_total{{device="veth1a2b3c"}} {packets}
node_filesystem_avail_bytes{{device="/dev/vda1",fstype="ext4",mountpoint="/"}} {free}
node_filesystem_avail_bytes{{device="/dev/vda1",fstype="ext4",mountpoint="/var/lib/docker"}} {free}
node_filesystem_avail_bytes{{device="tmpfs",fstype="tmpfs",mountpoint="/run"}} 1e+06
node_filesystem_files_free{{device="/dev/vda1",fstype="ext4",mountpoint="/"}} 1e+06
node_filesystem_files_free{{device="/dev/vda1",fstype="ext4",mountpoint="/var/lib/docker"}} 1e+06
"""
"""A second later each time it is asked for."""


@pytest.fixture
def exporter() -> Iterator[int]:
    seconds = count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            now = next(seconds)
            text = TEXT.format(packets=10**5 * now, bytes=10**9 * now, lost=6000 * now, free=1e12 - 1e7 * now)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def prometheus(exporter: int, tmp_path: Path) -> Iterator[PrometheusSource]:
    if shutil.which("prometheus") is None:
        missing_part("Prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    jobs = f"[{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]"
    file = tmp_path / "prometheus.yml"
    file.write_text(f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: {jobs}\n", encoding="utf-8")
    argv = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with subprocess.Popen(
        [*argv, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        yield PrometheusSource(f"http://127.0.0.1:{port}", limit_seconds=5, limit_rows=1000)
        process.terminate()


def test_what_is_told_is_judged(prometheus: PrometheusSource) -> None:
    """The machine's own lines and disks, and not those of containers; of half an hour nothing is told yet."""
    await_condition(
        lambda: {"room_in_6h", "receive_errs"} <= set(getattr(prometheus.get_machines().value, "quantity", ())),
        "three samples were taken",
        timeout_seconds=20,
    )
    reading = prometheus.get_machines()
    told = reading.require()
    assert set(told["quantity"]) >= set(CALM) - {"room_minutes", "files_minutes"}
    assert set(told["part"]) == {"", "eth0", "/", "/var/lib/docker"}
    judged = {
        checks.check_conntrack: "250000 of 262144 connections are tracked",
        checks.check_packet_loss: "% of what is received lost, 0% of what is sent lost",
        checks.check_network_saturated: "of its speed is used",
    }
    for check, says in judged.items():
        verdict = check(reading)
        assert verdict.kind is VerdictKind.CONFIRMED, verdict.reason
        assert says in verdict.reason
    young = checks.check_disk_filling(reading)
    assert (young.kind, "half an hour" in young.reason) == (VerdictKind.INCONCLUSIVE, True)


def test_a_prometheus_that_scrapes_no_machine() -> None:
    """No reading, and so no verdict: nothing is known of any machine."""
    with pytest.raises(SourceUnavailableError, match=NO_EXPORTER):
        parse_machines([])
