"""certbot run where it lives, and what it says put into one line; it renews one certificate, with the names that it has.

It keeps accounts, keys and lineages there; the library speaks no ACME of its own.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass

from flowrex_ops.compose import Stack
from flowrex_ops.compose.execution import shortened
from flowrex_ops.compose.pipes import run_piped
from flowrex_ops.errors import MitigationRefusedError, VerificationError
from flowrex_ops.model import Replica
from flowrex_ops.settings import CertbotSettings

_VERSION_SECONDS = 20.0
_CHALLENGE = re.compile(r"Domain:\s*(?P<name>\S+)\s+Type:\s*(?P<type>\S+)\s+Detail:\s*(?P<detail>.+)")
_ERROR = re.compile(r"with error: (?P<error>.+)")
_UNREACHABLE = re.compile(
    r"refused|timed out|max retries|not known|unreachable|name resolution|no route", re.IGNORECASE
)
_MOST_SAID = 300


@dataclass(frozen=True, slots=True)
class Certbot:
    """certbot as the settings name it: in the container of its service, or on this machine."""

    stack: Stack
    settings: CertbotSettings

    def require(self) -> str:
        """Its version. MitigationRefusedError where it is missing, or its service does not run."""
        code, said = self._run("--version", limit_seconds=_VERSION_SECONDS)
        if code != 0:
            last = (said.strip().splitlines() or ["no reason given"])[-1]
            raise MitigationRefusedError(f"certbot cannot be run: {last}; install it, or correct {self._setting}")
        return next((line for line in said.splitlines() if line.startswith("certbot ")), "certbot")

    def renew(self, name: str) -> None:
        """Renew the certificate that certbot calls *name*, if it is due. VerificationError says why it did not."""
        options = ["--server", self.settings.server] if self.settings.server else []
        if self.settings.webroot:
            options += ["--webroot", "--webroot-path", self.settings.webroot, "--preferred-challenges", "http"]
        code, said = self._run(
            "renew",
            "--cert-name",
            name,
            "--non-interactive",
            "--no-random-sleep-on-renew",
            *options,
            limit_seconds=self.settings.seconds,
        )
        if code != 0:
            raise VerificationError(self._why_not(name, said))
        if "not yet due" in said or "no renewals were attempted" in said.lower():
            raise VerificationError(
                f"certbot finds '{name}' not due for renewal: what it has of it is valid for longer than what is served;"
                " compare the files that NGINX names with 'certbot certificates'"
            )

    @property
    def _setting(self) -> str:
        return "certbot.service" if self.settings.service else "certbot.program"

    def _run(self, *arguments: str, limit_seconds: float) -> tuple[int, str]:
        """Exit code, and the end of all that it said. SourceUnavailableError where it does not end in time."""
        command = [*self.settings.program, *arguments]
        with tempfile.TemporaryFile() as stdout:
            if self.settings.service:
                done = self.stack.pipe(
                    self._replica(),
                    command,
                    environment={},
                    stdin=None,
                    stdout=stdout,
                    timeout_seconds=limit_seconds,
                    on_tick=_nothing,
                )
            else:
                done = run_piped(
                    command,
                    environment=os.environ,
                    stdin=None,
                    stdout=stdout,
                    timeout_seconds=limit_seconds,
                    on_tick=_nothing,
                )
            stdout.seek(0)
            return done.exit_code, f"{shortened(stdout.read())}\n{done.stderr}"

    def _replica(self) -> Replica:
        service = self.settings.service
        running = [replica for replica in self.stack.get_replicas(service) if replica.running]
        if not running:
            raise MitigationRefusedError(
                f"service '{service}' does not run, so certbot cannot; start it, or let certbot.program name the command"
                " that runs it on this machine, with certbot.service empty"
            )
        return running[0]

    def _why_not(self, name: str, said: str) -> str:
        """One line: what happened, to what, what to do next."""
        if challenge := _CHALLENGE.search(said):
            return (
                f"the ACME server refused the challenge for '{challenge['name']}' ({challenge['type']}): {challenge['detail'].strip()};"
                f" see that NGINX serves '{self.settings.webroot or 'the webroot'}' at /.well-known/acme-challenge/ and that the name leads here"
            )
        found = _ERROR.search(said)
        error = found["error"].strip() if found else ""
        if "ratelimited" in said.lower() or "too many certificates" in said.lower():
            return f"the ACME server's rate limit is reached: {error}; wait, and do not force it"
        if _UNREACHABLE.search(error):
            return f"the ACME server '{self.settings.server or 'that certbot knows'}' cannot be reached: {error}; try again later"
        if "Another instance of Certbot is already running" in said:
            return "another certbot is at work, and holds the lock; wait until it has ended, or end it, then run this again"
        if "No certificate found with name" in said:
            return f"certbot knows no certificate '{name}'; see 'certbot certificates', and set certificate in tls.endpoints"
        last = [line for line in said.strip().splitlines() if line and not line.startswith("Ask for help")][-2:]
        return f"certbot failed: {(error or ' / '.join(last) or 'no reason given')[-_MOST_SAID:]}; read its log"


def _nothing() -> None:
    """Nothing else is to be watched while it runs."""
