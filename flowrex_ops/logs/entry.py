"""What stands before the text of a log entry: its time, level, process and logger, in whichever order they were written.

They are taken off before entries are compared: two errors are not different for having another time or another thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DAY = r"(?:\d{4}[-/]\d\d[-/]\d\d|\d{4}\.\d\d\.\d\d)"
_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d+)?"
_ZONE = r"(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?![\d-]))?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = (
    rf"{_DAY}[T ]{_CLOCK}{_ZONE}"
    rf"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?{_MONTH} +\d{{1,2}} {_CLOCK}(?: \d{{4}}| [A-Z]{{3,4}} \d{{4}})?"
    rf"|\d{{1,2}}[/ ]{_MONTH}[/ ]\d{{4}}[: ]{_CLOCK}{_ZONE}"
    rf"|\d{{6}} \d{{6}}(?= \d+ [A-Z])"  # HDFS: 081109 203615 148 INFO
    rf"|\d{{2}}/\d{{2}}/\d{{2,4}} {_CLOCK}|\d{{8}}-{_CLOCK}|{_CLOCK}|\d{{10}}\.\d{{1,9}}(?= )"
)
_LEVELS = {
    "TRACE": "", "DEBUG": "", "INFO": "", "NOTICE": "", "SUCCESS": "", "VERBOSE": "", "LOG": "",
    "WARN": "WARNING", "WARNING": "WARNING",
    "ERROR": "ERROR", "ERR": "ERROR", "SEVERE": "ERROR", "EXCEPTION": "ERROR", "CRITICAL": "CRITICAL", "CRIT": "CRITICAL",
    "ALERT": "CRITICAL", "EMERG": "CRITICAL", "FATAL": "CRITICAL", "PANIC": "CRITICAL",
}  # fmt: skip
_WORDS = "|".join(sorted(_LEVELS, key=len, reverse=True))
_NAME = r"[A-Za-z_][\w.$<>@/-]*"

_GLOG = re.compile(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^\s\]]+:\d+\] ")
_GLOG_LEVELS = {"W": "WARNING", "E": "ERROR", "F": "CRITICAL"}
_CELERY = re.compile(rf"\[(?:{_TIME}): ([A-Z]+)/([\w-]+)\] ")
_BASIC = re.compile(rf"({_WORDS}):([\w.]*):(?! )")
"""``logging.basicConfig``: ``ERROR:app.ledger:booking failed``."""
_PART = re.compile(
    rf"(?P<time>\[?(?:{_TIME})\]?)"
    rf"|(?P<level>\[?(?:{_WORDS})(?![\w./=])\s*\]?:?|\[\s*(?:{_WORDS.lower()})\s*\]|(?:{_WORDS.lower()})(?=\t))"
    r"|(?P<process>\[(?:[^\[\]\s]|\[[^\]\s]*\])*\d(?:[^\[\]\s]|\[[^\]\s]*\])*\]|\[(?:MainThread|MainProcess|Thread-[^\]]*)\]|\((?:MainThread|MainProcess|Thread-[^)]*)\)|\d+(?=\s+\[?[A-Z]))"
    rf"|(?P<logger>\[(?=[^\]]*[a-z.]){_NAME}(?::\d+)?\]|\({_NAME}(?::\d+)?\))"
    r"|(?P<rule>\s*\|\s*|\s*-+\s+|\s+|:\s+)"
)
_NAMED = re.compile(rf"{_NAME}(?:\[\d+\])?(?::[\w<>]+:\d+|:\d+)?(?:(?P<rule>\s+-+\s+|\s*\|\s*|:\s+))")
_MODULE = re.compile(r"in [\w.]+: |(?:[a-z_][a-z0-9_]*\.)+[a-z_][\w]*(?::[\w.]+:\d+)?\s+|\w+:\w+\.py:\d+\s+")
"""A logger's name that nothing sets off, and Flask's ``in ledger:``."""
_UP_TO_LEVEL = rf"(?=\[?(?:{_WORDS})\b[\]:\s|])"
_BEFORE_LEVEL = re.compile(
    rf"(?:{_NAME}(?:\[\d+\])?:?\s*(?:[|-]+\s+)?|\[[^\]]*\]+\s*-?\s*|\([^)]*\)\s*|\{{[^}}]*\}}\s*|[^\s:]+\s+){{1,4}}{_UP_TO_LEVEL}"
)
_FIRST = re.compile(rf"{_NAME}(?:\[\d+\])?(?:\s+-+\s+|\s*\|\s*|:\s+){_UP_TO_LEVEL}|(?:\w+\.)+\w+\s+{_UP_TO_LEVEL}")
"""A logger's name as the first of all, before its level."""
_DJANGO = re.compile(r"[\w.]+ \d+ \d{4,} ")
_SEQUENCE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PAIRS = re.compile(r'\s{2,}(?:\[[\w.]+\]\s*)?(?:[\w.]+=(?:"[^"]*"|\'[^\']*\'|\S*)\s*)+$|\s{2,}\[[\w.]+\]\s*$')
"""structlog's console: fields after a padded text."""
_LONGEST_HEAD = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """``level``: ``WARNING``, ``ERROR``, ``CRITICAL``, empty for a lesser one, and ``None`` for none; ``text``: what was said."""

    level: str | None
    text: str

    @property
    def is_error(self) -> bool:
        """Whether it was logged as an error or worse."""
        return self.level in ("ERROR", "CRITICAL")


