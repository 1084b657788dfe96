"""How the platform's services run and are controlled: one protocol, and Docker Compose as the driver.

Readings (``get_*``, ``read_logs``, ``execute`` with a command that only reads) change nothing. What acts (``restart``, ``stop``, ``start``, ``scale``, ``replace``, ``pin_version``) is called
only by ``flowrex_ops.mitigations`` (through its guard) and by the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Protocol

from flowrex_ops.errors import SettingsError
from flowrex_ops.model import Disk, Execution, LogLine, Replica, Usage
from flowrex_ops.settings import Settings


class Stack(Protocol):
    """What a driver can do. Every method raises ``StackUnavailableError`` when the engine does not answer in time."""

    kind: str

    def describe(self) -> str:
        """One line for people: the engine, its version, the project."""
        ...

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        """All replicas, or those of one service, ordered by service and number; stopped ones too."""
        ...

    def get_usage(self, service: str | None = None) -> Sequence[Usage]:
        """Memory and CPU time of all running replicas, or of those of one service; ordered as the replicas."""
        ...

    def get_disks(self, *, timeout_seconds: float) -> Sequence[Disk]:
        """The filesystems that the services write to, each once."""
        ...

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        """The service's log lines (stdout and stderr of all replicas) since a time, streamed, newest *max_bytes* at most."""
        ...

    def read_log_chunks(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[bytes]:
        """The same log as raw bytes, one replica after another, in pieces that end with a line: for counting."""
        ...

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        """Run a command that only reads inside a running replica, with its environment and in its working directory.

        No shell in between; at most ``EXECUTION_BYTES`` of each stream are kept. One that does not end in time raises.
        """
        ...

    def pipe(
        self,
        replica: Replica,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        timeout_seconds: float,
        on_tick: Callable[[], None],
    ) -> Execution:
        """Run a command inside a running replica with a file at each end: dumps and loads, which are too large to keep.

        *environment* is added to the replica's; *on_tick* is called about once a second. The Execution's ``stdout`` is empty.
        """
        ...

    def restart(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Stop and start one replica; returns once it was started, which is not yet healthy."""
        ...

    def stop(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Stop one replica."""
        ...

    def start(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Start one stopped replica."""
        ...

    def scale(self, service: str, count: int, *, timeout_seconds: float) -> None:
        """Run *count* replicas of a service as it is configured; those with the highest numbers go first.

        Returns once they were started or are gone; running ones stay untouched.
        """
        ...

    def replace(self, replica: Replica, version: str, *, timeout_seconds: float) -> Replica:
        """Stop one replica, run one of another version in its place, and return that one, which is not yet healthy."""
        ...

    def pin_version(self, service: str, version: str) -> str:
        """Have the next deployment take *version*, and return what it would have taken; empty where nothing was to pin."""
        ...


def open_stack(settings: Settings) -> Stack:
    """The driver that the settings name; nothing is contacted yet. Raises SettingsError where they do not suffice."""
    if settings.stack.kind != "compose":
        return _open_plugged(settings)
    from flowrex_ops.compose.stack import ComposeStack

    return ComposeStack(
        settings.stack.project,
        docker_host=settings.stack.docker_host,
        version_variable=settings.stack.version_variable,
        timeout_seconds=settings.limits.reading_seconds,
    )


def _open_plugged(settings: Settings) -> Stack:
    """A driver that another package brings, as the sandbox does (entry points of group ``flowrex_ops.stacks``)."""
    from importlib.metadata import entry_points

    for point in entry_points(group="flowrex_ops.stacks", name=settings.stack.kind):
        stack: Stack = point.load()(settings)
        return stack
    raise SettingsError(
        f"stack.kind is '{settings.stack.kind}', which no installed package brings; set it to 'compose', or install the sandbox: pip install 'flowrex-ops[sandbox]'"
    )
