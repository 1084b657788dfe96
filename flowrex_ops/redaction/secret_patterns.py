"""Shapes that give a secret away: passwords in URLs, tokens, keys, cookies, card numbers.

Each rule has needles: literals of which one must occur, so that ordinary text costs a substring search and no more.
Each stays linear on a megabyte of anything: what it repeats cannot begin again inside itself.
What stands under a telling name (``PASSWORD=…``) is taken by ``secret_names.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MARKER = re.compile(r"\[redacted:[a-z-]+\]")


@dataclass(frozen=True, slots=True)
class Shape:
    """One rule: *pattern*'s group ``secret`` (or the whole match) becomes a marker if *accept* says so."""

    what: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    accept: Callable[[str], bool] = lambda _secret: True

    def apply(self, text: str) -> str:
        """*text* with every match replaced."""
        return self.pattern.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        group = "secret" if "secret" in self.pattern.groupindex else 0
        secret = match.group(group)
        if MARKER.fullmatch(secret) or not self.accept(secret):
            return match.group()
        start, end = match.start(group) - match.start(), match.end(group) - match.start()
        return match.group()[:start] + marker(self.what) + match.group()[end:]


def marker(what: str) -> str:
    """What stands in the place of a secret."""
    return f"[redacted:{what}]"


def redact_shapes(text: str) -> str:
    """*text* with everything that has the shape of a secret replaced by markers."""
    lowered = text.lower()
    for shape in SHAPES:
        if any(needle in lowered for needle in shape.needles):
            text = shape.apply(text)
    return _redact_cards(text)


def is_card_number(digits: str) -> bool:
    """Whether *digits* (separators allowed) pass the Luhn check that every payment card number passes."""
    numbers = [int(c) for c in reversed(digits) if c.isdigit()]
    if len(set(numbers)) == 1:
        return False
    doubled = [sum(divmod(n * 2, 10)) for n in numbers[1::2]]
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0


_MANY_DIGITS = re.compile(r"[2-6](?:[ -]?\d){12}")
_CARD = re.compile(
    r"(?<![\w.])(?<![0-9a-fA-F]-)"
    r"(?=4|5[1-5]|2[2-7]|3[04-9]|6)"  # issuers' first digits; times in ms, µs and ns begin with 1
    r"(?:\d{4}(?P<a>[ -]?)\d{4}(?P=a)\d{4}(?P=a)\d{1,4}(?:(?P=a)\d{1,3})?|\d{4}(?P<b>[ -]?)\d{6}(?P=b)\d{4,5})"
    r"(?![\w-]|\.\d)"
)


def _redact_cards(text: str) -> str:
    if not _MANY_DIGITS.search(text):
        return text
    return _CARD.sub(lambda m: marker("card-number") if is_card_number(m.group()) else m.group(), text)


def _shape(what: str, needles: str, pattern: str) -> Shape:
    return Shape(what, tuple(needles.split()), re.compile(pattern))


SHAPES = (
    _shape(
        "private-key",
        "private",
        r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY)-----"
        r"(?:(?:(?!-----BEGIN)[\s\S])*?-----END (?P=kind)-----|[A-Za-z0-9+/=\s\\]*)",
    ),
    _shape("password", "://", r"://[^\s:/?#@'\"<>\[]*:(?P<secret>[^\s'\"<>/]+)@"),
    _shape("password", "://", r"://[^\s:/?#@'\"<>\[]*:(?!\d{1,5}\b)(?P<secret>[^\s'\"<>/@,)]+?)(?:\.\.\.|…)"),
    _shape(
        "authorization",
        "authorization",
        r"(?i)authorization[^\w\n]{1,12}(?:bearer|basic|digest|token)\s+(?P<secret>[^\s'\"<>,;\\&]+)",
    ),
    _shape("token", "bearer", r"(?i)\bbearer\s+(?P<secret>(?=[^\s]*\d)[A-Za-z0-9._~+/-]{16,}=*)"),
    _shape("cookie", "cookie", r"(?i)\bcookie:\s*(?P<secret>(?=[^\s=]{1,256}=)[^\r\n'\"<\\]+)"),
    _shape("jwt", "eyj", r"\beyJ(?:(?!-eyJ)[A-Za-z0-9_-]){5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"),
    _shape("aws-key", "akia asia aroa aida", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"),
    _shape("token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    _shape("webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]+)"),
    _shape("token", "k_live_ k_test_ whsec_", r"\b(?:[prs]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,}"),
    _shape("token", "gh github_pat_", r"\b(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    _shape("token", "glpat- sntry", r"\b(?:glpat-[\w-]{16,}|sntry[su]_[\w+/=-]{16,})"),
    _shape("token", "aiza", r"\bAIza[A-Za-z0-9_-]{30,}"),
    _shape("token", "sk-", r"(?<![\w-])sk-(?=[A-Za-z0-9_-]*?[A-Za-z0-9]{16})[A-Za-z0-9_-]+"),
    _shape("token", "sg.", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    _shape("token", ":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{30,}"),
    _shape("webhook", "/api/webhooks/", r"/api/webhooks/\d+/(?P<secret>[\w-]+)"),
    _shape(
        "password",
        "requirepass masterauth",
        r"(?im)(?:^[ \t]*|\bconfig\s+set\s+)(?:requirepass|masterauth)[ \t]+(?P<secret>[^\s'\"]+|'[^'\n]+'|\"[^\"\n]+\")",
    ),
)
