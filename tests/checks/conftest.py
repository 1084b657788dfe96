"""Property tests measure no time: a slow machine is not a counterexample."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("flowrex", deadline=None, max_examples=60)
settings.load_profile("flowrex")
