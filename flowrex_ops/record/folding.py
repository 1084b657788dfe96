"""What of a page is folded: hypotheses that are ruled out, mitigations that were refused, and what only tells how it was run.

A cell's place on the page is in ``metadata.page``, which exists only while the page is made: ``opens`` (the folds that begin
before it, the outer first), ``closes`` (how many end after it), ``anchors``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from flowrex_ops.catalog import source
from flowrex_ops.model import MitigationState, VerdictKind
from flowrex_ops.record.cells import CellState
from flowrex_ops.record.outcome import payloads

_HEADING = re.compile(r"\s*(#{1,3})\s+(.+?)\s*(?:\n|$)")
_BEFORE_HEADING = re.compile(r"\n(?=#{1,3} )")
_FENCE = "```"
_FOLDED = frozenset({"Parameters", "Investigation", "Communication", "Outcome"})
"""Sections of every runbook (design §3) that the banner sums up, or that are wanted only by who doubts the run or tells others."""
_MANY = 4
_AFTERWARDS = "Verification"
"""What is read again; it says something new only where something was changed."""
_ABOVE = "## Verdict\n\nEvery hypothesis stands [at the top of this page](#hypotheses), the worst first."

Cell = dict[str, Any]


def is_folded(slug: str, state: str, approved: Collection[str]) -> bool:
    """Whether a mitigation was refused, and nobody had asked for it: who approved one wants to read why it was not done."""
    return state == MitigationState.REFUSED and slug not in approved


def fold(cells: Iterable[Cell], approved: Collection[str], *, changed: bool) -> list[Cell]:
    """*cells* of a record, each with its place on the page.

    *approved* are the slugs that its operator gave, *changed* is whether anything was done.
    """
    titles = _FOLDED if changed else _FOLDED | {_AFTERWARDS}
    folded = (_fold_section(section, approved, titles) for section in _sections(cells))
    return [cell for ruled_out, run in groupby(folded, _is_ruled_out) for cell in _fold_run(list(run), ruled_out)]


def _is_ruled_out(section: list[Cell]) -> bool:
    opens = section[0]["metadata"].get("page", {}).get("opens")
    return bool(opens) and opens[0].get("pill") == VerdictKind.RULED_OUT


def _fold_run(sections: list[list[Cell]], ruled_out: bool) -> list[Cell]:
    """Many hypotheses in a row that are ruled out are one line, which names their causes; each has its reason at the top of the page."""
    cells = [cell for section in sections for cell in section]
    if ruled_out and len(sections) >= _MANY:
        causes = [cause for section in sections for cause in section[0]["metadata"]["page"]["opens"][0]["causes"]]
        cells[0]["metadata"]["page"]["opens"].insert(
            0, {"level": 0, "pill": VerdictKind.RULED_OUT.value, "causes": causes}
        )
        cells[-1]["metadata"]["page"]["closes"] += 1
    return cells


def _sections(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """Each heading with the cells below it, up to the next one; a cell with several headings is parted."""
    section: list[Cell] = []
    for cell in (part for one in cells for part in _parted(one)):
        if section and _heading(cell):
            yield section
            section = []
        section.append(cell)
    if section:
        yield section


def _parted(cell: Cell) -> list[Cell]:
    parts: list[str] = []
    for part in _BEFORE_HEADING.split(source(cell)) if cell["cell_type"] == "markdown" else ():
        if parts and parts[-1].count(_FENCE) % 2:  # no heading, but a comment in a block of code
            parts[-1] += f"\n{part}"
        else:
            parts.append(part)
    return [{**cell, "id": f"{cell.get('id')}-{n}", "source": part} for n, part in enumerate(parts)] or [cell]


def _fold_section(cells: list[Cell], approved: Collection[str], titles: Collection[str]) -> list[Cell]:
    heading, code = _heading(cells[0]), [cell for cell in cells if cell["cell_type"] == "code"]
    sound = not any(map(_trouble, code))
    if sound and any(".show_verdicts(" in source(cell) for cell in code):
        return [{**cells[0], "source": _ABOVE}]
    verdicts = [one for one in _payloads(code) if one.get("kind") == "verdict"]
    if heading:
        level, title = heading
        line = {"level": max(2, level), "title": title if level > 1 else f"About this runbook: {title}"}
        if code and all(_state(cell) == CellState.DID_NOT_RUN for cell in code):
            return _folded(cells, {**line, "pill": CellState.DID_NOT_RUN.value})
        if sound and (level == 1 or title in titles):
            return _folded(cells, line)
        if sound and verdicts and all(one.get("verdict") == VerdictKind.RULED_OUT for one in verdicts):
            causes = [str(one.get("cause")) for one in verdicts]
            return _folded(cells, {**line, "pill": VerdictKind.RULED_OUT.value, "causes": causes})
    return list(_fold_mitigations(cells, approved))


def _fold_mitigations(cells: list[Cell], approved: Collection[str]) -> Iterator[Cell]:
    """Each that was refused, with the sentence before it, as one line."""
    at = 0
    while at < len(cells):
        alone = cells[at]["cell_type"] == "code" or _heading(cells[at])
        pair = cells[at : at + (1 if alone else 2)]
        reported = [one for one in _payloads(pair[-1:]) if one.get("kind") == "mitigation"]
        names = [(str(one.get("slug")), str(one.get("state"))) for one in reported]
        if slugs := [slug for slug, state in names if is_folded(slug, state, approved)]:
            yield from _folded(pair, {"level": 0, "pill": MitigationState.REFUSED.value, "causes": slugs})
        else:
            yield from map(_placed, pair[:1])
        at += len(pair) if slugs else 1


def _folded(cells: list[Cell], line: dict[str, Any]) -> list[Cell]:
    """*cells* under one *line* that unfolds them."""
    first, *rest = cells
    if line["level"]:  # its heading stands in the line that unfolds it
        first = {**first, "source": _HEADING.sub("", source(first), count=1)}
    placed = [_placed(cell) for cell in (first, *rest)]
    placed[0]["metadata"]["page"]["opens"] = [line]
    placed[-1]["metadata"]["page"]["closes"] = 1
    return placed


def _placed(cell: Cell) -> Cell:
    said = _payloads([cell]) if cell["cell_type"] == "code" else []
    names = {"verdict": "cause", "mitigation": "slug"}
    anchors = [str(one.get(names[one["kind"]])) for one in said if one.get("kind") in names]
    return {**cell, "metadata": {**cell["metadata"], "page": {"anchors": anchors}}}


def _heading(cell: Cell) -> tuple[int, str] | None:
    found = _HEADING.match(source(cell)) if cell["cell_type"] == "markdown" else None
    return (len(found[1]), found[2]) if found else None


def _payloads(cells: Sequence[Cell]) -> list[Mapping[str, Any]]:
    return list(payloads({"cells": cells}))


def _state(cell: Cell) -> str:
    return str(cell["metadata"].get("flowrex_ops", {}).get("state", CellState.COMPLETED))


def _trouble(cell: Cell) -> bool:
    """Whether it did not end as it should, or said something on standard error."""
    errors = any(one.get("output_type") == "error" or one.get("name") == "stderr" for one in cell.get("outputs", ()))
    return errors or _state(cell) != CellState.COMPLETED
