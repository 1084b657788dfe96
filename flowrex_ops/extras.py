"""What not every host needs is an extra of the package; a command that misses one says how to get it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from flowrex_ops.errors import MissingExtraError

_CHECKOUT = Path(__file__).parents[1] / "tools" / "install.py"


def require(what: str, extra: str, *modules: str) -> None:
    """MissingExtraError, with what to install, unless each of the *modules* that *what* needs can be imported."""
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtraError(
                f"{what} needs {module.replace('_', '-')}; install it with: {how_to_install(extra)}"
            )


def how_to_install(extra: str) -> str:
    """The shell command that brings *extra*: locked in a checkout, else by pip."""
    return f"make setup EXTRAS={extra}" if _CHECKOUT.is_file() else f"pip install 'flowrex-ops[{extra}]'"
