"""What resolvers' users say of a name that does not resolve: C libraries, libpq, Python, Go, Node, Java, NGINX, and Apache."""

from __future__ import annotations

import re

WORDS = (
    "name resolution", "name or service not known", "name does not resolve", "nodename nor servname provided",
    "could not be resolved (", "host not found in upstream", "no such host", "server misbehaving",
    "getaddrinfo enotfound", "getaddrinfo eai_again", "unknownhostexception",
)  # fmt: skip
"""In lower case: EAI_AGAIN and EAI_NONAME in glibc's, musl's and BSD's words, Node's codes, Go's and Java's errors, NGINX's error log."""
_NAME = re.compile(
    r"""host name \\?"([\w.-]+)|not found in upstream \\?"([\w.-]+)|([\w.-]+) could not be resolved|lookup (?:failure for:? )?([\w.-]+)
    |(?:ENOTFOUND|EAI_AGAIN|UnknownHostException:)\s([\w.-]+)|(?:connecting|connect)\ to\ (?:host\ )?([\w.-]+):\d
    |(?:host=|resolve |host )\\?['"]([\w.-]+)""".replace("\n    ", "")
)


def tells_of_lookup(lowered: str) -> bool:
    """Whether a line, in lower case, tells of a name that did not resolve."""
    return any(words in lowered for words in WORDS)


def name_in(line: str) -> str:
    """The name that such a line tells; empty where it tells none, as Python's own error does."""
    found = _NAME.search(line)
    return next((name for name in found.groups() if name), "").rstrip(".") if found else ""
