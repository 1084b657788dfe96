"""Names under which a secret stands: ``DB_PASSWORD=…``, ``"client_secret": "…"``, ``x-api-key: …``, ``refreshToken``.

A name is found by its last word, in one pass over the text in lower case; only there is looked at what stands before
and after. So whatever prefix a name has costs nothing, and a megabyte of anything takes a fraction of a second.

A secret's name is found by its last word: a prefix in a regular expression is either bounded or quadratic.
"""

from __future__ import annotations

import re
import string

from flowrex_ops.redaction.secret_patterns import MARKER, marker

_MORE = r"(?:[_-](?:hash|digest|base|value|plain|old|new|encrypted|confirm(?:ation)?)|[0-9])?"
"""What may follow the word in a name, as in ``password_hash``, ``SECRET_KEY_BASE``, ``password2``."""
_LAST_WORD = re.compile(
    rf"(?:a(?:pi|ccess|uth|ccount)|private|secret|signing|encryption)[_-]?key{_MORE}"
    rf"|passw(?:or)?ds?{_MORE}|passphrase|passcode|secrets?{_MORE}|token|credentials"
    r"|pass|pwd|cookie|authorization"  # no group: the search then skips by the first letter
)
_SHORT = ("pass", "pwd")
_MEMBERS_ONLY = ("cookie", "authorization")
_SHORT_AFTER = ("db", "pg", "sql", "user", "smtp", "mail", "redis", "root", "admin")
"""``DBPASS`` is a name of two words; ``bypass`` and ``compass`` are one."""
_LONGEST_PREFIX = 80
_LINE_HEAD = re.compile(r"[ \t]*(?:[-<>] )?[\w.-]*")
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

_ANSI = r"(?:\x1b\[[0-9;]*m)*"
_QUOTE = r"(?:\\{0,16}[\"']|&quot;|&\#x27;|&\#39;|&\#34;)"
_NOT_NOTHING = r"(?!(?:None|null|nil|True|False|true|false|\*+|\.\.\.)(?![\w-]))"
_MEMBER = rf"{_QUOTE}{_ANSI}\s*:{_ANSI}\s*{_ANSI}"
_QUOTED = rf"(?P<q>{_QUOTE})(?P<secret>(?:(?!(?P=q)|[\r\n]).)+)(?P=q)"
_MARKED = r"\[redacted:[a-z-]+\]"

_AS_MEMBER = re.compile(rf"{_MEMBER}(?:{_QUOTED}|(?P<number>-?\d[\d.]{{3,}})|\[(?!redacted:)(?P<list>[^\[\]{{}}]+)\])")
_TYPED = r"(?::[ ]?[\w.]{1,40}(?:\[[\w., |]{1,40}\])?)?"
_ASSIGNED = re.compile(
    rf"{_TYPED}{_ANSI}\s*=>?{_ANSI}\s*{_ANSI}{_QUOTED}"
    rf"|{_ANSI}={_ANSI}{_NOT_NOTHING}"
    rf"(?P<bare>(?:{_MARKED}|[^\s'\"<>,;&)\]}}\\\x1b=])(?:{_MARKED}|[^\s'\"<>,;&)\]}}\\\x1b])*)"
)
_AFTER_COLON = re.compile(r":\s+(?P<secret>[^\s'\"<>,]+)")
_VALUE = r"[^\s'\"<>,;)]"
_NO_REFERENCE = r"(?!\$[{(A-Z_]|\[redacted:)"
_MIXED = rf"{_NO_REFERENCE}(?={_VALUE}{{0,200}}[0-9!@#$%^&*+=]){_VALUE}{{6,}}"
"""What is no ordinary word: something other than letters is in it."""
_HYPHENED = rf"{_NO_REFERENCE}(?={_VALUE}{{0,200}}[0-9!@#$%^&*+=_-]){_VALUE}{{6,}}"
_ELSEWHERE = re.compile(
    r"(?:"
    rf"[ ]?=[ ](?P<ini>{_HYPHENED})(?=[ \t]*(?:[\r\n]|\Z))"  # aws_secret_access_key = x
    rf"|[ ]?:[ ](?:[\"'](?=[^\"'\n]+[\"']))?(?P<said>{_HYPHENED})"  # wrong password: x
    r"|[\"']?\]?\s*=>\s*[\"']?(?P<arrow>[^\s'\",>]+)"  # PHP, Ruby
    r"|:[ ](?:!!str[ ]|[|>][+-]?[ ]*\n[ ]*)(?P<yaml>[^\s]+)"
    rf"|[ ](?:is|was)[ ](?P<told>{_HYPHENED})"
    rf"|[ \t]+[\"'|]?(?P<after>{_MIXED})|\t+(?P<table>{_HYPHENED})"  # with password x; NAME<tab>x
    r"|[ ]+(?P<q2>['\"])(?P<quoted>[^\s'\"]+)(?P=q2)"  # PASSWORD 'x'
    r"|:[ ]\[(?!redacted:)(?P<listed>[^\[\]{}\n]+)\]"
    r"|>(?P<xml>[^<>\s]+)</"
    r"|(?:\\?[\"'])?[\s,]+(?:\\?[\"'])?value(?:\\?[\"'])?\s*[:=]\s*(?:\\?[\"'])?(?P<value>[^\s\"',}\\]+)"  # name: X, value: x
    r"|%22(?:%20|\+)?%3A(?:%20|\+)?%22(?P<encoded>[^%&\s]+)|%3D(?P<query>[^%&\s'\"]+)"
    r")"
)
_CONTEXTS = frozenset(" \t\n:=]\"'>%,\\")
_TOLD = ("after", "table", "told", "quoted")
_WORDS_THAT_TELL = ("passw", "passp", "passc")
_OPTION = re.compile(
    r"[ ]+(?:\"(?P<double>[^\"\n]+)\"|'(?P<single>[^'\n]+)'|(?P<secret>(?!-)(?=[^\s]*[a-z0-9])[^\s'\"]+))"
)
_HEADER = re.compile(r":[ ]?(?P<secret>[^\s'\",]+)")
_REST_OF_LINE = re.compile(
    rf":[ \t]+{_NOT_NOTHING}(?P<secret>\"[^\"\r\n]+\"|'[^'\r\n]+'|[^\s'\"{{\[|>*&$][^\s]*)(?=[ \t]*(?:[\r\n]|\Z))"
)


