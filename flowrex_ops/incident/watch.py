"""Looks at the platform again and again after a fix, and notes each look on the timeline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flowrex_ops.archive import timeline
from flowrex_ops.archive.manifest import write_manifest
from flowrex_ops.incident.resolution import WATCH, watched
from flowrex_ops.redaction.redactor import Redactor

if TYPE_CHECKING:
    from flowrex_ops.settings import Settings

WELL, NOT_WELL, UNKNOWN = "well", "not well", "unknown"


def take_look(settings: Settings) -> tuple[str, str]:
    """One look at everything that users would notice: ``well``, ``not well`` or ``unknown``, and why. Takes a few seconds at most.

    Sentry's new issues are left out: it looks back half an hour, at the incident itself.
    """
    from flowrex_ops.catalog import runbooks_by_alert
    from flowrex_ops.incident.survey import take_survey
    from flowrex_ops.incident.symptoms import NO, SENTRY, YES, find_symptoms
    from flowrex_ops.investigation import Investigation

    investigation = Investigation.for_readings("watch", settings)
    try:
        survey = take_survey(investigation, recent_minutes=1)
        seen = find_symptoms(survey, alerts=runbooks_by_alert())
    finally:
        investigation.database.close()
    seen = seen[seen["symptom"].ne(SENTRY)]
    bad = seen[seen["seen"].eq(YES)]
    if len(bad):
        return NOT_WELL, "; ".join(f"{row.symptom}: {row.says}" for row in bad.itertuples())
    unknown = seen[~seen["seen"].isin([YES, NO])]
    if len(unknown):
        return UNKNOWN, f"{len(unknown)} of {len(seen)} symptoms could not be looked at: {unknown['says'].iloc[0]}"
    return WELL, f"none of {len(seen)} symptoms"


def watch(
    folder: Path,
    settings: Settings,
    *,
    minutes: float,
    every_seconds: float,
    look: Callable[[Settings], tuple[str, str]] = take_look,
    on_look: Callable[[str, str], None] = lambda _state, _says: None,
) -> bool:
    """Look every *every_seconds* until it has been well for *minutes*; ``False`` at the first look that is not well.

    What is unknown is no regression, and begins the time anew; after three times as many looks as it takes it gives up. Ctrl-C keeps what was seen: the next watch goes on from there.
    """
    redactor = Redactor(settings.secret_values())
    for _ in range(math.ceil(3 * minutes * 60 / every_seconds) + 1):
        began = time.monotonic()
        state, says = look(settings)
        # On a busy machine a look takes longer than the interval; that is no time in which nobody looked.
        interval = every_seconds + time.monotonic() - began
        event = {"kind": WATCH, "text": f"{state}: {says}", "state": state, "interval_seconds": round(interval, 3)}
        timeline.append(folder, redactor.json(event))
        write_manifest(folder)
        on_look(state, redactor.text(says))
        if state == NOT_WELL:
            return False
        if watched(timeline.read(folder)).total_seconds() >= minutes * 60:
            return True
        time.sleep(every_seconds)
    return False
