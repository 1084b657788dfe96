"""Where records go when that is no folder of this machine: any URL that fsspec knows, such as ``s3://bucket/prefix``.

The working copy is always a local folder (locks, atomic renames and fsync need one); the store is the archive.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from urllib.parse import urlsplit

from flowrex_ops.extras import require

STATE_VARIABLE = "XDG_STATE_HOME"
_READ_ONLY = ("http", "https", "data", "git", "github", "zip", "tar")


def is_url(value: object) -> bool:
    """Whether *value* is a URL and not a folder."""
    return isinstance(value, str) and "://" in value


def check_url(url: str) -> None:
    """ValueError, with what would be right, for a URL that no records can go to."""
    require(f"outputs '{url.partition('://')[0]}://…'", "store", "fsspec")
    from fsspec.registry import known_implementations

    parts = urlsplit(url)
    known = known_implementations.get(parts.scheme)
    if known is None or parts.scheme in _READ_ONLY:
        raise ValueError(
            f"'{parts.scheme}://' is not a place that records can go to; use a folder, s3://, gs:// or file://"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must hold no credentials; give them by the environment, such as AWS_ACCESS_KEY_ID")
    package = str(known["class"]).partition(".")[0]
    if package == "s3fs":
        require(f"outputs '{parts.scheme}://…'", "store", package)
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"'{parts.scheme}://' needs the package {package}: install {package}")


def state_folder() -> Path:
    """Where this user's state lies (XDG Base Directory Specification)."""
    return Path(os.environ.get(STATE_VARIABLE) or Path.home() / ".local" / "state") / "flowrex-ops"


def working_folder(url: str) -> Path:
    """The local folder of *url*: one a URL."""
    return state_folder() / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:12]
