"""The files that Prometheus, Alertmanager and the blackbox exporter run by.

https://prometheus.io/docs/prometheus/2.42/configuration/configuration/ and
https://github.com/prometheus/blackbox_exporter/blob/v0.23.0/CONFIGURATION.md. Written as JSON, which is YAML too.

Prometheus looks at the platform from outside too, through the blackbox exporter. The rules stand in one file for both
stacks; only their windows differ from production's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowrex_sandbox.certificates import SITES

RULES = Path(__file__).with_name("rules.yml")
WINDOW, FOR, SETTLED_SECONDS = "15s", "0s", 20
SCRAPE = "2s"
FILES = ("prometheus.yml", "rules.yml", "alertmanager.yml", "blackbox.yml")


@dataclass(frozen=True, slots=True)
class Places:
    """Where each part answers, as Prometheus and the exporter see it: ``host:port``.

    ``backends`` is a piece of a scrape configuration that finds the replicas. ``https`` is empty without a proxy.
    ``folder`` is where these files lie for the processes that read them.
    """

    folder: str
    ca_file: str
    backends: Mapping[str, Any]
    prometheus: str
    alertmanager: str
    blackbox: str
    postgres: str
    redis: str
    front_door: str
    https: str


def rules(window: str, lasting: str, settled_seconds: int) -> str:
    """The alert rules, with the three words filled in that are said at their head."""
    text = RULES.read_text(encoding="utf-8")
    for word, value in (
        ("WINDOW]", f"{window}]"),
        ("for: FOR", f"for: {lasting}"),
        ("> SETTLED", f"> {settled_seconds}"),
    ):
        text = text.replace(word, value)
    return text


def write_monitoring(folder: Path, places: Places) -> None:
    """Write all of ``FILES`` into *folder*."""
    folder.mkdir(exist_ok=True)
    texts = (
        rules(WINDOW, FOR, SETTLED_SECONDS),
        *(json.dumps(part, indent=2) for part in (_alertmanager(), _blackbox(places.ca_file))),
    )
    for name, text in zip(FILES, (json.dumps(_prometheus(places), indent=2), *texts), strict=True):
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _prometheus(places: Places) -> dict[str, Any]:
    probes = [
        _probe(places, "postgres", "tcp", {places.postgres: {}}),
        _probe(places, "redis", "tcp", {places.redis: {}}),
        _probe(places, "front-door", "http", {f"http://{places.front_door}/health/ready": {}}),
    ]
    for site in SITES if places.https else ():
        labels = {places.https: {"site": site}}
        probes += [
            _probe(places, "certificates", f"tls:{site}", labels),
            _probe(places, "certificates-as-clients", f"tls-verified:{site}", labels),
        ]
    own = {"prometheus": places.prometheus, "alertmanager": places.alertmanager}
    return {
        "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": SCRAPE},
        "rule_files": [f"{places.folder}/rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [places.alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "backend", **places.backends},
            *({"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in own.items()),
            *_one_job_each(probes),
        ],
    }


def _probe(places: Places, job: str, module: str, targets: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A job that has the exporter look at *targets*; the target's own address becomes ``instance``."""
    return {
        "job_name": job,
        "metrics_path": "/probe",
        "params": {"module": [module]},
        "static_configs": [{"targets": [target], "labels": dict(labels)} for target, labels in targets.items()],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": places.blackbox},
        ],
    }


def _one_job_each(probes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prometheus wants every job's name once; ``job`` is what rules and people see."""
    return [
        {
            **probe,
            "job_name": f"{probe['job_name']}-{number}",
            "relabel_configs": [*probe["relabel_configs"], {"target_label": "job", "replacement": probe["job_name"]}],
        }
        for number, probe in enumerate(probes, start=1)
    ]


def write_receiver(folder: Path, url: str) -> None:
    """Have every alert sent to the webhook at *url*, in place: a container sees the file that was there when it started."""
    text = json.dumps(_alertmanager(url), indent=2) + "\n"
    (folder / "alertmanager.yml").write_text(text, encoding="utf-8")


def _alertmanager(url: str = "") -> dict[str, Any]:
    """All alerts are one group, and so one incident, where somebody listens."""
    hooks = {"webhook_configs": [{"url": url, "send_resolved": True}]} if url else {}
    route = {
        "receiver": "webhook" if url else "nobody",
        "group_by": ["platform"] if url else ["alertname"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1h",
    }
    return {"route": route, "receivers": [{"name": route["receiver"], **hooks}]}


def _blackbox(ca_file: str) -> dict[str, Any]:
    modules: dict[str, Any] = {
        "tcp": {"prober": "tcp", "timeout": "1500ms", "tcp": {"preferred_ip_protocol": "ip4"}},
        "http": {"prober": "http", "timeout": "1500ms", "http": {"preferred_ip_protocol": "ip4"}},
    }
    for site in SITES:
        seen = {"insecure_skip_verify": True, "server_name": site}
        verified = {"ca_file": ca_file, "server_name": site}
        for name, tls in ((f"tls:{site}", seen), (f"tls-verified:{site}", verified)):
            tcp = {"tls": True, "tls_config": tls, "preferred_ip_protocol": "ip4"}
            modules[name] = {"prober": "tcp", "timeout": "1500ms", "tcp": tcp}
    return {"modules": modules}
