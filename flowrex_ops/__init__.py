"""Executable incident runbooks for the Flowrex trading platform."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.1"
__all__ = ["Investigation", "__version__"]

# nbformat loads jsonschema, and that tries this module for addresses in Unicode ("iri", which no notebook has). It comes with
# JupyterLab alone, and compiles a grammar when it is imported: more than a second of every run. As if it were not installed:
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None means so (importlib, import_module)

if TYPE_CHECKING:
    from flowrex_ops.investigation import Investigation


def __getattr__(name: str) -> Any:
    """Load the investigation, and pandas with it, only for those who use it (PEP 562)."""
    if name == "Investigation":
        from flowrex_ops.investigation import Investigation

        return Investigation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
