"""What the replicas of a service were made of, held against each other and against the files that they are deployed from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, whole
from flowrex_ops.compose import Stack
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.logs.source import LogSummary
from flowrex_ops.model import Evidence, Reading, Replica, Severity, Verdict
from flowrex_ops.reading import Source, reads

Frame = Reading[pd.DataFrame]

VARIANT_COLUMNS = ["service", "replica", "made_at", "newest", "known", "differs"]
"""``differs`` are names (``image``, ``environment DATABASE_URL``; no value) in which it is not made as ``newest``, its service's newest replica; ``known``: whether its environment is told."""
OUTDATED_COLUMNS = ["service", "replica", "made_at", "edited_at"]
SETTING_COLUMNS = ["name", "source"]


class ConfigurationSource(Source):
    """What the stack tells of how replicas were made. Values of an environment are compared here and go nowhere."""

    name = "configuration"

    def __init__(self, stack: Stack, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._stack = stack

    @reads("replicas' definitions")
    def get_variants(self) -> pd.DataFrame:
        """One row a running replica, columns ``VARIANT_COLUMNS``; times in UTC."""
        by_service: dict[str, list[Replica]] = {}
        for replica in self._stack.get_replicas():
            if replica.running:
                by_service.setdefault(replica.service, []).append(replica)
        rows = []
        for replicas in by_service.values():
            newest = max(replicas, key=lambda one: (_made_at(one), one.name))
            rows += [
                (one.service, one.name, _made_at(one), newest.name, bool(one.definition.environment), differences(one, newest))
                for one in replicas
            ]  # fmt: skip
        return pd.DataFrame(rows, columns=VARIANT_COLUMNS)

    @reads("containers that the files would make otherwise")
    def get_outdated(self) -> pd.DataFrame:
        """By compose's own hash of each service; no row where none is. Columns ``OUTDATED_COLUMNS``, times in UTC."""
        look = getattr(self._stack, "get_outdated", None)
        if look is None:
            raise SourceUnavailableError("this stack has no files of Docker Compose")
        return pd.DataFrame(look(timeout_seconds=self.limit_seconds * 0.9), columns=OUTDATED_COLUMNS)


def differences(one: Replica, other: Replica) -> tuple[str, ...]:
    """Names of what two replicas of a service were made with otherwise."""
    mine, its = one.definition, other.definition
    pairs = {
        "version": (one.version, other.version),
        "image": (mine.image, its.image),
        "image of the same name": (mine.image_id, its.image_id) if mine.image == its.image else ("", ""),
        "command": (_shared(mine.command, one), _shared(its.command, other)),
        "mounts": (sorted(mine.mounts), sorted(its.mounts)),
    }
    names = sorted({*mine.environment, *its.environment})
    changed = [f"environment {name}" for name in names if mine.environment.get(name) != its.environment.get(name)]
    return (*(what for what, (here, there) in pairs.items() if here != there), *changed)


def _shared(command: str, replica: Replica) -> str:
    """Without the replica's own name, which some are started with."""
    return re.sub(rf"\b{re.escape(replica.name)}\b", "", command)


def _made_at(replica: Replica) -> datetime:
    return replica.created_at or replica.started_at or datetime.min.replace(tzinfo=UTC)


def apart_of(variants: Frame) -> pd.DataFrame:
    """The replicas that were made otherwise than the newest of their service, columns ``VARIANT_COLUMNS``."""
    made = whole(variants.require() if variants.available else pd.DataFrame(), VARIANT_COLUMNS)
    return made[made["differs"].map(lambda one: isinstance(one, tuple) and len(one) > 0).astype(bool)]


# Somebody who deploys one replica after the other has two kinds of them meanwhile.
@check("config.drift")
def check_drift(
    variants: Frame, outdated: Frame, pending: Frame, log: Reading[LogSummary], *, settled_minutes: float = 15.0
) -> Verdict:
    """The replicas of each service were made alike, as the files on this machine say (where they can be asked), and no setting of PostgreSQL waits for a restart."""
    cause = "config.drift"
    made = whole(variants.require() if variants.available else pd.DataFrame(), VARIANT_COLUMNS)
    apart = apart_of(variants)
    newest = made[made["replica"].isin(apart["newest"])].set_index("replica")["made_at"].to_dict()
    settled = variants.taken_at - timedelta(minutes=settled_minutes)
    fresh = apart["newest"].map(lambda name: pd.isna(newest.get(name)) or newest[name] > settled).astype(bool)
    evidence = [
        Evidence(row.replica, f"made otherwise than {row.newest}: {listed(row.differs)}", "stack")
        for row in apart[~fresh].itertuples()
    ]
    if outdated.available:
        evidence += [
            Evidence(
                row.replica, f"made otherwise than the files say, which were edited since: {row.edited_at}", "compose"
            )
            for row in whole(outdated.require(), OUTDATED_COLUMNS).itertuples()
        ]
    if pending.available:
        evidence += [
            Evidence(f"setting {row.name}", f"changed in {row.source}, waits for a restart", "pg_settings")
            for row in whole(pending.require(), SETTING_COLUMNS).itertuples()
        ]
    if evidence:
        failing = log.available and log.require().failing_since(0.05) is not None
        others = f" and {len(evidence) - 1} more are" if len(evidence) > 1 else " is"
        title = f"{evidence[0].name}{others} not as configured"
        severity, stale = Severity.P2 if failing else None, apart.loc[~fresh, "service"].dropna()
        reason = f"{title}: {evidence[0].value}"
        return confirmed(cause, reason, evidence[:12], severity=severity, title=title, services=stale)
    if len(apart):
        row = apart.iloc[0]
        said = f"{row['replica']} is made otherwise than {row['newest']} ({listed(row['differs'])}), which is newer than {settled_minutes:g} min"
        return inconclusive(cause, f"{said}: a deployment goes on? look again once it is through")
    known = made[made["known"].eq(True) & made["differs"].map(lambda one: isinstance(one, tuple)).astype(bool)]  # noqa: FBT003  # a value of the column
    several = known.groupby("service").filter(lambda part: len(part) > 1)
    if missing(variants, pending) or several.empty or made["differs"].isna().any():
        alone = "" if len(several) or missing(variants) else "no service has two replicas whose environment is told"
        return inconclusive(cause, variants, pending, *filter(None, [alone]))
    files = "and are as the files say" if outdated.available else f"their files were not compared: {outdated.error}"
    reported = f"{len(several)} replicas of {several['service'].nunique()} services were made alike, no setting of PostgreSQL waits for a restart"
    return ruled_out(cause, f"{reported}; {files}")


def listed(names: Sequence[str]) -> str:
    """The first four, and how many more."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
