"""Which containers are replicas that have to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrex_ops.discovery.services import ServicesSource
from flowrex_ops.model import Definition, Replica


class Stack:
    """A migration that ended so, and the application that waited for its end."""

    def __init__(self, exit_code: int) -> None:
        self._exit_code = exit_code

    def get_replicas(self) -> list[Replica]:
        """Both, by service."""
        waits = {
            "com.docker.compose.depends_on": "db:service_healthy:false,migrate:service_completed_successfully:false"
        }
        return [_replica("app", waits), _replica("migrate", {}, state="exited", exit_code=self._exit_code)]


def _replica(service: str, labels: Mapping[str, str], *, state: str = "running", **facts: Any) -> Replica:
    return Replica(service, f"{service}-1", state, "none", "x", definition=Definition(labels=labels), **facts)


def test_what_others_wait_for_to_end_is_not_missed_when_it_has() -> None:
    """Ended well it is out of the picture; a migration that failed is what keeps the application from starting."""
    for exit_code, names in ((0, ["app-1"]), (1, ["app-1", "migrate-1"])):
        source = ServicesSource(Stack(exit_code), limit_seconds=5)  # type: ignore[arg-type]  # all that is asked
        assert source.get_replicas().require()["name"].tolist() == names
