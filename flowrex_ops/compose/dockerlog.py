"""A container's log over the Engine's API, in large pieces.

The SDK gives a log line by line, each by three reads of its socket; a log of a hundred thousand lines then takes seconds.
Here the stream is read in pieces and its frames are taken apart in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from flowrex_ops.errors import StackUnavailableError

if TYPE_CHECKING:
    from docker import APIClient

PIECE_BYTES = 128 * 1024
FRAME_HEAD = struct.Struct(">BxxxL")
_STREAMS = (0, 1, 2)
OK, NOT_IMPLEMENTED = 200, 501
LONGEST_LINE_BYTES = 4 * 1024 * 1024
"""Pieces of one line are put together up to here; a program that never ends a line must not fill the memory."""


def open_log(api: APIClient, container: str, given: Mapping[str, Any]) -> Iterator[bytes]:
    """The log's bytes, stdout and stderr as they were written; *given* are parameters of the API's ``/logs``.

    https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerLogs
    """
    about = api.inspect_container(container)
    tty = bool(about["Config"]["Tty"])
    url = f"{api.base_url}/v{api.api_version}/containers/{container}/logs"
    answer = api.get(url, params=given, stream=True, timeout=api.timeout)
    if answer.status_code == NOT_IMPLEMENTED:
        driver = ((about.get("HostConfig") or {}).get("LogConfig") or {}).get("Type") or "unknown"
        raise StackUnavailableError(
            f"the log of '{about['Name'].lstrip('/')}' cannot be read: its log driver is '{driver}', which gives none back;"
            " set logging.driver to 'local' or 'json-file' in the compose file",
            code=str(answer.status_code),
        )
    if answer.status_code != OK:
        raise StackUnavailableError(
            f"docker engine did not give the log of '{container[:12]}': HTTP {answer.status_code}; look with 'docker logs'",
            code=str(answer.status_code),
        )

    def pieces() -> Iterator[bytes]:
        with closing(answer):
            while piece := answer.raw.read(PIECE_BYTES):
                yield piece

    return pieces() if tty else split_frames(pieces(), timestamps=bool(given.get("timestamps")))


def split_frames(pieces: Iterable[bytes], *, timestamps: bool = False) -> Iterator[bytes]:
    """What the frames in *pieces* carry, one piece after another, however the stream was cut.

    A frame is eight bytes (which stream, how long) and its load. Raises ``OSError`` where that is not what comes.
    A line of more than 16 KB comes in several frames, with *timestamps* each with a time of its own: the line is put
    together, with the first one's, whatever the other stream wrote meanwhile.
    """
    rest = b""
    unfinished: dict[int, bytes] = {}
    for piece in pieces:
        buffer = rest + piece if rest else piece
        at, loads = 0, []
        while len(buffer) - at >= FRAME_HEAD.size:
            stream, length = FRAME_HEAD.unpack_from(buffer, at)
            if stream not in _STREAMS:
                raise OSError(f"the engine's log stream has a frame of kind {stream}")
            end = at + FRAME_HEAD.size + length
            if end > len(buffer):
                break
            load = buffer[at + FRAME_HEAD.size : end]
            at = end
            if begun := unfinished.pop(stream, b""):
                load = begun + (load.partition(b" ")[2] if timestamps else load)
            if load.endswith(b"\n") or len(load) > LONGEST_LINE_BYTES:
                loads.append(load)
            elif load:
                unfinished[stream] = load
        rest = buffer[at:]
        if loads:
            yield b"".join(loads)
    yield from unfinished.values()