def plain(text: str) -> str:
    """*text* without a terminal's colours."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text


def split_entry(text: str) -> Entry | None:
    """A line's head and text; ``None`` for a line that begins no entry: a traceback's, or one that was only printed."""
    if not text or text[0].isspace():
        return None
    if glog := _GLOG.match(text):
        return Entry(_GLOG_LEVELS.get(glog[1], ""), text[glog.end() :])
    if celery := _CELERY.match(text):
        return Entry(_LEVELS.get(celery[1], ""), text[celery.end() :])
    if basic := _BASIC.match(text):
        return Entry(_LEVELS[basic[1]], text[basic.end() :])
    return _by_parts(text)


def _by_parts(text: str) -> Entry | None:
    head = _Head()
    at = 0
    while at < _LONGEST_HEAD:
        part = _PART.match(text, at)
        step = len(part[0]) if part and head.takes(part) else head.beside(text, at)
        if not step:
            break
        at += step
    if not head.timed and head.level is None:
        return None
    rest = text[at:]
    return Entry(head.level, _PAIRS.sub("", rest) if "  " in rest else rest.rstrip())


@dataclass(slots=True)
class _Head:
    """What of a head has come by: after time, level and logger the text begins, whatever it looks like."""

    level: str | None = None
    timed: bool = False
    named: bool = False

    def takes(self, part: re.Match[str]) -> bool:
        """Whether *part* may still be of the head."""
        kind, begun = part.lastgroup, self.timed or self.level is not None
        if kind == "level" and self.level is None:
            self.level = _LEVELS[part[0].strip("[]: \t").upper()]
            return True
        if kind == "time" and not (self.timed and self.level is not None):
            self.timed = True
            return True
        if kind == "logger" and begun and not self.named:
            self.named = self.level is not None
            return True
        return kind == "rule" or (kind == "process" and begun and (self.level is None or part[0][0] == "["))

    def beside(self, text: str, at: int) -> int:
        """The length of a logger's name or the like at *at*, which a level or a rule must follow; 0 for none."""
        if self.level is None:
            found = _BEFORE_LEVEL.match(text, at) if self.timed else _FIRST.match(text) if at == 0 else None
            return len(found[0]) if found and len(found[0]) < _LONGEST_HEAD else 0
        if self.named:
            return 0
        self.named = True
        for pattern in (_DJANGO, _MODULE) if self.timed else ():
            if found := pattern.match(text, at):
                return len(found[0])
        return _name_before_rule(text, at)


def _name_before_rule(text: str, at: int) -> int:
    """``ValueError: …`` or ``database: …`` is what was said; a logger's name has a dot, a place or a rule with spaces."""
    found = _NAMED.match(text, at)
    if found is None:
        return 0
    name = found[0][: -len(found["rule"])]
    dotted = "." in name and not name.rpartition(".")[2].endswith(("Error", "Exception"))
    return len(found[0]) if found["rule"].strip() != ":" or dotted else 0
