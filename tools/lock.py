"""Write the lock files from pyproject.toml: ``make lock``, or ``make lock FLAGS=--upgrade`` for the newest of everything.

``requirements.lock`` holds the core and all extras, ``requirements-dev.lock`` the dependency groups. They are resolved together, for
every platform that this runs on and every Python that pyproject.toml allows. Below each package stands what wants it, which is how
``tools/install.py`` installs a part.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

_ENTRY = re.compile(r"^([a-z0-9][^\s=]*==[^\s;]+)[^\n]*(?:\n +--hash[^\n]*)*", re.MULTILINE)
_OPTIONS = ("--universal", "--python-version", "3.11", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet")
PROJECT = Path("pyproject.toml")
USERS, DEVELOPERS = Path("requirements.lock"), Path("requirements-dev.lock")


def main(options: list[str]) -> None:
    """Resolve everything, then each part by those versions."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    user_parts = {"core": [str(PROJECT)]} | {extra: [str(PROJECT), "--extra", extra] for extra in extras}
    group_parts = {group: ["--group", group] for group in groups}
    with tempfile.TemporaryDirectory() as folder:
        resolved = Path(folder) / "resolved.txt"
        resolved.write_text("".join(file.read_text(encoding="utf-8") for file in (USERS, DEVELOPERS) if file.is_file()))
        everything = [word for group in group_parts.values() for word in group]
        # What stands in the output already is kept, as uv does with its own output file.
        _compile(
            str(PROJECT), "--all-extras", *everything, "--generate-hashes", "--output-file", str(resolved), *options
        )
        entries = {match[1]: match[0] for match in _ENTRY.finditer(resolved.read_text(encoding="utf-8"))}
        for file, parts in ((USERS, user_parts), (DEVELOPERS, group_parts)):
            wanted = {part: _names(_compile(*words, "--constraints", str(resolved))) for part, words in parts.items()}
            file.write_text(_lock(entries, wanted), encoding="utf-8")


def _compile(*arguments: str) -> str:
    command = [sys.executable, "-m", "uv", "pip", "compile", *_OPTIONS, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _names(text: str) -> set[str]:
    return {match[1] for match in _ENTRY.finditer(text)}


def _lock(entries: dict[str, str], wanted: dict[str, set[str]]) -> str:
    """The entries that some part wants; what is in the core is in every extra, and is said once."""
    lines = []
    for name, entry in entries.items():
        parts = [part for part, names in wanted.items() if name in names]
        if parts:
            lines.append(f"{entry}\n    # for {'core' if 'core' in parts else ' '.join(parts)}\n")
    return "".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
