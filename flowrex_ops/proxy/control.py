"""NGINX's configuration changed in one way only: snippets in a folder that it includes, tested, reloaded, confirmed, or put back.

NGINX is asked to test before each reload (``nginx -t``: it reads everything and changes nothing), because a reload with a
broken configuration keeps the old one and says so only in a log (https://nginx.org/en/docs/control.html#reconfiguration).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from flowrex_ops.compose import Stack
from flowrex_ops.errors import FlowrexOpsError, MitigationRefusedError, VerificationError
from flowrex_ops.files import write_atomic
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Replica
from flowrex_ops.proxy.snippets import read_managed
from flowrex_ops.settings import ProxySettings
from flowrex_ops.waiting import wait_until

CONSECUTIVE = 5
OLD_WORKERS_SECONDS = 0.5
"""So many readings in a row, spread over so long, must confirm a change: for some 150 ms after a reload (longer on a busy machine) old and new workers both answer."""

Files = Mapping[str, str | None]
"""Snippets by file name; ``None`` for one that is not to be there."""


def _settled(confirm: Callable[[], bool]) -> bool:
    """Whether *confirm* is true ``CONSECUTIVE`` times in a row, in ``OLD_WORKERS_SECONDS``."""
    for number in range(CONSECUTIVE):
        if number:
            time.sleep(OLD_WORKERS_SECONDS / (CONSECUTIVE - 1))
        if not confirm():
            return False
    return True


class ProxyControl:
    """The proxy as far as it may be changed. Every method raises ``SourceUnavailableError`` where the stack is silent."""

    def __init__(
        self, stack: Stack, proxy: ProxySettings, *, command_seconds: float, confirm_seconds: float = 10.0
    ) -> None:
        self._stack = stack
        self._proxy = proxy
        self._command_seconds = command_seconds
        self._confirm_seconds = confirm_seconds

    @classmethod
    def of(cls, context: Context) -> Self:
        """The proxy that the settings name."""
        settings = context.settings
        return cls(context.endpoints.stack, settings.proxy, command_seconds=settings.limits.reading_seconds)

    @property
    def folder(self) -> Path:
        """The control folder, here. MitigationRefusedError where there is none."""
        if self._proxy.control is None or not self._proxy.control.is_dir():
            named = (
                f"'{self._proxy.control}' is no folder" if self._proxy.control else "the proxy has no control folder"
            )
            raise MitigationRefusedError(
                f"{named}; see docs/procedures.md for the two include lines, and set proxy.control"
            )
        return self._proxy.control

    @property
    def inside(self) -> str:
        """The control folder as NGINX sees it."""
        return self._proxy.control_inside or str(self.folder)

    def has_folder(self) -> bool:
        """Whether there is a control folder, so that ``change`` can be called."""
        return self._proxy.control is not None and self._proxy.control.is_dir()

    def read(self) -> dict[str, str]:
        """The snippets that lie in the control folder, text by file name."""
        return read_managed(self.folder)

    def replica(self) -> Replica:
        """The running proxy. MitigationRefusedError where none runs."""
        found = [replica for replica in self._stack.get_replicas(self._proxy.service) if replica.running]
        if not found:
            raise MitigationRefusedError(f"service '{self._proxy.service}' does not run; start it first")
        return found[0]

    def test(self) -> None:
        """``nginx -t`` of what lies on disk. MitigationRefusedError with NGINX's own words where it refuses."""
        self._run("-t")

    def require_sound(self) -> None:
        """``test``, before anything is changed: somebody's half-finished edit would be blamed on us, or take effect by our reload."""
        try:
            self.test()
        except MitigationRefusedError as error:
            raise MitigationRefusedError(f"the configuration was broken before anything was changed: {error}") from None

    def dump(self) -> str:
        """``nginx -T``: every file as it lies on disk, or the end of it where that is long."""
        return self._run("-T")

    def reload(self, confirm: Callable[[], bool]) -> None:
        """Test, reload, and wait until *confirm* was true several times in a row; VerificationError where it never is."""
        self.test()
        self._run("-s", "reload")
        if not wait_until(lambda: _settled(confirm), seconds=self._confirm_seconds):
            raise VerificationError(
                f"NGINX was reloaded, and {self._confirm_seconds:g} s later nothing shows it; read its log"
            )

    def change(self, files: Files, confirm: Callable[[], bool]) -> None:
        """Put *files* in place (or take them away), test, reload, confirm; whatever goes wrong, the old ones are put back.

        MitigationRefusedError where the configuration was broken before or NGINX refuses the new one, VerificationError
        where it has no effect; both say whether the old one is back.
        """
        before = self.read()
        self.require_sound()
        try:
            self._write(files)
            self._require_included(files)
            self.reload(confirm)
        except BaseException as error:
            back = self._put_back({name: before.get(name) for name in files})
            if isinstance(error, FlowrexOpsError):
                raise type(error)(f"{error}; {back}") from None
            raise

    def discard(self, name: str) -> None:
        """Take away a page that no snippet serves any more."""
        (self.folder / name).unlink(missing_ok=True)

    def _put_back(self, files: Files) -> str:
        try:
            self._write(files)
            self.test()
            self._run("-s", "reload")
        except FlowrexOpsError as error:
            return f"putting the old configuration back failed: {error}; look at '{self.folder}'"
        return "the old configuration is back"

    def _write(self, files: Files) -> None:
        for name, text in files.items():
            path = self.folder / name
            if text is None:
                path.unlink(missing_ok=True)
            else:
                write_atomic(path, text)

    def _require_included(self, files: Files) -> None:
        """A folder that no configuration includes would make every change one without effect."""
        dump = self.dump()
        if not dump.startswith("# configuration file"):
            return  # longer than what is kept of a command's output; the reading after the reload decides
        for name, text in files.items():
            if text is not None and name.endswith(".conf") and text.partition("\n")[0] not in dump:
                raise MitigationRefusedError(
                    f"NGINX does not include '{self.inside}/{name}'; add the include lines of docs/procedures.md"
                )

    def _run(self, *options: str) -> str:
        replica = self.replica()
        done = self._stack.execute(replica, (*self._proxy.program, *options), timeout_seconds=self._command_seconds)
        if done.exit_code != 0:
            raise MitigationRefusedError(f"NGINX refuses it: {_complaint(done.stderr)}")
        return done.stdout


def _complaint(stderr: str) -> str:
    """The line that says what is wrong, without its time and process."""
    lines = stderr.strip().splitlines() or ["it gave no reason"]
    worst = [line for line in lines if "[emerg]" in line] or lines[-1:]
    return worst[0].partition("[emerg]")[2].strip(" :") or worst[0].strip()
