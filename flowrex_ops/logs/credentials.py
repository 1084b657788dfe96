"""What PostgreSQL and Redis, and the poolers and clients between, say to a login that they refuse."""

from __future__ import annotations

import re

POSTGRES, REDIS = "PostgreSQL", "Redis"
_WORDS = (
    "authentication failed", "28p01", "role ", "no password supplied", "noauth", "wrongpass", "noperm", "username-password pair",
    "authentication required", "no permissions to", "any password configured", "no password is set", "err invalid password", "client already authenticated",
)  # fmt: skip
"""In lower case; a plain search for them is much faster than the expressions, and hardly any line has one."""
_POSTGRES = re.compile(
    r'(?:password|LDAP|PAM|RADIUS|certificate) authentication failed for user \\?"|FATAL:?\s+(?:password|SASL|SCRAM) authentication failed'
    r"|\b28P01\b|fe_sendauth: no password supplied"
    r'|(?:FATAL:?|28000:?|AuthorizationSpecification\w*:|pq:)\s+role \\?"[^"]+" (?:does not exist|is not permitted to log in)'
)
"""SQLSTATE 28P01 and 28000 as libpq, asyncpg, pgx, lib/pq, node-postgres, JDBC and PgBouncer hand them on: the server's words, with its quotes.

An application that refuses its own users' passwords has other words, or names them without quotes; ``role … does not exist`` alone is GRANT's."""
_REDIS = re.compile(
    r"NOAUTH.{0,3}Authentication required|AuthenticationError: Authentication required|WRONGPASS invalid|invalid username-password pair"
    r"|NOPERM (?:this user|User |No permissions)|[Nn]o permissions to (?:run the '|access (?:the '|a key|a channel|one of the keys))"
    r"|HELLO must be called with the client already authenticated|AUTH <password> called without any password configured|Client sent AUTH, but no password is set|ERR invalid password"
)
"""https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl; redis-py cuts the first word off and names a class instead, and newer clients (RESP3) are refused their HELLO."""
_LOGIN = re.compile(r"""for user \\?"([^"\\]+)|role \\?"([^"\\]+)|User (\S+) has no permissions""")


def refusal_in(line: str) -> tuple[str, str] | None:
    """Who refuses whom in *line*: ``POSTGRES`` or ``REDIS``, and the login where it is told; None where it tells of nothing refused."""
    lowered = line.lower()
    if not any(words in lowered for words in _WORDS):
        return None
    dependency = POSTGRES if _POSTGRES.search(line) else REDIS if _REDIS.search(line) else ""
    login = _LOGIN.search(line)
    return (dependency, next(filter(None, login.groups()), "") if login else "") if dependency else None
