"""Install parts of the lock files into this environment, what is missing of them: ``python tools/install.py core sandbox``.

A part is the core, an extra or a dependency group; with ``build`` the project itself is installed too. Needs nothing but Python's own
``ensurepip``. Says how far it is every few seconds, and ends as pip ends.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO

_LOCKS = ("requirements.lock", "requirements-dev.lock")
_ENTRY = re.compile(r"^(\S+)==([^\s;]+)[^\n]*(?:\n +--hash[^\n]*)*\n +# for ([^\n]+)", re.MULTILINE)
_EVERY_SECONDS = 3.0
# Bytecode is made as modules are first imported: most of what is installed never is (18 of 45 CPU seconds, 137 of 547 MB).
_PIP = ("pip", "install", "--no-compile", "--no-deps", "--disable-pip-version-check", "--progress-bar", "off")


def main(parts: Sequence[str]) -> int:
    """Exit code of the first step that fails; 0 where nothing is missing."""
    if importlib.util.find_spec("pip") is None:
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit("install: this Python has no ensurepip; on Debian install python3-venv")
        if code := _run("getting pip ready", "ensurepip"):
            return code
    if missing := _missing(set(parts)):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write("\n".join(missing))
            file.flush()
            pip = (*_PIP, "--require-hashes", "--requirement", file.name)
            if code := _run(f"of {len(missing)} packages", *pip, counted=True):
                return code
    return _run("installing the project", *_PIP, "--no-build-isolation", "--editable", ".") if "build" in parts else 0


def _missing(parts: set[str]) -> list[str]:
    """The locked requirements of *parts*, hashes and all, that are not here in this very version."""
    # pip writes RECORD last: what was interrupted has none.
    here = {(_normal(one.metadata["Name"]), one.version) for one in metadata.distributions() if one.read_text("RECORD")}
    found: dict[str, str] = {}
    known: set[str] = set()
    for name, version, wanted_by, entry in _entries():
        known |= wanted_by
        if wanted_by & parts and (_normal(name), version) not in here:
            found[f"{name}=={version}"] = entry
    if parts - known:
        sys.exit(f"install: '{min(parts - known)}' is no part of the lock files; there are: {', '.join(sorted(known))}")
    return list(found.values())


def _entries() -> Iterator[tuple[str, str, set[str], str]]:
    for lock in _LOCKS:
        for match in _ENTRY.finditer(Path(lock).read_text(encoding="utf-8")):
            yield match[1], match[2], set(match[3].split()), match[0]


def _normal(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _run(what: str, module: str, *arguments: str, counted: bool = False) -> int:
    """Run a module of this Python, quietly but for its errors; *what* it does is said with the seconds that it has taken."""
    started, before = time.monotonic(), _installed()
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
        progress = _Progress(process.stdout)
        while True:
            try:
                return process.wait(_EVERY_SECONDS)
            except subprocess.TimeoutExpired:
                done = f"{_installed() - before} installed" if progress.fetched_all else f"{progress.fetched} fetched"
                _say(f"  {time.monotonic() - started:3.0f} s  {f'{done} {what}' if counted else what}")


def _say(line: str) -> None:
    """On a terminal in the place of the line before."""
    sys.stdout.write(f"\r{line}\033[K" if sys.stdout.isatty() else f"{line}\n")
    sys.stdout.flush()


def _installed() -> int:
    return sum(1 for _ in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))


class _Progress:
    """What pip has said so far."""

    def __init__(self, output: IO[str]) -> None:
        self.fetched, self.fetched_all = 0, False
        threading.Thread(target=self._follow, args=(output,), daemon=True).start()

    def _follow(self, output: IO[str]) -> None:
        for line in output:
            self.fetched += line.startswith(("Collecting ", "Ignoring "))  # the latter: for another platform
            self.fetched_all |= line.startswith("Installing collected packages")


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.write("\n" if sys.stdout.isatty() else "")
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)
