"""What a restore writes down about itself, as comments on databases.

With names and comments the server tells what was done, also when the run that did it is gone.

``<live>_restore_<time>`` is being loaded, ``<live>_verify_<time>`` is a test restore, ``<live>_before_<time>`` holds the
data from before a swap. A database with a journal as its comment belongs to a run that is not over yet.

It is where the data is, so that a run from another machine finds it, it is transactional with the renames, and no
file of ours can disagree with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime

LOADING, VERIFYING, KEPT = "restore", "verify", "before"
_PREFIX = "flowrex-ops journal: "
_LONGEST_STEM = 40
"""PostgreSQL cuts names at 63 bytes."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What a run says of itself: who (``slug``), ``what``, when it was ``begun``, and whether it has ``swapped`` yet.

    ``stopped`` are the replicas (service, name) to be started again, ``comment`` is the one that the database shall have then.
    """

    slug: str
    what: str
    begun: str
    stopped: tuple[tuple[str, str], ...] = ()
    comment: str | None = None
    swapped: bool = False

    def to_comment(self) -> str:
        """As the comment on a database."""
        return _PREFIX + json.dumps(asdict(self))


def read_journal(comment: str | None) -> Journal | None:
    """The journal in *comment*; ``None`` for any other comment."""
    if not comment or not comment.startswith(_PREFIX):
        return None
    try:
        reported = json.loads(comment.removeprefix(_PREFIX))
        stopped = tuple((str(service), str(name)) for service, name in reported["stopped"])
        return Journal(
            str(reported["slug"]),
            str(reported["what"]),
            str(reported["begun"]),
            stopped,
            reported["comment"],
            bool(reported["swapped"]),
        )
    except (ValueError, KeyError, TypeError):
        return Journal("", "something that cannot be read any more", "")


def new_name(live: str, kind: str, at: datetime, taken: Collection[str]) -> str:
    """``flowrex_restore_20261123_173700``, or with a number behind it where that is taken."""
    name = f"{live[:_LONGEST_STEM]}_{kind}_{at:%Y%m%d_%H%M%S}"
    others = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return next(candidate for candidate in (name, *others) if candidate not in taken)


def kind_of(name: str, live: str) -> str | None:
    """``restore``, ``verify`` or ``before``; ``None`` for a database that no restore has made."""
    stem = re.escape(live[:_LONGEST_STEM])
    match = re.fullmatch(rf"{stem}_({LOADING}|{VERIFYING}|{KEPT})_\d{{8}}_\d{{6}}(_\d+)?", name)
    return match[1] if match else None