def is_secret_name(name: str) -> bool:
    """Whether a member of this *name* is a secret: ``db_password``, ``x-api-key``, ``refreshToken``, ``cookie``."""
    found = _LAST_WORD.finditer(_lower(name))
    return any(
        word.end() == len(name) and (word[0] not in _SHORT or _begins_there(name, word.start())) for word in found
    )


def redact_named(text: str) -> str:
    """*text* with what stands under a secret's name replaced by a marker."""
    pieces, done = [], 0
    for word in _LAST_WORD.finditer(_lower(text)):
        span = _secret_after(text, word) if word.start() >= done else None
        if span is not None:
            pieces += [text[done : span[0]], marker("secret")]
            done = span[1]
    return "".join([*pieces, text[done:]])


def _secret_after(text: str, word: re.Match[str]) -> tuple[int, int] | None:
    """Where the secret under the name that ends in *word* stands."""
    start, end = word.span()
    if word[0] in _SHORT and not _begins_there(text, start):
        return None
    match = _AS_MEMBER.match(text, end)
    if match is None and word[0] not in _MEMBERS_ONLY and (word[0] != "pass" or _has_prefix(text, start)):
        match = _ASSIGNED.match(text, end) or _after_colon(text, start, end) or _in_context(text, start, end)
    if match is None:
        return None
    group = next(name for name, value in match.groupdict().items() if value and name not in ("q", "q2"))
    return None if MARKER.fullmatch(match[group]) else match.span(group)


def _after_colon(text: str, start: int, end: int) -> re.Match[str] | None:
    """``API_KEY: x`` anywhere; ``x-api-key: x`` where it is a line of its own, as in YAML and a request's head."""
    if text[end : end + 1] != ":":
        return None
    before = text[max(0, start - _LONGEST_PREFIX) : start]
    _, newline, head = before.rpartition("\n")
    at_line_start = (newline or start <= _LONGEST_PREFIX) and _LINE_HEAD.fullmatch(head)
    found = _REST_OF_LINE.match(text, end) if at_line_start else None
    return found or (_AFTER_COLON.match(text, end) if text[start:end].isupper() else None)


def _in_context(text: str, start: int, end: int) -> re.Match[str] | None:
    """An option of a command line, a header, or a sentence that tells one; a token or a secret is spoken of without telling it."""
    following = text[end : end + 1]
    if following not in _CONTEXTS:
        return None
    if following in " :":
        before = text[start - 1 : start]
        name = text[_name_start(text, start) : start] if before == "-" or before.isalnum() or before == "_" else ""
        if following == " " and name.startswith("-"):
            return _OPTION.match(text, end)
        if following == ":" and name[:2] in ("x-", "X-") and (match := _HEADER.match(text, end)):
            return match
    match = _ELSEWHERE.match(text, end)
    if match is None or (match.lastgroup in _TOLD and text[start : start + 5].lower() not in _WORDS_THAT_TELL):
        return None
    return match


def _name_start(text: str, start: int) -> int:
    """Where the name begins that goes on at *start*, as far back as names are long."""
    first = max(0, start - _LONGEST_PREFIX)
    while start > first and (text[start - 1].isalnum() or text[start - 1] in "_-."):
        start -= 1
    return start


def _begins_there(text: str, start: int) -> bool:
    """Whether a word of its own begins at *start*: ``db_pass``, ``dbPass``, ``DBPASS``; not ``bypass``."""
    before = text[start - 1 : start]
    if not before.isalnum() or (text[start].isupper() and not before.isupper()):
        return True
    return text[max(0, start - 5) : start].lower().endswith(_SHORT_AFTER)


def _has_prefix(text: str, start: int) -> bool:
    """Whether the word goes on a name or is one of a URL's query; ``pass=3`` by itself counts something."""
    return start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_-.?&")


def _lower(text: str) -> str:
    """*text* in lower case, every character in its place (a few letters become two in lower case)."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else text.translate(_ASCII_LOWER)
