"""The faults, by doing the real thing: a module a subject, each with its ``DRILLS``.

A new fault is a subclass of ``Fault`` in one of them, and its drill an entry beside it; both are found here.
"""

from __future__ import annotations

from importlib import import_module
from inspect import isabstract, isclass
from pkgutil import iter_modules

from flowrex_sandbox.drill import Drill
from flowrex_sandbox.faults.base import Fault

_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]


def find_drills() -> list[Drill]:
    """All drills."""
    return [drill for module in _MODULES for drill in getattr(module, "DRILLS", ())]


def find_faults() -> list[type[Fault]]:
    """All faults, in the order in which they are reset."""
    found = [
        cls
        for module in _MODULES
        for cls in vars(module).values()
        if isclass(cls) and issubclass(cls, Fault) and not isabstract(cls)
        if cls.__module__ == module.__name__ != Fault.__module__ and not cls.__name__.startswith("_")
    ]
    return sorted(found, key=lambda cls: cls.rank)
