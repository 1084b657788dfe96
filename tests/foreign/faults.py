"""What a fault is: how it is made and unmade, and what must be the first cause of which runbook meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from harbor import Harbor


@dataclass(frozen=True)
class Fault:
    """``causes``: by runbook the cause (an expression) that comes first while ``made`` lasts; ``says`` stands in that finding."""

    name: str
    made: Callable[[Harbor], AbstractContextManager[None]]
    causes: dict[str, str]
    says: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


FAULTS: list[Fault] = []


def fault(
    causes: dict[str, str], says: str = "", **parameters: Any
) -> Callable[[Callable[[Harbor], Iterator[None]]], Callable[[Harbor], Iterator[None]]]:
    """Declare the function below, which yields once while it lasts."""

    def declare(made: Callable[[Harbor], Iterator[None]]) -> Callable[[Harbor], Iterator[None]]:
        FAULTS.append(Fault(made.__name__, contextmanager(made), causes, says, parameters))
        return made

    return declare
