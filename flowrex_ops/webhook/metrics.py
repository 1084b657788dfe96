"""What ``/metrics`` tells of the server itself, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 900)


class Metrics:
    """Counters of one server. *waiting* and *running* are asked whenever somebody looks."""

    def __init__(self, *, waiting: Callable[[], int], running: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        made = {"registry": self.registry, "namespace": "flowrex_ops"}
        self.received = Counter("alerts_received", "Alerts in well-formed requests.", ["status"], **made)  # type: ignore[arg-type]  # the keywords are right
        self.accepted = Counter("alerts_accepted", "Alerts kept on disk, by what they meant.", ["meaning"], **made)  # type: ignore[arg-type]  # as above
        self.refused = Counter("requests_refused", "Requests that were refused.", ["reason"], **made)  # type: ignore[arg-type]  # as above
        self.runs = Counter("runs", "Runs that ended.", ["runbook", "status"], **made)  # type: ignore[arg-type]  # as above
        self.seconds = Histogram("run_seconds", "How long runs took.", ["runbook"], buckets=_SECONDS, **made)  # type: ignore[arg-type]  # as above
        self.reminders = Counter("reminders", "Escalations that were due and sent.", **made)  # type: ignore[arg-type]  # as above
        self.errors = Counter("background_errors", "What failed outside requests and runs, and is tried again.", **made)  # type: ignore[arg-type]  # as above
        Gauge("queue_length", "Runs that wait.", **made).set_function(waiting)  # type: ignore[arg-type]  # as above
        Gauge("runs_running", "Runs that go on.", **made).set_function(running)  # type: ignore[arg-type]  # as above
