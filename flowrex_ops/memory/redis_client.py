"""How Redis is spoken to: a client of one database, the databases that hold keys, and what its user may not ask.

Users of Redis 6 and later may lack rights (https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/):
an application's often has ``+@all -@dangerous``, which leaves out ``INFO``. What may not be asked is named, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flowrex_ops.errors import SourceUnavailableError

if TYPE_CHECKING:
    from redis import Redis

_COMMAND = re.compile(r"'([\w|]+)' command")
"""``NOPERM this user has no permissions to run the 'info' command``; since 7 with the user's name."""


@contextmanager
def open_client(
    url: str | None, *, limit_seconds: float, database: int | None = None, missing: str = ""
) -> Iterator[Redis]:
    """A client of the database in *url*, or of another one. Whatever goes wrong in the block is a SourceUnavailableError.

    Without *url*, *missing* says why there is none.
    """
    import redis

    if not url:
        raise SourceUnavailableError(missing or "redis is not configured and was not discovered; set redis.url")
    # Protocol 3 begins with HELLO, which Redis before 6, KeyDB and most proxies refuse.
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=limit_seconds, socket_connect_timeout=limit_seconds)
    if database is not None:
        client.connection_pool.connection_kwargs["db"] = database
    try:
        yield client
    except redis.AuthenticationError:
        raise SourceUnavailableError(
            "redis did not answer: it wants another password; correct it in redis.url", code="auth"
        ) from None
    except redis.exceptions.NoPermissionError as error:
        raise SourceUnavailableError(f"redis refuses: {missing_right(str(error))}", code="permission") from None
    except redis.RedisError as error:
        raise SourceUnavailableError(f"redis did not answer: {error}; run 'flowrex-ops doctor'") from None
    finally:
        client.close()


def missing_right(refusal: str) -> str:
    """Which right the user of ``redis.url`` lacks, and how it is granted, out of Redis' own words (``NOPERM …``)."""
    found = _COMMAND.search(refusal)
    if not found:
        return f"{refusal}; grant its user '~*' to read all keys (ACL SETUSER), or give redis.url another user"
    command = found[1].upper().replace("|", " ")
    return f"the user of redis.url may not run {command}; grant it (ACL SETUSER … +{found[1].lower()}) or name another user"


def ask_info(client: Redis, section: str) -> dict[str, Any] | None:
    """One section of ``INFO``; None where this user may not ask for it."""
    from redis.exceptions import NoPermissionError

    try:
        found: dict[str, Any] = client.info(section)
    except NoPermissionError:
        return None
    return found


def get_databases(client: Redis) -> list[int]:
    """Numbers of the databases that hold keys, by ``INFO keyspace`` or where that is not allowed ``MEMORY STATS``; and the client's own."""
    keyspace = ask_info(client, "keyspace")
    found: dict[str, Any] = client.memory_stats() if keyspace is None else keyspace
    reported = {int(match[1]) for name in found if (match := re.fullmatch(r"db\.?(\d+)", str(name)))}
    return sorted(reported | {int(client.connection_pool.connection_kwargs.get("db") or 0)})
