"""Whether a table carries what a check needs: what has no value tells nothing, and never that all is well."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd


def whole(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """*frame* with every column of *names*; one that was not there has no value."""
    return frame if set(names) <= set(frame.columns) else frame.reindex(columns=list(names))


def untold(frame: pd.DataFrame, *names: str) -> str:
    """The first of *names* that some row of *frame* has no value for; empty where all is told."""
    return next((name for name in names if name not in frame.columns or bool(_without(frame[name]).any())), "")


def blank(frame: pd.DataFrame, *names: str) -> str:
    """The first of *names* that no row of *frame* has a value for; empty where each has one somewhere."""
    return next((name for name in names if name not in frame.columns or bool(_without(frame[name]).all())), "")


def _without(column: pd.Series) -> pd.Series:
    return column.isna() | column.eq("")
