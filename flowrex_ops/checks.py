"""How a check states its answer: the three verdicts, and what every check must do when a source is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, Protocol

import pandas as pd

from flowrex_ops.causes import find_causes
from flowrex_ops.model import Evidence, Reading, Severity, Verdict, VerdictKind

P = ParamSpec("P")


class Check(Protocol[P]):
    """A check function, with the cause that it judges."""

    cause: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Verdict: ...


def check(cause: str) -> Callable[[Callable[P, Verdict]], Check[P]]:
    """Name the *cause* that a check judges; a verdict on any other cause is a mistake in the check."""

    def decorate(function: Callable[P, Verdict]) -> Check[P]:
        @wraps(function)
        def check(*args: P.args, **kwargs: P.kwargs) -> Verdict:
            verdict = function(*args, **kwargs)
            if verdict.cause != cause:
                raise ValueError(f"{function.__name__} judges '{cause}', not '{verdict.cause}'")
            return verdict

        check.cause = cause  # type: ignore[attr-defined]  # this attribute is what Check adds
        return check  # type: ignore[return-value]  # with that attribute it is a Check

    return decorate


def confirmed(
    cause: str,
    reason: str,
    evidence: Iterable[Evidence] = (),
    *,
    severity: Severity | None = None,
    title: str = "",
    share: float = 0.0,
    services: Iterable[str] = (),
) -> Verdict:
    """A finding, with the catalogue's severity and next steps unless the check knows better; these name *services* for ``SERVICE``."""
    entry = find_causes()[cause]
    named = " ".join(dict.fromkeys(services)) or "SERVICE"
    return Verdict(
        cause,
        VerdictKind.CONFIRMED,
        reason,
        tuple(evidence),
        severity=severity or entry.severity,
        title=title or entry.title,
        next_steps=tuple(replace(step, target=step.target.replace("SERVICE", named)) for step in entry.next_steps),
        share=share,
    )


def ruled_out(cause: str, reason: str, evidence: Iterable[Evidence] = ()) -> Verdict:
    """The hypothesis does not hold, and here is the number that says so."""
    return Verdict(cause, VerdictKind.RULED_OUT, reason, tuple(evidence))


def inconclusive(cause: str, *because: Reading[Any] | str) -> Verdict:
    """No answer, and why: readings that are not available, or what those that are there leave out."""
    reasons = [one if isinstance(one, str) else f"no {one.what}: {one.error}" for one in because if _explains(one)]
    return Verdict(cause, VerdictKind.INCONCLUSIVE, "; ".join(dict.fromkeys(reasons)) or "the readings do not suffice")


def _explains(one: Reading[Any] | str) -> bool:
    return isinstance(one, str) or not one.available


def missing(*readings: Reading[Any]) -> bool:
    """Whether any of *readings* has no answer."""
    return any(not reading.available for reading in readings)


def percent(share: float) -> str:
    """A share for people, with two digits: ``47%``, ``3.2%``."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"  # noqa: PLR2004  # two digits either way


def whole(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """*frame* with every column of *names*; one that was not there has no value."""
    return frame if set(names) <= set(frame.columns) else frame.reindex(columns=list(names))


def unreported(frame: pd.DataFrame, *names: str) -> str:
    """The first of *names* that some row of *frame* has no value for; empty where all is told."""
    return next((name for name in names if name not in frame.columns or bool(_without(frame[name]).any())), "")


def blank(frame: pd.DataFrame, *names: str) -> str:
    """The first of *names* that no row of *frame* has a value for; empty where each has one somewhere."""
    return next((name for name in names if name not in frame.columns or bool(_without(frame[name]).all())), "")


def _without(column: pd.Series) -> pd.Series:
    return column.isna() | column.eq("")
