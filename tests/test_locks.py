"""The lock files hold what pyproject.toml asks for, each package with the parts that want it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS, GROUPS = PROJECT["project"]["optional-dependencies"], PROJECT["dependency-groups"]
ENTRY = re.compile(r"^([a-z0-9-]+)==([^\s;]+).*?# for ([a-z0-9 ]+)$", re.MULTILINE | re.DOTALL)


def locked(file: str, part: str) -> dict[str, Version]:
    """Name and version of what *part* installs."""
    text = (ROOT / file).read_text(encoding="utf-8")
    wanted = {part, "core"}
    return {name: Version(version) for name, version, parts in ENTRY.findall(text) if wanted & set(parts.split())}


@pytest.mark.parametrize(
    ("file", "part", "asked"),
    [
        ("requirements.lock", "core", PROJECT["project"]["dependencies"]),
        *[("requirements.lock", extra, asked) for extra, asked in EXTRAS.items()],
        *[("requirements-dev.lock", group, asked) for group, asked in GROUPS.items()],
    ],
)
def test_what_a_part_asks_for_is_locked(file: str, part: str, asked: list[str | dict[str, str]]) -> None:
    """Else ``make lock`` was forgotten."""
    versions = locked(file, part)
    requirements = [Requirement(one) for one in asked if isinstance(one, str)]

    unmet = [
        str(one)
        for one in requirements
        if (version := versions.get(canonicalize_name(one.name))) is None or version not in one.specifier
    ]

    assert unmet == []


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock"])
def test_every_package_has_hashes_and_no_address(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")

    requirements = re.findall(r"^[^\s#][^\n]*", text, re.MULTILINE)

    assert [line for line in requirements if "==" not in line or not line.endswith(" \\")] == []
    assert (text.count("# for "), "://" in text) == (len(requirements), False)


def test_a_part_that_there_is_not_is_named() -> None:
    said = subprocess.run(
        [sys.executable, "tools/install.py", "core", "labb"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert said.returncode == 1
    assert said.stderr.startswith(
        "install: 'labb' is no part of the lock files; there are: bench, browser, build, core"
    )
