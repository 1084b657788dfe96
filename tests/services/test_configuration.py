"""Replicas that were made otherwise, told from a deployment that goes on and from what each has a value of its own for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from database_examples import silent
from triage_examples import NOW

from flowrex_ops.compose.project import Deployment
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Definition, Reading, Replica, Severity, Verdict, VerdictKind
from flowrex_ops.services import checks
from flowrex_ops.services.configuration import (
    OUTDATED_COLUMNS,
    SETTING_COLUMNS,
    ConfigurationSource,
    differences,
)

CONFIRMED, RULED_OUT, INCONCLUSIVE = VerdictKind.CONFIRMED, VerdictKind.RULED_OUT, VerdictKind.INCONCLUSIVE
SECRET = "hunter2-hunter2"  # not to be seen again
MADE = Definition(
    image="shop/api:1.4.2",
    image_id="sha256:a",
    command="uvicorn app:app",
    environment={"DB_PASSWORD": SECRET, "POOL": "5"},
    mounts=("/srv/conf:/etc/app",),
)


def made(number: int, *, minutes_ago: float = 600, service: str = "api", **other: Any) -> Replica:
    at = NOW - timedelta(minutes=minutes_ago)
    definition = replace(MADE, **other)
    return Replica(service, f"{service}-{number}", "running", "none", "x", version="1.4.2", created_at=at, definition=definition)  # fmt: skip


def variants(*replicas: Replica) -> Reading[pd.DataFrame]:
    stack: Any = SimpleNamespace(get_replicas=lambda: list(replicas))
    return replace(ConfigurationSource(stack, limit_seconds=5).get_variants(), taken_at=NOW)


def outdated(*names: str) -> Reading[pd.DataFrame]:
    rows = [("api", name, NOW - timedelta(days=2), NOW - timedelta(hours=1)) for name in names]
    return Reading("configuration", "files", pd.DataFrame(rows, columns=OUTDATED_COLUMNS), taken_at=NOW)


def pending(*names: str) -> Reading[pd.DataFrame]:
    rows = [(name, "postgresql.auto.conf") for name in names]
    return Reading("postgres", "settings that wait for a restart", pd.DataFrame(rows, columns=SETTING_COLUMNS))


def judge(*replicas: Replica, **given: Any) -> Verdict:
    log = given.get("log", Reading("logs", "backend log", LogSummary(), taken_at=NOW))
    return checks.check_drift(variants(*replicas), given.get("files", outdated()), given.get("pending", pending()), log)


NO_FILES: Reading[pd.DataFrame] = Reading("configuration", "files", error="this stack has no files of Docker Compose")
ALIKE = (made(1), made(2), made(3, minutes_ago=5))
OLD = made(1, minutes_ago=900, image="shop/api:1.4.1", image_id="sha256:b", environment={"DB_PASSWORD": "before"})
EXAMPLES: dict[str, tuple[Callable[[], Verdict], VerdictKind, str]] = {
    "a deployment that stopped halfway": (
        lambda: judge(OLD, made(2)),
        CONFIRMED,
        "api-1 is not as configured: made otherwise than api-2: image, environment DB_PASSWORD, environment POOL",
    ),
    "built anew under the same name": (
        lambda: judge(made(1, image_id="sha256:b"), made(2, minutes_ago=30)),
        CONFIRMED,
        "image of the same name",
    ),
    "another folder is mounted": (lambda: judge(made(1, mounts=()), made(2, minutes_ago=30)), CONFIRMED, "mounts"),
    "the files were edited, and nothing was deployed": (
        lambda: judge(*ALIKE, files=outdated("api-1")),
        CONFIRMED,
        "api-1 is not as configured: made otherwise than the files say, which were edited since: 2026-01-31 03:12",
    ),
    "a setting waits for a restart of PostgreSQL": (
        lambda: judge(*ALIKE, pending=pending("max_connections")),
        CONFIRMED,
        "setting max_connections is not as configured: changed in postgresql.auto.conf, waits for a restart",
    ),
    "a deployment that goes on": (
        lambda: judge(OLD, made(2, minutes_ago=1)),
        INCONCLUSIVE,
        "a deployment goes on? look again once it is through",
    ),
    "other services are others": (
        lambda: judge(*ALIKE, made(1, service="worker", command="celery worker", environment={})),
        RULED_OUT,
        "3 replicas of 1 services were made alike, no setting of PostgreSQL waits for a restart; and are as the files say",
    ),
    "the files are elsewhere": (
        lambda: judge(*ALIKE, files=NO_FILES),
        RULED_OUT,
        "their files were not compared: this stack has no files of Docker Compose",
    ),
    "each is started with its own name": (
        lambda: judge(made(1, command="app --name api-1"), made(2, command="app --name api-2")),
        RULED_OUT,
        "2 replicas of 1 services",
    ),
    "nothing to compare": (lambda: judge(made(1)), INCONCLUSIVE, "no service has two replicas"),
    "environments that are not told": (
        lambda: judge(made(1, environment={}), made(2, environment={})),
        INCONCLUSIVE,
        "no service has two replicas whose environment is told",
    ),
    "PostgreSQL is not reached": (lambda: judge(*ALIKE, pending=silent("settings")), INCONCLUSIVE, "no settings"),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example: str) -> None:
    ask, kind, words = EXAMPLES[example]
    verdict = ask()
    assert (verdict.kind, words in verdict.reason) == (kind, True), verdict.reason
    assert SECRET not in str(verdict)


def test_worse_while_requests_fail() -> None:
    summary = LogSummary(requests=100)
    for minute in range(3):
        summary.answers.update({(NOW - timedelta(minutes=minute), failed): 20 for failed in (True, False)})
    failing = Reading("logs", "backend log", summary, taken_at=NOW)
    assert [judge(OLD, made(2), **given).severity for given in ({}, {"log": failing})] == [Severity.P3, Severity.P2]


def test_no_value_is_kept() -> None:
    found = variants(OLD, made(2)).require()
    assert SECRET not in found.to_csv()
    assert "DB_PASSWORD" in found.to_csv()
    assert differences(made(1), made(2)) == ()


def test_the_newest_file_counts(tmp_path: Path) -> None:
    """Also the variables beside them, which are part of what compose makes; a folder that is not here tells nothing."""
    for name, seconds in (("compose.yml", 1000), (".env", 3000), ("api.env", 5000), ("notes.txt", 9000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (seconds, seconds))
    deployment = Deployment(("compose.yml",), (), str(tmp_path), "1.29.2")
    assert deployment.edited_at() == datetime.fromtimestamp(5000, UTC)
    assert Deployment(("a.yml",), (), "/nowhere", "1.29.2").edited_at() == datetime.fromtimestamp(0, UTC)
