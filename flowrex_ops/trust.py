"""The certificate authorities that requests trust, read once.

httpx reads them anew for every request that is not told otherwise (some 30 ms of a core each): twenty questions at once
then take longer than the answers to them.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from threading import Lock

_PLACES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where httpx looks for authorities of one's own (https://www.python-httpx.org/environment_variables/)."""
_reading = Lock()


def ssl_context() -> ssl.SSLContext:
    """What to give httpx as ``verify``; read again where the environment names another place."""
    with _reading:
        return _read(*map(os.environ.get, _PLACES))


@lru_cache(maxsize=2)
def _read(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()
