"""The command ``flowrex-ops``: parse, one call into the library, and every error as one line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command. Exit codes: 0 it did its work, 1 it could not, 2 wrong usage, 3 ``run --fail-on`` found one."""
    sys.exit(_run())


def _run() -> int:
    import click

    from flowrex_ops.cli.app import app
    from flowrex_ops.errors import FlowrexOpsError

    try:
        result = app(standalone_mode=False)
    except FlowrexOpsError as error:
        return _say(str(error), error.exit_code)
    except (click.exceptions.Exit, SystemExit) as error:
        return int(getattr(error, "exit_code", getattr(error, "code", 0)) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("stopped by the keyboard; what was recorded is kept", 1)
    except Exception as error:
        # Typer may carry a click of its own; its usage errors know how to say what is wrong, and their code.
        if not hasattr(error, "format_message"):
            raise
        return _say(f"{error.format_message().rstrip('.')}; see --help".lower(), 2)
    return result if isinstance(result, int) else 0


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"flowrex-ops: {text}\n")
    return code
