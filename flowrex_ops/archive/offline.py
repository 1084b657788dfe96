"""While a plan is made from readings that are over, nobody is asked and nothing is started: who tries is refused by the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flowrex_ops.errors import StackUnavailableError

_REACHING = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system", "os.posix_spawn")
_state = {"offline": False, "hooked": False}


@contextmanager
def offline() -> Iterator[None]:
    """StackUnavailableError for whatever reaches for the network or a program in the block (Python: audit events).

    libpq is not seen by the interpreter; it has no address to reach for (``without_addresses``).
    """
    if not _state["hooked"]:  # it cannot be taken away again
        sys.addaudithook(_refuse)
    _state.update(offline=True, hooked=True)
    try:
        yield
    finally:
        _state["offline"] = False


def _refuse(event: str, _arguments: object) -> None:
    if _state["offline"] and event in _REACHING:
        raise StackUnavailableError("this is a replay: to plan it, the platform would have to be asked")
