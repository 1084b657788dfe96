"""Chunks of bytes as they come from an engine or a file, as lines or as pieces of whole lines, without ever holding more than one.

Counted in pieces of half a megabyte by one search each: twice the speed of ``grep | awk | sort | uniq -c``, in memory
that does not grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

LINE_BYTES = 64 * 1024
"""A line longer than this is cut into several."""
PIECE_BYTES = 512 * 1024


def newest_bytes(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The newest *max_bytes* of a stream that comes oldest first, from the first whole line on.

    Read once, for an engine takes longer to give its log than we to read it; so as much as *max_bytes* is held, however
    long the stream is.
    """
    held: deque[bytes] = deque()
    size = excess = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        while size - len(held[0]) > max_bytes:
            dropped = len(held.popleft())
            size, excess = size - dropped, excess + dropped
    cut = excess > 0 or size > max_bytes
    over = max(0, size - max_bytes)
    while held:
        chunk = held.popleft()
        piece = chunk[over:]
        over = max(0, over - len(chunk))
        if cut and piece:
            _, newline, piece = piece.partition(b"\n")
            cut = not newline
        if piece:
            yield piece


def whole_lines(chunks: Iterable[bytes], *, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """*chunks* as pieces of about *piece_bytes* that each end with a line; what has no line's end for that long is cut.

    Large pieces are what makes counting fast: a few calls into C for each, none for a line.
    """
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size < piece_bytes:
            continue
        whole = b"".join(held)
        cut = whole.rfind(b"\n") + 1 or len(whole)
        yield whole[:cut]
        held, size = [whole[cut:]], len(whole) - cut
    if size:
        yield b"".join(held)


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines in *chunks*, whichever way they are cut, without their ends."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield _text(line)
        while len(rest) > LINE_BYTES:
            yield _text(rest[:LINE_BYTES])
            rest = rest[LINE_BYTES:]
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").rstrip("\r")
