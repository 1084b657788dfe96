"""Users' sessions in Redis: no session, no answer."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import defects

TIMEOUT_SECONDS = 1.0
LIFE_SECONDS = 600


class Sessions:
    """A counter of visits per account; ``redis.RedisError`` where Redis does not take it."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # newer clients would try for seconds while the user waits
        )

    def touch(self, account: int) -> dict[str, int]:
        """Count a visit and let the session live on."""
        key = f"session:{account}"
        visits = defects.visits(self._redis.incr(key))
        self._redis.expire(key, LIFE_SECONDS)
        return {"account": account, "visits": visits}

    def memory(self) -> tuple[int, int]:
        """Bytes that Redis uses, and may use (0: no limit)."""
        info = self._redis.info("memory")
        return int(info["used_memory"]), int(info["maxmemory"])
