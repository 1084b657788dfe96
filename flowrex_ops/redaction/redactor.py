"""Takes secrets out of text and JSON before anything reaches disk, a wire or a screen; what is hostile in it becomes inert.

Three kinds of rule: literal values that the settings name (in every spelling in which they may turn up), shapes that
give a secret away (``secret_patterns.py``, ``secret_phrases.py``), and names under which one stands (``secret_names.py``). What is left says what stood there: ``[redacted:password]``.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from flowrex_ops.redaction.secret_names import is_secret_name, redact_named
from flowrex_ops.redaction.secret_patterns import MARKER, marker, redact_shapes
from flowrex_ops.redaction.secret_phrases import PHRASES

SHORTEST_SECRET = 4
"""Characters; a shorter literal would redact half the record."""
_SHORTEST_PREFIX = 8
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 4096
"""Texts, and characters of each: 16 MB at the very most."""
_DATA_URI = re.compile(r"(data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]*)")
_MIME_TYPE = re.compile(r"(?:application|image|text)/[\w.+-]+")
_IMAGE_MARKUP = "image/svg+xml"
_HOSTILE = re.compile(
    r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What would command a terminal (all but colours), turn the direction of writing, or be no text at all, whoever wrote it into a log."""


class Redactor:
    """Redacts the literal *secret_values* and everything that has the shape of a secret; safe to apply twice.

    A value under four characters is ignored. The redactor is immutable and may be shared between threads.
    """

    def __init__(self, secret_values: Iterable[str] = ()) -> None:
        self.secret_values = tuple(sorted({v for v in secret_values if len(v) >= SHORTEST_SECRET}))
        forms = {form for value in self.secret_values for form in _spellings(value)}
        self._forms = sorted(forms, key=lambda form: (-len(form), form))
        self._prefixes = tuple(v[:_SHORTEST_PREFIX] for v in self.secret_values if _can_be_cut(v))
        self._literal = _alternatives([re.escape(form) for form in self._forms])
        self._cut_off = _alternatives([_cut_off_pattern(v) for v in self.secret_values if _can_be_cut(v)])
        # A record is written after each of its cells, and most of it says what it said before.
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._redacted)

    def text(self, text: str) -> str:
        """*text* without secrets; embedded ``data:`` URIs (images) are left alone."""
        if "data:" not in text:
            return self._plain(text)
        parts = _DATA_URI.split(text)
        return "".join(part if index % 2 else self._plain(part) for index, part in enumerate(parts))

    def json(self, value: Any) -> Any:
        """A copy of a JSON value without secrets, in keys too; binary ``image/*`` payloads are left alone."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self._key(str(key)): self._member(str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return self._list(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value)
        return value

    def _key(self, key: str) -> str:
        """A MIME type is never a secret: without it nobody could read the output any more."""
        return key if _MIME_TYPE.fullmatch(key) else self.text(key)

    def _member(self, key: str, item: Any) -> Any:
        if key.startswith("image/") and key != _IMAGE_MARKUP:
            return item
        if is_secret_name(key):
            return self._secret(item, "password" if "pass" in key.lower() else "secret")
        return self.json(item)

    def _secret(self, item: Any, what: str) -> Any:
        """What stands under a secret's name, each entry of a list too; a small number or a flag tells nothing."""
        if isinstance(item, (list, tuple)):
            return [self._secret(one, what) for one in item]
        if isinstance(item, bool) or not isinstance(item, (str, int, float)):
            return self.json(item)
        if MARKER.fullmatch(str(item)) or len(str(item)) < (1 if isinstance(item, str) else SHORTEST_SECRET):
            return item
        return marker(what)

    def _list(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        """Multi-line strings of a notebook on disk are lists of lines: a secret may straddle them."""
        if items and all(isinstance(item, str) for item in items):
            joined = "".join(items)
            if all(item.endswith("\n") for item in items[:-1]) and self.text(joined) != joined:
                return self.text(joined).splitlines(keepends=True)
        return [self.json(item) for item in items]

    def _number(self, value: int) -> int | str:
        digits = str(value)
        redacted = self._plain(digits) if len(digits) >= SHORTEST_SECRET else digits
        return value if redacted == digits else redacted

    def _plain(self, text: str) -> str:
        return self._remembered(text) if len(text) <= _LONGEST_REMEMBERED else self._redacted(text)

    def _redacted(self, text: str) -> str:
        if self._literal and any(form in text for form in self._forms):
            text = self._literal.sub(_keep_marker, text)
        if self._cut_off and any(prefix in text for prefix in self._prefixes):
            text = self._cut_off.sub(_keep_marker, text)
        return _HOSTILE.sub("\N{REPLACEMENT CHARACTER}", redact_named(redact_shapes(redact_shapes(text), PHRASES)))


def _keep_marker(match: re.Match[str]) -> str:
    return match.group("marker") or marker("secret")


def _alternatives(patterns: list[str]) -> re.Pattern[str] | None:
    """One pattern for all, which steps over markers so that a second pass changes nothing."""
    if not patterns:
        return None
    return re.compile(f"(?P<marker>{MARKER.pattern})|(?:{'|'.join(patterns)})")


def _can_be_cut(value: str) -> bool:
    """Whether a cut-off beginning of *value* would give it away: long, and not a URL that starts like all others."""
    return len(value) > _SHORTEST_PREFIX + 2 and "://" not in value and "=" not in value


def _cut_off_pattern(value: str) -> str:
    """The value's beginning as a truncated table shows it: eight or more characters, then ``...`` or ``…``."""
    tail = ""
    for character in reversed(value[_SHORTEST_PREFIX:72]):
        tail = f"(?:{re.escape(character)}{tail})?"
    return rf"{re.escape(value[:_SHORTEST_PREFIX])}{tail}(?=\.\.\.|…)"


def _spellings(value: str) -> set[str]:
    """*value* as it may turn up: plain, URL-encoded, JSON- and Python-escaped, HTML-escaped, base64."""
    found = {
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        json.dumps(value)[1:-1],
        json.dumps(json.dumps(value))[3:-3],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        html.escape(value, quote=False),
        *_base64_spellings(value.encode("utf-8", "surrogatepass")),
    }
    return {form for form in found if len(form) >= SHORTEST_SECRET}


def _base64_spellings(value: bytes) -> set[str]:
    """What stays the same of *value* in base64 wherever it stands in the encoded bytes (three alignments)."""
    found = set()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + value)
        start = (0, 2, 3)[offset]
        end = len(encoded) - (0, 3, 2)[(offset + len(value)) % 3]
        core = encoded[start:end].decode()
        if len(core) >= _SHORTEST_PREFIX:
            found.update({core, core.replace("+", "-").replace("/", "_")})
    return found
