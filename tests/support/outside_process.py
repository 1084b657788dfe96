"""The stand-in for what is outside, as a process of its own, for tests of the sources that ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowrex_sandbox import control as sandbox
from flowrex_sandbox.ports import pick_free_ports
from flowrex_sandbox.sandbox import get_answer
from flowrex_sandbox.waiting import await_condition

BACKEND = Path(sandbox.__file__).parent / "backend"


class Outside:
    """Its address, and a way to give a service of it a fault."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {token}"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def fail(self, service: str, **fault: Any) -> None:
        assert self.ask("POST", f"/_control/{service}", fault)[0] == 200

    def heal(self, service: str) -> None:
        self.ask("DELETE", f"/_control/{service}")


@contextmanager
def running(**environment: str) -> Iterator[Outside]:
    """Start it with *environment*; end it afterwards."""
    port = pick_free_ports(1)[0]
    variables = {**os.environ, "PYTHONPATH": str(BACKEND), "FLOWREX_PORT": str(port), **environment}
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "outside"], env=variables) as process:
        try:
            await_condition(lambda: get_answer(f"{url}/health") == 200, "the stand-in answered", timeout_seconds=30)
            yield Outside(url)
        finally:
            process.kill()
