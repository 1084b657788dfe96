"""What deletions of Redis' keys share: the databases that they act on, and the memory that must be free afterwards."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from flowrex_ops.errors import MitigationRefusedError, ParameterError, VerificationError
from flowrex_ops.guard import Mitigation
from flowrex_ops.memory.redis_client import get_databases, open_client
from flowrex_ops.waiting import wait_until

if TYPE_CHECKING:
    from redis import Redis

ANY = -1
"""No database is named."""

_FREED_SHARE = 0.25
"""So much of what the keys were estimated at must be free again, or they were not what fills Redis."""
_WORTH_A_LOOK = 2**20
_FREE_SECONDS = 10.0
"""Memory is freed in the background."""


class RedisMitigation(Mitigation):
    """Deletes keys of one database or several, of a server that must still be the same."""

    resource = "redis"
    causes = ("memory.redis-rejecting", "memory.redis-evicting", "memory.redis-growth")

    def __init__(self, url: str | None, *, database: int, limit_seconds: float) -> None:
        if database < ANY:
            raise ParameterError(f"redis_database: {database} is not the number of a database, nor -1 for any")
        self._url = url
        self._database = database
        self._limit_seconds = limit_seconds
        self._used = 0.0
        self._expected = 0.0

    def _client(self, database: int | None = None) -> AbstractContextManager[Redis]:
        """Of one database, or of the one in the URL. SourceUnavailableError where it does not answer (any more)."""
        return open_client(self._url, limit_seconds=self._limit_seconds, database=database)

    def _find_databases(self) -> tuple[str, list[int]]:
        """The server's own id, and the databases that hold keys or the one that was asked for."""
        with self._client() as client:
            server = str(client.info("server")["run_id"])
            return server, [self._database] if self._database != ANY else get_databases(client)

    def _require_same_server(self, client: Redis, server: str) -> None:
        if str(client.info("server")["run_id"]) != server:
            raise MitigationRefusedError("Redis was started anew since the plan; read again")

    def _note_memory(self, client: Redis) -> None:
        """How much is used before anything is deleted."""
        self._used = self._used or float(client.info("memory")["used_memory"])

    def _require_freed(self, client: Redis) -> str:
        """What Redis uses now. VerificationError where next to nothing of what was expected is free again."""
        memory: dict[str, Any] = {}

        def freed() -> bool:
            memory.update(client.info("memory"))
            return self._used - float(memory["used_memory"]) >= _FREED_SHARE * self._expected

        enough = self._expected < _WORTH_A_LOOK or wait_until(freed, seconds=_FREE_SECONDS)
        memory.update(client.info("memory"))
        said = f"Redis uses {memory['used_memory'] / 2**20:.1f} MiB{_share(memory)}"
        if not enough:
            raise VerificationError(
                f"the keys are gone, about {self._expected / 2**20:.1f} MiB, but {said} after {self._used / 2**20:.1f} MiB before: "
                "somebody goes on writing, or other keys hold it; look at the keys again"
            )
        return said


def _share(memory: dict[str, Any]) -> str:
    limit = float(memory.get("maxmemory", 0))
    return f", {memory['used_memory'] / limit:.0%} of maxmemory" if limit else ""
