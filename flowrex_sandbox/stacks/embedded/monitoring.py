"""Prometheus, Alertmanager and the blackbox exporter as plain processes, where this machine has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flowrex_sandbox.certificates import Authority
from flowrex_sandbox.monitoring.configuration import Places, write_monitoring
from flowrex_sandbox.stacks.embedded.parts import Monitoring
from flowrex_sandbox.state import State

MONITORING = {"blackbox": 9115, "alertmanager": 9093, "prometheus": 9090}
"""The programs in the order in which they are started, and the port that each is known for."""


def commands(state: State, parts: Monitoring) -> list[tuple[str, tuple[object, ...]]]:
    """Program and command line; what they store lies under the home and goes with it."""
    folder = Path(state.home) / "monitoring"
    alertmanager = (f"--storage.path={folder}/alertmanager-data", "--cluster.listen-address=")
    prometheus = (f"--storage.tsdb.path={folder}/prometheus-data", "--storage.tsdb.retention.time=1d")
    found: list[tuple[str, Path, tuple[str, ...]]] = [
        ("blackbox", parts.blackbox, ()),
        ("alertmanager", parts.alertmanager, alertmanager),
        ("prometheus", parts.prometheus, (*prometheus, "--rules.alert.resend-delay=5s")),
    ]
    listen = "--web.listen-address=127.0.0.1:{}".format
    return [
        (name, (binary, f"--config.file={folder}/{name}.yml", *options, listen(state.ports[name])))
        for name, binary, options in found
    ]


def write_files(state: State, replicas: Sequence[str], *, proxied: bool) -> None:
    """Write what they run by; *proxied* says whether there is an NGINX to look at."""

    def at(purpose: str) -> str:
        return f"127.0.0.1:{state.ports[purpose]}"

    folder = Path(state.home) / "monitoring"
    places = Places(
        folder=str(folder),
        ca_file=str(Authority(Path(state.home) / "tls").anchor),
        backends={"static_configs": [{"targets": [at(name) for name in replicas]}]},
        prometheus=at("prometheus"),
        alertmanager=at("alertmanager"),
        blackbox=at("blackbox"),
        postgres=at("postgres"),
        redis=at("redis"),
        front_door=at("http" if proxied else "backend-1"),
        https=at("https") if proxied else "",
    )
    write_monitoring(folder, places)
