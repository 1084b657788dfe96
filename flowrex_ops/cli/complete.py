"""What the shell offers at Tab: names with a word about each. Nothing is fetched from a store, and whatever is wrong offers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

Offer = tuple[str, str]


def offers(names: Callable[[], Iterable[Offer]]) -> Callable[[str], list[Offer]]:
    """A completion out of *names*: those that begin as what was typed."""

    def complete(incomplete: str) -> list[Offer]:
        return fitting(names, incomplete)

    return complete


def fitting(names: Callable[[], Iterable[Offer]], incomplete: str) -> list[Offer]:
    """Those of *names* that begin with *incomplete*."""
    from flowrex_ops.errors import FlowrexOpsError

    try:
        return [(name, about) for name, about in names() if name.startswith(incomplete)]
    except (FlowrexOpsError, OSError):
        return []


@offers
def runbooks() -> Iterable[Offer]:
    """Every runbook, with its title."""
    from flowrex_ops.catalog import find_runbooks

    return ((runbook.slug, runbook.title) for runbook in find_runbooks().values())


def mitigations(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """Those of the runbook that was typed, else every one."""
    from flowrex_ops.catalog import find_runbooks
    from flowrex_ops.mitigations import KNOWN

    found = find_runbooks()
    # While an option lacks its value, the parser has not come to the arguments.
    named = [name for name in (ctx.params.get("runbook"), *ctx.args) if name in found]
    text = str(found[named[0]].document) if named else ""
    return fitting(lambda: ((slug, "") for slug in KNOWN if not text or f'"{slug}"' in text), incomplete)


@offers
def incidents() -> Iterable[Offer]:
    """``latest`` and every incident, the newest first, with its title."""
    from flowrex_ops.archive.folders import list_incidents
    from flowrex_ops.archive.incidents import LATEST, read_incident
    from flowrex_ops.settings import load

    yield LATEST, "the newest that is open"
    for folder in list_incidents(load().outputs):
        yield folder.name, str(read_incident(folder).get("title") or "")


@offers
def runs() -> Iterable[Offer]:
    """``latest`` and every run that belongs to no incident, the newest first."""
    from flowrex_ops.archive.folders import list_runs
    from flowrex_ops.archive.incidents import LATEST
    from flowrex_ops.settings import load

    yield LATEST, "the newest"
    yield from ((folder.name, "") for folder in list_runs(load().outputs))


@offers
def records() -> Iterable[Offer]:
    """``latest`` and every record, the newest first, with its diagnosis."""
    from flowrex_ops.archive.incidents import LATEST
    from flowrex_ops.archive.records import list_records
    from flowrex_ops.settings import load

    yield LATEST, "the newest"
    yield from ((one.id, one.metadata.diagnosis or "") for one in list_records(load().outputs))
