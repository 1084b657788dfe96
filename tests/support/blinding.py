"""Every way in which one thing of a check's readings may be missing: a reading, its rows, a column, a field, a count.

A fault that is there must not be ruled out for it. The faults are the confirmed examples of each runbook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from types import ModuleType
from typing import Any

import pandas as pd

from flowrex_ops.model import Reading, Verdict


@dataclass(frozen=True)
class Asked:
    """A check as an example asked it, with its readings and thresholds, and what it said."""

    check: Callable[..., Verdict]
    given: tuple[Any, ...]
    options: dict[str, Any]
    verdict: Verdict

    def again(self, *given: Any) -> Verdict:
        return self.check(*given, **self.options)


def record(module: ModuleType, *examples: Callable[[], object]) -> list[Asked]:
    """The checks of *module* that the *examples* ask, in their order."""
    asked: list[Asked] = []

    def recording(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
        def ask(*given: Any, **options: Any) -> Verdict:
            verdict = check(*given, **options)
            asked.append(Asked(check, given, options, verdict))
            return verdict

        return ask

    own = {name: check for name, check in vars(module).items() if name.startswith("check_")}
    try:
        vars(module).update({name: recording(check) for name, check in own.items()})
        for example in examples:
            example()
    finally:
        vars(module).update(own)
    return asked


def blinded(given: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """*given* once for each thing that may be missing, with its name."""
    for place, reading in enumerate(given):
        if not isinstance(reading, Reading):
            continue
        for what, without in _without(reading):
            yield f"{reading.what}: {what}", (*given[:place], without, *given[place + 1 :])


def _without(reading: Reading[Any]) -> Iterator[tuple[str, Reading[Any]]]:
    yield "no answer", Reading(reading.source, reading.what, error="it may not be asked", taken_at=reading.taken_at)
    if reading.available:
        for what, value in _values_without(reading.require()):
            yield what, replace(reading, value=value)


def _values_without(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, pd.DataFrame):
        yield "every row", value.iloc[:0]
        for column in value.columns:
            yield (
                f"{column} (no value)",
                value.assign(**{column: pd.Series([None] * len(value), index=value.index, dtype=object)}),
            )
            if any(isinstance(one, str) for one in value[column]):
                yield f"{column} (empty)", value.assign(**{column: ""})
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, pd.DataFrame) or is_dataclass(inner):
                yield from (
                    (f"{field.name}: {what}", replace(value, **{field.name: one}))
                    for what, one in _values_without(inner)
                )
            elif inner is not None and not isinstance(inner, str | bool | int | float | datetime) and len(inner):
                yield field.name, replace(value, **{field.name: type(inner)()})
