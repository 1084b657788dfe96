"""What an answer says of health: healthy, unhealthy, or nothing. Pure; the same for triage, its symptoms and its checklist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from flowrex_ops.checks import whole
from flowrex_ops.discovery.services import REPLICA_COLUMNS
from flowrex_ops.metrics.backend import READINESS_COLUMNS
from flowrex_ops.model import Reading

GONE = ("exited", "dead", "created", "removing")
JUDGED_COLUMNS = ["replica", "ready", "says"]
_OK, _REDIRECT, _CLIENT_ERROR, _NO_SUCH, _SERVER_ERROR = 200, 300, 400, 404, 500


def judge_replicas(services: Reading[pd.DataFrame], health: Reading[pd.DataFrame]) -> pd.DataFrame:
    """Each replica that was asked and is there: ``ready`` (True, False, None where nothing tells) and why.

    An answer over HTTP is of this moment, so it comes first; where it tells nothing, the container's own health check does.
    """
    if not health.available:
        return pd.DataFrame(columns=JUDGED_COLUMNS)
    own = _own_checks(services)
    rows = []
    asked = whole(health.require(), READINESS_COLUMNS)
    for row in asked.sort_values("replica").to_dict("records"):
        replica = str(row["replica"])
        if own.get(replica) in GONE:
            continue  # of those that are gone service.down speaks
        ready, says = (
            judge_answer(row) if isinstance(row["replica"], str) else (None, "nobody knows whose answer it is")
        )
        if ready is None and own.get(replica) == "healthy":
            ready, says = True, "its own health check passes"
        rows.append((replica, ready, says))
    frame = pd.DataFrame(rows, columns=JUDGED_COLUMNS)
    return frame.astype({"ready": object})


def judge_answer(row: Mapping[Any, Any]) -> tuple[bool | None, str]:
    """Of one replica: 2xx is ready, 5xx and silence are not; everything else does not tell."""
    status, error = row.get("status"), row.get("error")
    if isinstance(error, str) and error:
        return (None if row.get("refused") is None else False), error
    if status is None or pd.isna(status):
        return None, "nothing was told"
    if status < _OK or _REDIRECT <= status < _SERVER_ERROR:
        return None, _not_reported(int(status), "backend.health_path")
    return bool(status < _REDIRECT), f"HTTP {status:.0f}"


def judge_door(answer: pd.DataFrame) -> tuple[bool | None, str]:
    """Of the way in that users take: whoever is redirected, or asked for a login, is served; a 404 does not tell."""
    if answer.empty or not {"status", "error"} <= set(answer.columns):
        return None, "nothing was asked"
    row = answer.iloc[0]
    status, error = row["status"], row["error"]
    if isinstance(error, str) and error:
        return (None if row.get("refused", False) is None else False), error
    if pd.isna(status):
        return None, "nothing was told"
    if status in (_NO_SUCH, 405, 410, 400, 421):
        return None, _not_reported(int(status), "front_door.path")
    seconds = row.get("seconds")
    took = "" if seconds is None or pd.isna(seconds) else f" in {seconds:.2f} s"
    return bool(status < _SERVER_ERROR), f"HTTP {status:.0f}{took}"


def _not_reported(status: int, setting: str) -> str:
    if status == _NO_SUCH:
        return f"there is no health endpoint; set {setting}"
    return f"HTTP {status} does not tell whether it is ready; set {setting}"


def _own_checks(services: Reading[pd.DataFrame]) -> dict[str, str]:
    """Replica to the state of the container that is gone, else to what its own health check says."""
    if not services.available:
        return {}
    table = whole(services.require(), REPLICA_COLUMNS)
    return {
        str(name): str(state) if state in GONE else str(health)
        for name, state, health in table[["name", "state", "health"]].itertuples(index=False)
    }
