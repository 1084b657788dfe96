"""Servers that lie: each accepts whoever comes, and answers in a way in which servers do when they are broken."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _keep_silent(_: socket.socket) -> None:
    time.sleep(3600)


def _trickle(peer: socket.socket) -> None:
    """A byte a second, of a head that would be right."""
    for byte in OK + b"X-Padding: " + b"x" * 3600:
        peer.sendall(bytes([byte]))
        time.sleep(1)


def _trickle_body(peer: socket.socket) -> None:
    peer.sendall(OK + b"Content-Length: 3600\r\n\r\n")
    for _ in range(3600):
        peer.sendall(b" ")
        time.sleep(1)


def _reset(peer: socket.socket) -> None:
    """Half an answer, and RST in place of its end."""
    peer.sendall(OK + b'Content-Length: 4096\r\n\r\n{"status": "success", "data": {"resu')
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _talk_garbage(peer: socket.socket) -> None:
    peer.sendall(os.urandom(4096))


def _break_tls(peer: socket.socket) -> None:
    """An alert record, handshake_failure (RFC 8446, section 6), to whoever speaks TLS or not."""
    peer.sendall(b"\x15\x03\x03\x00\x02\x02\x28")


def _fail(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops")


def _never_end(peer: socket.socket) -> None:
    """Some 30 MB a second."""
    peer.sendall(OK + b"\r\n[")
    while True:
        peer.sendall(b'{"a": 1},' * 7000)
        time.sleep(0.002)


def _encode_wrongly(peer: socket.socket) -> None:
    """UTF-16 that calls itself UTF-8, with a byte too few."""
    body = '{"status": "success", "data": {"resultType": "vector", "result": []}}'.encode("utf-16")[:-1]
    peer.sendall(OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


def _answer_something_else(peer: socket.socket) -> None:
    """JSON of a shape that nobody asked for."""
    body = b'{"status": "success", "data": {"result": [null, [[]], {"metric": 3}]}, "issues": {}, "page": []}'
    peer.sendall(OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)


_asked = itertools.count()


def _know_one_path_less(peer: socket.socket) -> None:
    """404 to the first request of all, on a connection that stays open; the next is answered a byte a second."""
    if next(_asked) == 0:
        peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        if not peer.recv(65536):
            return
    _trickle(peer)


LIES: dict[str, Callable[[socket.socket], None]] = {
    "silent": _keep_silent,
    "a byte a second": _trickle,
    "its body a byte a second": _trickle_body,
    "reset half-way": _reset,
    "garbage": _talk_garbage,
    "TLS broken": _break_tls,
    "HTTP 500": _fail,
    "an endless body": _never_end,
    "wrong encoding": _encode_wrongly,
    "another shape": _answer_something_else,
}


@contextmanager
def lying(lie: str, path: Path | None = None) -> Iterator[int]:
    """The port of a server of this kind; with *path* it listens at that Unix socket instead."""
    answer = {**LIES, "no such path, then a byte a second": _know_one_path_less}[lie]
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as server:
        server.bind(str(path) if path else ("127.0.0.1", 0))
        server.listen(512)

        def serve(peer: socket.socket) -> None:
            with peer, contextlib.suppress(OSError):
                if answer is not _keep_silent:
                    peer.recv(65536)
                answer(peer)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield 0 if path else server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
