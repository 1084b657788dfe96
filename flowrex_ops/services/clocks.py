"""Whose clock is wrong: windows of logs, certificates, tokens and the order of what happened are all told by clocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pandas as pd

from flowrex_ops.checks import check, confirmed, inconclusive, missing, ruled_out, whole
from flowrex_ops.durations import format_seconds
from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.model import Evidence, Reading, Verdict
from flowrex_ops.reading import Source, reads
from flowrex_ops.services.machines import list_unsynchronised
from flowrex_ops.side_by_side import side_by_side
from flowrex_ops.web import get

CLOCK_COLUMNS = ["who", "ahead_seconds", "within_seconds", "error"]
"""``ahead_seconds`` is how far a clock is ahead of this machine's, give or take ``within_seconds``; missing where it did not tell."""
_LONGEST_SECONDS = 1.5


class ClockSource(Source):
    """The clocks of whoever answers HTTP: the header Date (RFC 9110, 6.6.1), which every server with a clock sends."""

    name = "clocks"
    libraries = ("httpx",)

    def __init__(
        self, front_door: str | None, find_urls: Callable[[], Mapping[str, str]], *, limit_seconds: float
    ) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._front_door = front_door
        self._find_urls = find_urls

    @reads("clocks")
    def get_clocks(self) -> pd.DataFrame:
        """A row for each of the front door and the backend's replicas, columns ``CLOCK_COLUMNS``."""
        urls = dict(self._find_urls()) | ({"front door": self._front_door} if self._front_door else {})
        if not urls:
            raise SourceUnavailableError("neither the front door nor a replica is known; set front_door.url")
        rows = side_by_side(lambda item: self._ask(*item), urls.items())
        return pd.DataFrame(rows, columns=CLOCK_COLUMNS)

    def _ask(self, who: str, url: str) -> tuple[Any, ...]:
        import httpx

        began, started = datetime.now(UTC), time.monotonic()
        try:
            answer = get(url, seconds=min(_LONGEST_SECONDS, self.limit_seconds * 0.8), verified=False)
            # Of an answer from a cache the date is when that was made, so long ago as Age says (RFC 9111, 5.1).
            ahead = (parsedate_to_datetime(answer.headers["date"]) - began).total_seconds()
            ahead += float(answer.headers.get("age", 0))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return who, None, None, f"no answer: {error or type(error).__name__}"
        except (KeyError, ValueError, TypeError):
            return who, None, None, "its answer has no date"
        # Whole seconds, and from some moment of the request.
        return who, ahead, time.monotonic() - started + 1.0, ""


@check("host.clock-drift")
def check_clock_drift(
    clocks: Reading[pd.DataFrame],
    database: Reading[pd.DataFrame],
    machines: Reading[pd.DataFrame],
    *,
    drift_seconds: float = 30.0,
) -> Verdict:
    """Whoever tells the time tells this machine's, within *drift_seconds* (``CLOCK_COLUMNS``), and no machine's clock runs free."""
    cause = "host.clock-drift"
    judged = _judge(cause, clocks, database, drift_seconds)
    if not judged.confirmed and (free := list_unsynchronised(machines)):
        title = f"{free[0].name}: {free[0].value}"
        return confirmed(cause, title, free, title=title)
    return judged


def _judge(cause: str, clocks: Reading[pd.DataFrame], database: Reading[pd.DataFrame], drift_seconds: float) -> Verdict:
    known = [whole(one.require(), CLOCK_COLUMNS) for one in (clocks, database) if not missing(one)]
    if not known:
        return inconclusive(cause, clocks, database)
    asked = pd.concat(known, ignore_index=True)
    asked = asked.assign(ahead=pd.to_numeric(asked["ahead_seconds"], errors="coerce"))
    table = asked[asked["ahead"].notna()]
    within = pd.to_numeric(table["within_seconds"], errors="coerce").fillna(0.0)
    wrong = table[table["ahead"].abs().sub(within).gt(drift_seconds)]
    if wrong.empty and missing(clocks, database):
        return inconclusive(cause, clocks, database)
    if wrong.empty and (len(table) < len(asked) or table["who"].nunique() < len(known)):
        silent = asked.loc[asked["ahead"].isna()]
        said = f"{silent['who'].iloc[0]}: {silent['error'].iloc[0]}" if len(silent) else "nobody was asked"
        return inconclusive(cause, f"not every clock told its time ({said}); ask with 'date'")
    if wrong.empty:
        text = f"{len(table)} clocks are within {drift_seconds:g} s of this machine's, that of {table['who'].iloc[0]} among them"
        return ruled_out(cause, text)
    evidence = [Evidence(str(row.who), _off(float(row.ahead)), "clocks") for row in wrong.itertuples()]
    alike = len(wrong) == len(table) > 1 and wrong["ahead"].max() - wrong["ahead"].min() <= drift_seconds
    title = (
        f"this machine's clock is {_off(-float(wrong['ahead'].median()))} of all {len(wrong)} others"
        if alike
        else f"the clock of {evidence[0].name} is {evidence[0].value} of this machine's"
    )
    return confirmed(cause, title, evidence, title=title)


def _off(ahead: float) -> str:
    return f"{format_seconds(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
