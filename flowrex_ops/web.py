"""One HTTP request, bounded as a whole: in time, which httpx limits for each read alone, and in the length of the answer.

A server that sends a byte a second, in its head or in its body, keeps a client with httpx's own limits for hours; one
whose body never ends fills its memory.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

MOST_BYTES = 32 * 2**20
"""Of one answer, unpacked. The metrics of a large replica have some 5 MB, a day of Prometheus at a step of 15 s less."""
_PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where httpx looks for authorities of one's own (https://www.python-httpx.org/environment_variables/)."""
_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")
_reading_authorities = Lock()


def ssl_context() -> ssl.SSLContext:
    """What to give httpx as ``verify``; read again where the environment names another place.

    httpx reads the authorities anew for every request that is not told otherwise (some 30 ms of a core each).
    """
    with _reading_authorities:
        return _read(*map(os.environ.get, _PLACES))


@lru_cache(maxsize=2)
def _read(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


def request(method: str, url: str, *, seconds: float, verified: bool = True, **options: Any) -> httpx.Response:
    """The answer of *url*, within *seconds* in all. *options* are httpx's.

    *verified* is false where certificates are another runbook's business. Raises httpx.HTTPError (ReadTimeout where the
    time was over, ReadError where the answer is too long) and httpx.InvalidURL.
    """
    import httpx

    redirects = options.pop("follow_redirects", False)
    with httpx.Client(verify=ssl_context() if verified else False, follow_redirects=redirects) as client:
        return request_by(client, method, url, seconds=seconds, **options)


def get(url: str, *, seconds: float, verified: bool = True, **options: Any) -> httpx.Response:
    """``request`` with GET."""
    return request("GET", url, seconds=seconds, verified=verified, **options)


def request_by(
    client: httpx.Client,
    method: str,
    url: str | httpx.URL,
    *,
    seconds: float,
    most_bytes: int = MOST_BYTES,
    **options: Any,
) -> httpx.Response:
    """``request`` by a *client* of the caller's; an answer of more than *most_bytes* is none."""
    import httpx

    started, body = time.monotonic(), bytearray()
    extensions = options.pop("extensions", {})
    try:
        with (
            _hung_up_after(seconds) as trace,
            client.stream(method, url, timeout=seconds, extensions={**extensions, "trace": trace}, **options) as answer,
        ):
            for part in answer.iter_bytes():
                body += part
                if len(body) > most_bytes:
                    raise httpx.ReadError(f"its answer is longer than {most_bytes // 2**20} MiB")
        if time.monotonic() - started >= seconds:
            # Hung up, which looks like the end of a body that had no length.
            raise httpx.ReadTimeout(f"its answer had not ended after {seconds:.1f} s")
    except httpx.TransportError as error:
        if time.monotonic() - started >= seconds and not isinstance(error, httpx.TimeoutException):
            raise httpx.ReadTimeout(f"its answer had not ended after {seconds:.1f} s") from None
        raise
    # The body is unpacked already, and its length another.
    head = [(name, value) for name, value in answer.headers.multi_items() if name not in _OF_THE_BODY]
    whole = httpx.Response(answer.status_code, headers=head, content=bytes(body), request=answer.request)
    whole.next_request = answer.next_request
    return whole


@contextmanager
def _hung_up_after(seconds: float) -> Iterator[Any]:
    """What to give httpx as ``trace``, by which it tells of its connections; they end when *seconds* are over.

    https://www.encode.io/httpcore/extensions/#trace. A socket that is shut down wakes whoever reads from it.
    """
    opened: list[Any] = []

    def trace(event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            opened.append(info["return_value"])

    def hang_up() -> None:
        for stream in opened:
            with suppress(OSError):
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield trace
    finally:
        timer.cancel()
