"""Redis, asked read-only."""

from __future__ import annotations

from flowrex_ops.errors import SourceUnavailableError
from flowrex_ops.sources.reading import Source, reads


class RedisSource(Source):
    """One client for single questions, each bounded."""

    name = "redis"

    def __init__(self, url: str | None, *, limit_seconds: float) -> None:
        super().__init__(limit_seconds=limit_seconds)
        self._url = url

    @reads("version")
    def get_version(self) -> str:
        """``redis_version`` of ``INFO server``."""
        import redis

        if not self._url:
            raise SourceUnavailableError(
                "redis is not configured and was not discovered; set redis.url or run 'flowrex-ops doctor'"
            )
        seconds = self.limit_seconds * 0.8
        client = redis.Redis.from_url(self._url, socket_timeout=seconds, socket_connect_timeout=seconds)
        try:
            return str(client.info("server")["redis_version"])
        except redis.RedisError as error:
            raise SourceUnavailableError(f"redis did not answer: {error}; run 'flowrex-ops doctor'") from None
        finally:
            client.close()
