"""Shapes that give a secret away: passwords in URLs, tokens, keys, cookies, card numbers.

Each rule has needles: literals of which one must occur, so that ordinary text costs a substring search and no more.
Each stays linear on a megabyte of anything: what it repeats cannot begin again inside itself.
What stands under a telling name (``PASSWORD=…``) is taken by ``secret_names.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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


def redact_shapes(text: str, shapes: Iterable[Shape] = ()) -> str:
    """*text* with everything that has one of *shapes* replaced by markers; without them, of all that is known here."""
    lowered = text.lower()
    for one in shapes or SHAPES:
        if any(needle in lowered for needle in one.needles):
            text = one.apply(text)
    return text if shapes else _redact_cards(text)


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


def shape(what: str, needles: str, pattern: str) -> Shape:
    """A rule with its needles, in lower case, as one text."""
    return Shape(what, tuple(needles.split()), re.compile(pattern))


SHAPES = (
    shape(
        "private-key",
        "private",
        r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY(?: BLOCK)?)-----"
        r"(?:(?:(?!-----BEGIN)[\s\S])*?-----END (?P=kind)-----|[A-Za-z0-9+/=\s\\]*)",
    ),
    shape("password", "://", r"://[^\s:/?#@'\"<>\[]*:(?P<secret>[^\s'\"<>/]+)@"),
    shape("password", "://", r"://[^\s:/?#@'\"<>\[]*:(?!\d{1,5}\b)(?P<secret>[^\s'\"<>/@,)]+?)(?:\.\.\.|…)"),
    shape(
        "authorization",
        "authorization",
        r"(?i)authorization[^\w\n]{1,12}(?:bearer|basic|digest|token)\s+(?P<secret>[^\s'\"<>,;\\&]+)",
    ),
    shape("token", "bearer", r"(?i)\bbearer\s+(?P<secret>(?=[^\s]*\d)[A-Za-z0-9._~+/-]{16,}=*)"),
    shape("cookie", "cookie", r"(?i)\bcookie:\s*(?P<secret>(?=[^\s=]{1,256}=)[^\r\n'\"<\\]+)"),
    shape("jwt", "eyj", r"\beyJ(?:(?!-eyJ)[A-Za-z0-9_-]){5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?"),
    shape("aws-key", "akia asia aroa aida", r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b"),
    shape("token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    shape("webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[A-Za-z0-9/_-]+)"),
    shape("token", "k_live_ k_test_ whsec_", r"\b(?:[prs]k_(?:live|test)|whsec)_[A-Za-z0-9]{10,}"),
    shape("token", "gh github_pat_", r"\b(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    shape("token", "glpat- sntry", r"\b(?:glpat-[\w-]{16,}|sntry[su]_[\w+/=-]{16,})"),
    shape("token", "aiza", r"\bAIza[A-Za-z0-9_-]{30,}"),
    shape("token", "sk-", r"(?<![\w-])sk-(?=[A-Za-z0-9_-]*?[A-Za-z0-9]{16})[A-Za-z0-9_-]+"),
    shape("token", "sg.", r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),
    shape("token", ":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{30,}"),
    shape("webhook", "/api/webhooks/", r"/api/webhooks/\d+/(?P<secret>[\w-]+)"),
    shape(
        "token",
        "npm_ pypi- dckr_pat_ hf_ gsk_ r8_ nvapi-",
        r"\b(?:(?:npm|dckr_pat|hf|gsk|r8)_[A-Za-z0-9_-]{20,}|(?:pypi|nvapi)-[\w-]{20,})",
    ),
    shape("token", "xapp-", r"\bxapp-\d-[A-Z0-9]+-\d+-[a-f0-9]{10,}"),
    shape("token", "_v1_", r"\bdo[opr]_v1_[a-f0-9]{40,}"),
    shape("token", "hvs. hvb. hvr.", r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    shape("token", "sq0 shp", r"\b(?:sq0(?:atp|csp)-[\w-]{20,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{24,})"),
    shape("token", "key-", r"\bkey-[a-f0-9]{32}\b"),
    shape("token", "ac", r"\b(?:AC|SK)[a-f0-9]{32}(?::(?P<secret>[a-f0-9]{32}))?\b"),
    shape("token", "ya29. 1//0", r"(?:\bya29\.[\w-]{20,}|(?<![\w/])1//0[\w-]{30,})"),
    shape(
        "token",
        "lin_api_ atatt pmak- age-secret-key- eaac amzn.mws.",
        r"\b(?:lin_api_\w{20,}|ATATT3[\w=-]{20,}|PMAK-[a-f0-9-]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{40,}|EAAC[A-Za-z0-9]{20,}|amzn\.mws\.[a-f0-9-]{36})",
    ),
    shape("token", ".", r"(?<![\w.-])[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),
    # Hashes of passwords: crypt(3), bcrypt, htpasswd, Argon2, Django, werkzeug, PostgreSQL
    shape(
        "password-hash",
        "$",
        r"\$(?:2[abxy]\$\d\d\$[./A-Za-z0-9]{20,}|(?:1|5|6|7|y|gy|apr1)\$[^\s:'\"]{12,}|argon2(?:id?|d)\$[^\s:'\"]{12,})",
    ),
    shape("password-hash", "pbkdf2_ scrypt: pbkdf2:", r"\b(?:pbkdf2_\w+\$|scrypt:\d|pbkdf2:\w)[^\s'\"]{16,}"),
    shape("password-hash", "scram-sha-", r"\bSCRAM-SHA-(?:1|256)\$[^\s'\"]{20,}"),
    shape("password-hash", "md5", r"\bmd5[a-f0-9]{32}\b"),
    shape("password-hash", "{sha {ssha", r"\{S?SHA(?:256|512)?\}[A-Za-z0-9+/=]{16,}"),
)
