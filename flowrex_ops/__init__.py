"""Executable incident runbooks for the Flowrex trading platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.1"
__all__ = ["Investigation", "__version__"]

if TYPE_CHECKING:
    from flowrex_ops.investigation import Investigation


def __getattr__(name: str) -> Any:
    """Load the investigation, and pandas with it, only for those who use it (PEP 562)."""
    if name == "Investigation":
        from flowrex_ops.investigation import Investigation

        return Investigation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
