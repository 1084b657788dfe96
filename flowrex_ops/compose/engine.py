"""The SDK's client of Docker Engine, with a bound on what one answer may hold: what lies may never end one.

The SDK reads an answer whole, at thirty megabytes a second until the machine has no memory, also long after its caller gave it up.
"""

from __future__ import annotations

from typing import Any

import docker
import requests

MOST_BYTES = 32 * 2**20
"""Of one answer; a thousand containers are listed in three. Logs, and what a program in a container says, are streams."""
_PIECE_BYTES = 2**16


class BoundedClient(docker.DockerClient):  # type: ignore[misc]  # the SDK has no types
    """``from_env`` as usual."""

    def __init__(self, **given: Any) -> None:
        self.api = _BoundedApi(**given)


class _BoundedApi(docker.APIClient):  # type: ignore[misc]  # as above
    def send(self, request: Any, **options: Any) -> requests.Response:
        answer: requests.Response = super().send(request, **options | {"stream": True})
        if not options.get("stream"):
            body = bytearray()
            for piece in answer.iter_content(_PIECE_BYTES):
                body += piece
                if len(body) > MOST_BYTES:
                    answer.close()
                    raise ValueError(f"its answer is longer than {MOST_BYTES // 2**20} MiB")
            answer._content = bytes(body)  # noqa: SLF001  # where requests itself keeps what it has read
        return answer
