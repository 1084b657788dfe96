"""A store of objects by any fsspec URL: read, written and listed whole, with nothing cached in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flowrex_ops.errors import RecordError

_OBJECTS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss")
"""Schemes of stores that have no folders: none is made there."""
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 20, "retries": {"max_attempts": 2}}}


class Store:
    """Objects below *url*. Credentials come from the environment, as each backend reads it (AWS_*, AWS_ENDPOINT_URL).

    Its methods raise whatever the backend raises; FileNotFoundError for what is not there is answered with nothing.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        scheme = urlsplit(url).scheme
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        options |= _S3_OPTIONS if scheme in ("s3", "s3a") else {}
        self._files, root = url_to_fs(url, **options)
        self._root = str(root).rstrip("/")
        self._has_folders = scheme not in _OBJECTS

    def read(self, name: str) -> bytes | None:
        """The object called *name*; ``None`` where there is none."""
        try:
            return bytes(self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Put *data* there, in the place of what was there."""
        path = self._path(name)
        if self._has_folders:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, data)

    def remove(self, name: str) -> None:
        """Take the object away; nothing where there is none."""
        try:
            self._files.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def names(self, name: str = "") -> list[str]:
        """The names directly below *name*, sorted; empty where there is no such thing."""
        try:
            found = self._files.ls(self._path(name), detail=False)
        except FileNotFoundError:
            return []
        return sorted({str(path).rstrip("/").rpartition("/")[2] for path in found})

    def require(self) -> None:
        """RecordError where there is nothing that objects could be in: an empty store is one thing, a wrong name another."""
        bucket = self._root.partition("/")[0]
        if not self._has_folders and not self._files.exists(bucket):
            raise RecordError(f"there is no bucket '{bucket}', or it may not be seen; correct outputs or make it")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}".rstrip("/")
