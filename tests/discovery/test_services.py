"""Which containers are replicas that have to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.compose.project import FILES, FOLDER
from flowrex_ops.discovery.services import ServicesSource
from flowrex_ops.model import Definition, Replica


class Stack:
    """A migration that ended so, and the application that waited for its end, as its labels tell."""

    def __init__(self, exit_code: int, **labels: str) -> None:
        self._exit_code = exit_code
        self._labels = labels or {
            "com.docker.compose.depends_on": "db:service_healthy:false,migrate:service_completed_successfully:false"
        }

    def get_replicas(self) -> list[Replica]:
        """Both, by service."""
        return [_replica("app", self._labels), _replica("migrate", {}, state="exited", exit_code=self._exit_code)]


def _replica(service: str, labels: Mapping[str, str], *, state: str = "running", **facts: Any) -> Replica:
    return Replica(service, f"{service}-1", state, "none", "x", definition=Definition(labels=labels), **facts)


def test_what_others_wait_for_to_end_is_not_missed_when_it_has() -> None:
    """Ended well it is out of the picture; a migration that failed is what keeps the application from starting."""
    for exit_code, names in ((0, ["app-1"]), (1, ["app-1", "migrate-1"])):
        source = ServicesSource(Stack(exit_code), limit_seconds=5)  # type: ignore[arg-type]  # all that is asked
        assert source.get_replicas().require()["name"].tolist() == names


@pytest.mark.parametrize(
    "text",
    [
        "    depends_on:\n      migrate:\n        condition: service_completed_successfully\n",
        '    depends_on: {migrate: {condition: "service_completed_successfully"}}\n',
    ],
)
def test_a_deployment_without_dependencies_leaves_it_to_the_file(text: str, tmp_path: Path) -> None:
    """``up --no-deps`` writes no label."""
    (tmp_path / "compose.yml").write_text(text, encoding="utf-8")
    labels = {FOLDER: str(tmp_path), FILES: "compose.yml"}
    source = ServicesSource(Stack(0, **labels), limit_seconds=5)  # type: ignore[arg-type]  # all that is asked
    assert source.get_replicas().require()["name"].tolist() == ["app-1"]
