"""Property tests measure no time: a slow machine is not a counterexample."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("flowrex", deadline=None, max_examples=15)
settings.register_profile("thorough", deadline=None, max_examples=200)


def pytest_configure(config: pytest.Config) -> None:
    """More examples before a release."""
    settings.load_profile("thorough" if config.getoption("suite") == "all" else "flowrex")
