"""A source's time limit is for the source; what this tool needs before it can ask is not counted against it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from flowrex_ops.reading import Source, reads
from flowrex_ops.web import ssl_context


class Quick(Source):
    """Answers at once, once its library is there."""

    name = "quick"
    libraries: ClassVar[tuple[str, ...]] = ("slow_to_import",)

    @reads("an answer")
    def get_answer(self) -> str:
        """What the library gives."""
        import slow_to_import  # type: ignore[import-not-found]  # made by the test

        return str(slow_to_import.ANSWER)


def test_time_in_which_a_library_loads_is_not_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.5)\nANSWER = 'here'\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    reading = Quick(limit_seconds=0.25).get_answer()
    assert (reading.value, reading.error) == ("here", None)
    assert reading.seconds < 0.25


class TestTrusted:
    """httpx is given authorities that were read before."""

    def test_are_read_once(self) -> None:
        assert ssl_context() is ssl_context()

    def test_are_those_that_httpx_would_read(self) -> None:
        names = [authority["subject"] for authority in ssl_context().get_ca_certs()]
        assert names == [authority["subject"] for authority in httpx.create_ssl_context().get_ca_certs()]
        assert names

    def test_follow_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = ssl_context()
        (tmp_path / "own").mkdir()
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "own"))
        assert ssl_context() is not before
