"""Who does something, where nobody is named."""

from __future__ import annotations

import getpass
import os


def login_name() -> str:
    """The name of the account that this runs as, or its number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
