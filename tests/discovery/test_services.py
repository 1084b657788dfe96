"""Which containers are replicas that have to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flowrex_ops.compose.project import FILES, FOLDER
from flowrex_ops.discovery.services import ENDED, ServicesSource
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


ROLLUP = {"command": "python -m rollup", "restart_policy": "no"}
USER = {"environment": {"API": "http://nightly:80"}, "restart_policy": "always"}


@pytest.mark.parametrize(
    ("made", "others", "code", "state"),
    [
        (ROLLUP, {}, 0, ENDED),
        (ROLLUP | {"restart_policy": "on-failure"}, {}, 0, ENDED),
        (ROLLUP, {}, 1, "exited"),
        (ROLLUP | {"restart_policy": "unless-stopped"}, {}, 0, "exited"),
        (ROLLUP | {"restart_policy": ""}, {}, 0, "exited"),
        (ROLLUP | {"health_check": "CMD true"}, {}, 0, "exited"),
        (ROLLUP | {"command": "celery -A app worker"}, {}, 0, "exited"),
        (ROLLUP | {"image": "redis:7"}, {}, 0, "exited"),
        (ROLLUP, USER, 0, "exited"),
    ],
)
def test_what_may_be_a_job_that_has_ended_is_not_down(
    made: dict[str, Any], others: dict[str, Any], code: int, state: str
) -> None:
    """It ended well, was allowed to, looks like no server, and nobody knows it by name: only then nothing tells whether it is to run."""

    class Both:
        def get_replicas(self) -> list[Replica]:
            one = Replica("nightly", "nightly-1", "exited", "none", "x", exit_code=code, definition=Definition(**made))
            return [one, Replica("app", "app-1", "running", "none", "y", definition=Definition(**others))]

    rows = ServicesSource(Both(), limit_seconds=5).get_replicas().require()  # type: ignore[arg-type]  # all that is asked
    assert rows.set_index("name")["state"].to_dict() == {"nightly-1": state, "app-1": "running"}
