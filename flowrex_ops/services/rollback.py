"""Another version of the backend in the place of the one that runs, replica by replica, undone where it does not become healthy.

Migrations since the older version was first seen are a warning and no refusal: whether the schema still fits is known
only to whoever wrote the release. No table means unknown, never none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import httpx
import pandas as pd

from flowrex_ops.errors import FlowrexOpsError, MitigationRefusedError, SourceUnavailableError, VerificationError
from flowrex_ops.health_probe import ask_health
from flowrex_ops.mitigation_context import Context
from flowrex_ops.model import Plan, Reading, Replica, Target
from flowrex_ops.proxy.replica_set import ReplicaSet
from flowrex_ops.proxy.rotation import Rotation
from flowrex_ops.services.rolling import Rolling
from flowrex_ops.services.script import Script
from flowrex_ops.services.versions import current_version, history_of, migrations_between, previous_version
from flowrex_ops.waiting import wait_until
from flowrex_ops.web import get

_LEAST_SECONDS = 60.0
"""For making a replica, whatever it is given to become ready; and for going back, which has nothing to fall back on."""


class RollbackBackend(Rolling):
    """Go back to the version before, or to one that is named."""

    slug = "rollback-backend"
    causes: ClassVar[tuple[str, ...]] = ()
    action = "replace each replica by one of the version before"
    cost = "none but reconnecting WebSockets"

    def __init__(
        self,
        fleet: ReplicaSet,
        rotation: Rotation | None,
        *,
        version: str,
        get_history: Callable[[], pd.DataFrame],
        get_migrations: Callable[[], Reading[pd.DataFrame]],
        script: Script | None = None,
    ) -> None:
        """*version* to go to, empty for the one before; *script* does it all where the platform has one."""
        super().__init__(fleet, rotation)
        self._version = version
        self._get_history = get_history
        self._get_migrations = get_migrations
        self._script = script
        self._from = ""
        self._to = ""
        self._replaced: list[str] = []

    @classmethod
    def build(cls, context: Context, *, version: str = "", **bounds: Any) -> Self:
        """*version*: where to go, empty for the version before; *bounds* are ``ReplicaSet``'s."""
        fleet = ReplicaSet.of(context, **bounds)
        rollback = context.settings.rollback
        return cls(
            fleet,
            Rotation.of(context, fleet, cls.slug),
            version=version,
            get_history=lambda: read_history(context),
            get_migrations=context.database.get_migrations,
            script=Script(rollback.script, rollback.script_seconds) if rollback.script else None,
        )

    def find_targets(self) -> Sequence[Target]:
        """Replicas that do not run the version; with a script one target, the service with all of them."""
        history = self._get_history()
        self._from = current_version(history)
        self._to = self._version or previous_version(history)
        if not self._to:
            raise MitigationRefusedError(
                f"no version before {self._from or 'this one'} was seen; name one with version"
            )
        left = self.left_out()
        others = [one for one in self._fleet.replicas() if one.version != self._to or one.name in left]
        if not others:
            raise MitigationRefusedError(f"every replica runs {self._to} already; there is nothing to go back from")
        self._from = others[0].version
        if self._script is None:
            others.sort(key=self._fleet.is_ready)
            return [
                Target((o.name, o.identity, self._to), f"{o.name}: {o.version} now, {self._to} then") for o in others
            ]
        self._script.require()
        identities = tuple(one.identity for one in others)
        return [
            Target((self._fleet.service, self._to, *identities), f"{len(others)} replicas: {self._from} to {self._to}")
        ]

    def action_of(self, targets: Sequence[Target]) -> str:
        if self._script is not None:
            return f"run '{self._script.path} {self._to}' and wait until every replica is ready on it"
        return (
            f"replace {len(targets)} replicas of {self._from} by {self._to}, one at a time, each ready before the next"
        )

    def cost_of(self, targets: Sequence[Target]) -> str:
        reading = self._get_migrations()
        history = self._get_history().set_index("version")
        since = history["first_seen"].get(self._to)
        reported = migrations_between(reading.require() if reading.available else None, since)
        users = "as the script has it" if self._script is not None else super().cost_of(targets)
        return f"{reported}. Users: {users}"

    def undo_of(self, _targets: Sequence[Target]) -> str:
        return f"{self.slug} with version={self._from}; by itself where a replica of {self._to} does not become ready"

    def apply(self, target: Target) -> str:
        if self._script is not None:
            return self._run_script(self._script, target)
        try:
            done = super().apply(target)
        except VerificationError as error:
            raise VerificationError(f"{error}. {self._go_back()}") from None
        if all(one.version == self._to for one in self._fleet.replicas()):
            self._fleet.stack.pin_version(self._fleet.service, self._to)
        return done

    def change(self, replica: Replica) -> str:
        seconds = max(_LEAST_SECONDS, self._fleet.ready_seconds)
        new = self._fleet.stack.replace(replica, self._to, timeout_seconds=seconds)
        self._replaced.append(new.name)
        return new.name

    def verify(self, plan: Plan) -> str:
        """Every replica is ready and says itself that it is of the version."""

        def reported() -> dict[str, str]:
            return {one.name: self._ask_version(one) for one in self._fleet.replicas()}

        if not wait_until(lambda: set(reported().values()) == {self._to}, seconds=10.0):
            raise VerificationError(f"not every replica is ready on {self._to}: {reported()}; look at their logs")
        out = self._rotation.leftover() if self._rotation else None
        if out:
            raise VerificationError(f"the proxy still has a list of its own ({out.about}); run this again")
        return f"verified: all {len(reported())} replicas say that they are ready on {self._to}, {len(plan.targets)} by this run"

    def clean_up(self) -> str:
        left = super().clean_up()
        versions = ", ".join(f"{one.name} runs {one.version}" for one in self._fleet.replicas())
        return (
            f"{left}{'; ' if left else ''}{versions}; run this again to finish, or with version={self._from} to go back"
        )

    def _run_script(self, script: Script, target: Target) -> str:
        now = tuple(one.identity for one in self._fleet.replicas())
        if not set(target.identity[2:]) <= set(now):
            raise MitigationRefusedError("the replicas are not those that were planned any more; nothing was done")
        self.log_step(f"{script.path} {self._to}")
        try:
            script.run(self._to)
            if not wait_until(self._all_there, seconds=self._fleet.ready_seconds):
                raise VerificationError(f"not every replica became ready on {self._to}")
        except VerificationError as error:
            self.log_step(f"{script.path} {self._from}")
            script.run(self._from)
            raise VerificationError(f"{error}; '{script.path} {self._from}' was run to go back") from None
        return f"'{script.path} {self._to}' was run"

    def _all_there(self) -> bool:
        return all(self._ask_version(one) == self._to for one in self._fleet.replicas())

    def _go_back(self) -> str:
        """Every replica that was replaced gets the version from before; the broken one first, which nobody uses."""
        names, self._replaced = list(reversed(self._replaced)), []
        try:
            for name in names:
                self._put_back(name)
        except FlowrexOpsError as error:
            return f"going back to {self._from} failed too: {error}"
        return f"Undone: every replica is on {self._from} again" if names else ""

    def _put_back(self, name: str) -> None:
        replica = self._fleet.named(name)
        if replica is None:
            return
        self.log_step(f"{name}: back to {self._from}")
        if name != self._current and self._rotates():
            self._require_rotation().take_out([name])
            self._fleet.drain(replica)
        seconds = max(_LEAST_SECONDS, self._fleet.ready_seconds)
        new = self._current = self._fleet.stack.replace(replica, self._from, timeout_seconds=seconds).name
        if not self._fleet.await_ready(new, seconds=seconds):
            raise VerificationError(f"{new} is not ready on {self._from} either")
        if self._rotates():
            self._require_rotation().restore()
        self._current = ""

    def _ask_version(self, replica: Replica) -> str:
        """What the replica itself says, which is empty while it is not ready; a platform that does not say is believed its stack."""
        try:
            url = self._fleet.url(replica)
            path = ask_health(url, self._fleet.health_path, timeout_seconds=self._fleet.request_seconds).path
            answer = get(f"{url}{path}", seconds=self._fleet.request_seconds, verified=False)
            said = answer.json() if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return ""
        return (
            ""
            if said is None
            else str(said.get("version", replica.version) if isinstance(said, dict) else replica.version)
        )


class RollbackBadDeploy(RollbackBackend):
    """The same as a mitigation: only where errors were found to have begun with the version."""

    slug = "rollback-bad-deploy"
    causes = ("http.bad-deploy",)


def read_history(context: Context) -> pd.DataFrame:
    """Which versions of the backend ran when, by its replicas and the proxy's log; SourceUnavailableError without the former."""
    replicas = context.services.get_replicas()
    if not replicas.available:
        raise SourceUnavailableError(f"which versions run cannot be read: {replicas.error}", code=replicas.code)
    requests = context.access.get_requests(since=context.since, recent_minutes=1.0)
    return history_of(replicas, requests, service=context.settings.backend.service)
