"""``python -m app.stream_clients URL``: users with an open page. Some see every tick, some watch a quiet market.

They come back when they are dropped, after a pause that grows, and say what they saw.

They reconnect after a change of NGINX: a reload leaves their connections with the old workers, which keep the old
configuration.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import websockets
from websockets.exceptions import ConnectionClosed, WebSocketException

from . import logs
from .logs import log

GOING_AWAY = 1001
TALKATIVE, QUIET = 6, 4
TALKATIVE_SECONDS, QUIET_SECONDS = 1.0, 20.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.3, 3.0
STABLE_SECONDS = 1.0
"""A connection that lasted so long was a good one: the next pause is short again."""

_CHANCE = random.Random()  # noqa: S311  # users need no cryptography


async def watch(name: str, url: str) -> None:
    """One user, for ever."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        started = time.monotonic()
        try:
            async with websockets.connect(url, ping_interval=None, open_timeout=5, close_timeout=1) as stream:
                await _read(stream)
            said = "closed"
        except ConnectionClosed as closed:
            said = f"code={closed.rcvd.code if closed.rcvd else 1006}"
        except (TimeoutError, OSError, WebSocketException) as error:
            said = f"no connection: {type(error).__name__}: {error}"
        lasted = time.monotonic() - started
        log.info("stream ended user=%s after_s=%.1f %s", name, lasted, said)
        pause = FIRST_PAUSE_SECONDS if lasted > STABLE_SECONDS else min(LONGEST_PAUSE_SECONDS, 2 * pause)
        await asyncio.sleep(pause * _CHANCE.uniform(0.7, 1.3))


async def _read(stream: Any) -> None:
    """Take what comes; a user who leaves says so (1001), which the library would call an error (1011)."""
    try:
        async for _ in stream:
            pass
    except asyncio.CancelledError:
        await stream.close(GOING_AWAY)
        raise


async def main() -> None:
    """All users until SIGTERM, at which they close their pages properly."""
    url = urlsplit(sys.argv[1])._replace(scheme="ws", path="/ws")
    users = [("talkative", number, TALKATIVE_SECONDS) for number in range(TALKATIVE)]
    users += [("quiet", number, QUIET_SECONDS) for number in range(QUIET)]
    tasks = [
        asyncio.ensure_future(watch(f"{kind}-{number}", url._replace(query=f"every={every:g}").geturl()))
        for kind, number, every in users
    ]
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    await done.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=1)


if __name__ == "__main__":
    logs.configure()
    asyncio.run(main())
