"""The errors of this project: one small tree, each with a one-line text that ends with the next step.

``UsageError`` and its children mean that the caller can put it right (exit code 2); every other
``FlowrexOpsError`` means that the world is at fault (exit code 1).
"""

from collections.abc import Iterable


class FlowrexOpsError(Exception):
    """Something this tool was asked to do could not be done; the text says what, to what, and what next."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the one line (IPython looks for this method: ultratb, custom tracebacks)."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(FlowrexOpsError):
    """The request itself is wrong."""

    exit_code = 2


class UnknownRunbookError(UsageError):
    """No runbook has this name."""


class ParameterError(UsageError):
    """A parameter is unknown, has the wrong type or an impossible value."""


class SettingsError(UsageError):
    """The settings are missing, malformed or contradict themselves."""


class NotebookError(UsageError):
    """A file is not a runbook: not a notebook, no parameters cell, no metadata."""


class MissingExtraError(FlowrexOpsError):
    """A command needs a package that is not installed, since not every host needs it."""


class SourceUnavailableError(FlowrexOpsError):
    """A source did not answer, answered too late, or answered what cannot be understood.

    ``code`` is the source's own code where it has one (an SQLSTATE, an HTTP status).
    """

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class StackUnavailableError(SourceUnavailableError):
    """Docker or supervisord did not answer."""


class PreconditionError(FlowrexOpsError):
    """What was asked for comes after something that has not happened yet."""


class MitigationRefusedError(FlowrexOpsError):
    """The guard did not let a mitigation act: not approved, too many targets, targets changed."""


class BackupError(FlowrexOpsError):
    """A backup could not be taken, read or restored."""


class VerificationError(FlowrexOpsError):
    """A mitigation acted, and the reading afterwards does not show the effect."""


class RecordError(FlowrexOpsError):
    """A record could not be written or read (disk full, folder missing, file damaged)."""


class SandboxError(FlowrexOpsError):
    """The sandbox could not be started, stopped or given a fault."""


def nearest(name: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """The hint for whoever mistyped *name*: the nearest of *known*, else *otherwise*, else all of them."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else otherwise or f"there are: {', '.join(names) or 'none'}"
