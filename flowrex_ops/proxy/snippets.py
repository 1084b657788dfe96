"""Snippets of NGINX configuration that this tool writes into the control folder, each with a head that says whose it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from flowrex_ops.errors import SourceUnavailableError

MANAGED_COLUMNS = ["file", "purpose", "by", "since", "until", "about"]
_HEAD = "# flowrex-ops "
_OURS = (".conf", ".html")


@dataclass(frozen=True, slots=True)
class SnippetHeader:
    """Why a snippet is there (``maintenance``), by whom, since when; ``until`` where it ends itself. Times are ISO 8601, UTC."""

    purpose: str
    by: str
    since: str
    until: str = ""
    about: str = ""

    def __str__(self) -> str:
        return f"{_HEAD}{json.dumps(asdict(self))}\n"


def header_of(purpose: str, by: str, *, until: datetime | None = None, about: str = "") -> SnippetHeader:
    """The head of a snippet that is written now."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return SnippetHeader(purpose, by, since, until.isoformat(timespec="seconds") if until else "", about)


def parse_header(text: str) -> SnippetHeader | None:
    """The head of a snippet; ``None`` for one that is not ours, or whose head somebody has edited."""
    first = text.partition("\n")[0]
    try:
        return SnippetHeader(**json.loads(first.removeprefix(_HEAD))) if first.startswith(_HEAD) else None
    except (ValueError, TypeError):
        return None


def read_managed(folder: Path) -> dict[str, str]:
    """The snippets in *folder* and the pages that they serve, text by file name. SourceUnavailableError where unreadable."""
    try:
        return {
            path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.suffix in _OURS
        }
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnavailableError(f"'{folder}' cannot be read: {error}; correct proxy.control") from None


def list_managed(folder: Path) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Rows of ``MANAGED_COLUMNS``; a file without our head has nothing but its name."""
    if not folder.is_dir():
        raise SourceUnavailableError(f"'{folder}' is no folder; correct proxy.control")
    snippets = {name: text for name, text in read_managed(folder).items() if name.endswith(".conf")}
    for name, text in snippets.items():
        head = parse_header(text) or SnippetHeader("somebody else's", "", "")
        yield name, head.purpose, head.by, head.since, head.until, head.about
