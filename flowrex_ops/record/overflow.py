"""What a cell says stands in its record up to a megabyte; the rest goes to a file beside it, which no page has to load."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flowrex_ops.archive.records import Slot
from flowrex_ops.model import OUTCOME_MIME_TYPE
from flowrex_ops.redaction.redactor import Redactor

MOST_CHARACTERS = 2**20
"""Of one cell in the record."""
MOST_BESIDE = 64 * 2**20
"""Of one run in the file."""
_ONE_LINE = 2**16
"""A line that is longer is redacted in pieces."""


class Overflow:
    """Takes the outputs of one run as they come, and gives back what its record may hold of each."""

    def __init__(self, slot: Slot, redactor: Redactor) -> None:
        self._path = slot.incident / "evidence" / f"{slot.name}-output.txt"
        self._redactor = redactor
        self._held: dict[int, int] = {}
        self._beside = 0
        self._line = ""

    def fit(self, cell: int, content: Mapping[str, Any], *, updated: bool = False) -> dict[str, Any]:
        """*content* of a kernel's message (stream, data, error); one that is *updated* in place takes no room of others."""
        fitted = dict(content)
        room = MOST_CHARACTERS - (0 if updated else self._held.get(cell, 0))
        if "text" in content:
            size = len(content["text"])
            fitted["text"] = self._fit_text(content["text"], room)
        elif "data" in content:
            size = sum(len(str(value)) for mime, value in content["data"].items() if mime != OUTCOME_MIME_TYPE)
            fitted["data"] = content["data"] if size <= room else self._left_out(content["data"], size)
        else:
            size = 0
            fitted["evalue"] = str(content.get("evalue", ""))[:_ONE_LINE]
            fitted["traceback"] = [str(line)[:_ONE_LINE] for line in content.get("traceback", [])][-100:]
        if not updated:
            self._held[cell] = self._held.get(cell, 0) + size
        return fitted

    def close(self) -> None:
        """Write what waits for the end of its line. A full disk costs this file alone."""
        self._flush(self._line)
        self._line = ""

    @property
    def _where(self) -> str:
        return f"a cell may have a mebibyte, the rest is in evidence/{self._path.name}"

    def _left_out(self, data: Mapping[str, Any], size: int) -> dict[str, Any]:
        """What tells machines of a verdict or a mitigation stays, however large the picture of it is."""
        self._write(str(data.get("text/plain", "")) + "\n")
        kept = {mime: value for mime, value in data.items() if mime == OUTCOME_MIME_TYPE}
        return {**kept, "text/plain": f"an output of {size:,} characters was left out; {self._where}"}

    def _fit_text(self, text: str, room: int) -> str:
        if len(text) <= room:
            return text
        # Cut between lines, so that no half of a secret is left on either side.
        cut = text.rfind("\n", 0, room) + 1 if room > 0 else 0
        self._write(text[cut:])
        return f"{text[:cut]}[{self._where}]\n" if room > 0 else ""

    def _write(self, text: str) -> None:
        whole, newline, self._line = (self._line + text).rpartition("\n")
        if len(self._line) > _ONE_LINE:
            whole, newline, self._line = whole + newline + self._line, "", ""
        self._flush(whole + newline)

    def _flush(self, text: str) -> None:
        data = self._redactor.text(text).encode(errors="replace")[: max(0, MOST_BESIDE - self._beside)]
        self._beside += len(data)
        if data:
            with suppress(OSError):
                self._path.parent.mkdir(exist_ok=True)
                with self._path.open("ab") as file:
                    file.write(data)
