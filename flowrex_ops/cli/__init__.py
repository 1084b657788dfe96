"""The command ``flowrex-ops``: parse, one call into the library, and every error as one line."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command. Exit codes: 0 it did its work, 1 it could not, 2 wrong usage, 3 ``run --fail-on`` found one."""
    code = _run()
    gc.freeze()  # else the interpreter's end looks for cycles in all that was imported: a third of a second after a run
    sys.exit(code)


def _run() -> int:
    import click

    from flowrex_ops.cli.app import app
    from flowrex_ops.errors import FlowrexOpsError

    try:
        result = app(standalone_mode=False, prog_name="flowrex-ops")
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
        return _usage(error)
    return result if isinstance(result, int) else 0


def _usage(error: Exception) -> int:
    """Whoever left something out sees how the command is called; a slip is one line."""
    if type(error).__name__ in ("NoArgsIsHelpError", "MissingParameter"):
        error.show()  # type: ignore[attr-defined]  # of click's usage errors
        return 2
    said = error.format_message().rstrip(".")  # type: ignore[attr-defined]  # of click's exceptions
    context = getattr(error, "ctx", None)
    hint = f"; see '{context.command_path} --help'" if context and not said.endswith("?") else ""
    return _say(said + hint, 2)


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"flowrex-ops: {text}\n")
    return code
