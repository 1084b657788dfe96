"""The tables at the end of ``make bench``, and a PostgreSQL that was started otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.waiting import await_condition


@pytest.fixture(scope="module")
def set_in_postgres(supervisor_sandbox: Sandbox) -> Iterator[Callable[[str, str], None]]:
    """Starts the embedded platform's server anew with one parameter changed; put back at the end."""
    before: dict[str, str] = {}

    def set_parameter(name: str, value: str) -> None:
        before.setdefault(name, supervisor_sandbox.query(f"SHOW {name}")[0][0])
        supervisor_sandbox.execute(f"ALTER SYSTEM SET {name} = '{value}'" if value else f"ALTER SYSTEM RESET {name}")
        (server,) = supervisor_sandbox.replicas("postgres")
        supervisor_sandbox.stack().restart(server, timeout_seconds=60)
        await_condition(answers, "PostgreSQL answers", timeout_seconds=60)

    def answers() -> bool:
        with suppress(psycopg.OperationalError):
            return bool(supervisor_sandbox.query("SELECT 1"))
        return False

    yield set_parameter
    for name, value in before.items():
        set_parameter(name, value)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Each measurement that stands beside another: both medians, and what part the first is of the second."""
    measured = {one.name: one for one in config._benchmarksession.benchmarks if not one.has_error}  # type: ignore[attr-defined]  # the plugin's own
    rows = [(one, measured.get(one.extra_info.get("beside", ""))) for one in measured.values()]
    if any(other for _, other in rows):
        terminalreporter.section("ratios of medians")
    for one, other in rows:
        if other:
            whole = other.stats.median * one.extra_info.get("times", 1)
            terminalreporter.write_line(
                f"{one.name:<46} {one.stats.median:7.2f} s   beside {whole:7.2f} s   ratio {one.stats.median / whole:.2f}"
            )
    if any("size" in one.extra_info for one in measured.values()):
        terminalreporter.section("what grows with the platform")
    for one in measured.values():
        if "size" in one.extra_info:
            size, world = one.extra_info["size"], one.extra_info["world"]
            terminalreporter.write_line(f"{size:>12,} {world:<11} {one.stats.median:8.3f} s")
    for one in measured.values():
        if "cost" in one.extra_info:
            terminalreporter.write_line(f"{one.name}: {one.extra_info['cost']}")
