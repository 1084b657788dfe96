"""What a runbook's notebook holds: it reads sources within limits, collects verdicts, guards mitigations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from flowrex_ops import render as presentation
from flowrex_ops.archive.incidents import current_user
from flowrex_ops.archive.offline import offline
from flowrex_ops.archive.outcome import MitigationResult, RunOutcome
from flowrex_ops.archive.readings import Replay, endpoints_of, platform_reading, replayed
from flowrex_ops.archive.writer import IncidentStore
from flowrex_ops.causes import COMPOSE, causes_by_runbook, ranked
from flowrex_ops.checks import Check
from flowrex_ops.copied.folder import Copies, copied
from flowrex_ops.discovery.endpoints import Endpoints, ReplicaFinder, discover
from flowrex_ops.discovery.roles import as_named_here
from flowrex_ops.discovery.services import ServicesSource
from flowrex_ops.durations import format_seconds, parse_duration
from flowrex_ops.grafana import AnnotatedTimeline
from flowrex_ops.guard import Approval, guard
from flowrex_ops.latency.source import LatencySource
from flowrex_ops.logs.access_log import AccessLogSource
from flowrex_ops.logs.source import PROXY_LOG_BYTES, LogSource
from flowrex_ops.memory.host import HostSource
from flowrex_ops.memory.redis import RedisSource
from flowrex_ops.memory.source import MemorySource
from flowrex_ops.metrics.backend import BackendSource
from flowrex_ops.metrics.prometheus import PrometheusSource
from flowrex_ops.mitigations import find, split_approval
from flowrex_ops.model import CHANGED, MitigationState, Outcome, Plan, Reading, Severity, Verdict, VerdictKind, worst
from flowrex_ops.notebook import KEPT_VARIABLE, Notebook
from flowrex_ops.parameters import validate_started
from flowrex_ops.postgres.backups.databases import open_databases
from flowrex_ops.postgres.backups.source import BackupsSource, open_tools
from flowrex_ops.postgres.server_log import ServerLogSource
from flowrex_ops.postgres.sessions import with_replica
from flowrex_ops.postgres.source import PostgresSource
from flowrex_ops.proxy.nginx_config import NginxSource
from flowrex_ops.proxy.source import FrontDoorSource
from flowrex_ops.reading import Source, begin
from flowrex_ops.redaction.redactor import Redactor
from flowrex_ops.resource_lock import resource_lock
from flowrex_ops.services.clocks import ClockSource
from flowrex_ops.services.configuration import ConfigurationSource
from flowrex_ops.services.credentials import CredentialsSource
from flowrex_ops.services.resolver import ResolverSource
from flowrex_ops.services.served import look
from flowrex_ops.services.third_party import SentrySource, StatusPagesSource
from flowrex_ops.settings import Settings, load
from flowrex_ops.tls.source import TlsSource
from flowrex_ops.trades.broker import open_broker
from flowrex_ops.websocket.connections import count_connections
from flowrex_ops.websocket.log import WebSocketLogSource
from flowrex_ops.websocket.source import WebSocketSource, find_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Investigation:
    """One run of a runbook. Sources are attributes, each reading is collected, each verdict is shown and kept.

    The sources are ``database``, ``database_log``, ``redis``, ``backend``, ``front_door``, ``logs``, ``proxy_logs``, ``access``, ``services``, ``tls``, ``broker``,
    ``clocks``, ``resolver``, ``credentials``, ``configuration``, ``prometheus``, ``memory``, ``host``, ``latency``, ``sentry``, ``status_pages``, ``nginx``, ``websocket``, ``websocket_log``,
    ``backups`` and ``databases``;
    ``since`` is how far back to look.
    """

    def __init__(
        self,
        runbook: str,
        endpoints: Endpoints,
        *,
        since: str,
        approval: Approval,
        store: IncidentStore,
        notebook: Notebook,
        replay: Replay | Copies | None = None,
    ) -> None:
        self.runbook = runbook
        self._replay = replay
        self.settings = endpoints.settings  # with the services that were found
        self.endpoints = endpoints
        self.since = parse_duration(since)
        self.approval = approval
        self.store = store
        self._notebook = notebook
        self._started = time.monotonic()
        self.readings: list[Reading[Any]] = []
        self.undrawn: list[str] = []
        """Charts and tables that failed: each cost itself alone, and is a defect."""
        self.verdicts: dict[str, Verdict] = {}
        self.mitigations: dict[str, Outcome] = {}
        self.severity: Severity | None = None
        self.impact = self.notify = self.users = ""
        self.next_runbooks: tuple[str, ...] = ()
        self._followed: Callable[[str, str], None] | None = None
        # What a cell may need of how the platform is set up.
        self.metrics = self.settings.metrics
        self.backend_service = self.settings.backend.service
        self.redis_service = self.settings.redis.service
        self.may_be_absent = self.settings.stack.may_be_absent
        self.contacts = self.settings.contacts
        self.warn_days = self.settings.tls.warn_days
        self._open_sources()

    @classmethod
    def open(
        cls,
        runbook: str,
        *,
        incident_id: str = "",
        since: str = "30m",
        approve: Sequence[str] = (),
        operator: str = "",
        settings: str = "",
        reading_seconds: float | None = None,
    ) -> Investigation:
        """Load the settings, find the sources, and say against what this runs. Raises UsageError on bad parameters.

        *reading_seconds* is a time limit for every reading that stands above the settings'.
        """
        given: dict[str, Any] = {
            "incident_id": incident_id,
            "since": since,
            "approve": approve,
            "operator": operator,
            "settings": settings,
        }
        given = validate_started(runbook, given, Notebook.namespace())
        loaded = load(given["settings"] or None)
        if reading_seconds is not None:
            bounds = {
                "reading_seconds": reading_seconds,
                "log_seconds": min(loaded.limits.log_seconds, reading_seconds),
            }
            limits = loaded.limits.model_copy(update=bounds)
            loaded = loaded.model_copy(update={"limits": limits})
        notebook = Notebook.current(loaded)
        hashes = dict(split_approval(item) for item in given["approve"])
        ask = partial(_ask, notebook) if notebook.live else None
        approval = Approval(hashes, given["operator"], ask, current_user(), loaded.approvers)
        store = IncidentStore.find(loaded.outputs, given["incident_id"], runbook, Redactor(loaded.secret_values()))
        replay: Replay | Copies | None = replayed() or copied()
        if isinstance(replay, Copies):
            endpoints = replay.endpoints(loaded)
        else:
            endpoints = endpoints_of(replay, loaded) if replay else discover(loaded)
        investigation = cls(
            runbook,
            endpoints,
            since=given["since"],
            approval=approval,
            store=store,
            notebook=notebook,
            replay=replay,
        )
        investigation._show_opening()
        investigation._take(platform_reading(endpoints))
        return investigation

    @classmethod
    def for_readings(cls, name: str, settings: Settings) -> Investigation:
        """One that reads and shows nothing, for what is no notebook; close its ``database`` afterwards."""
        store = IncidentStore(settings.outputs, None, name, Redactor(settings.secret_values()), sealed_by_runner=True)
        return cls(name, discover(settings), since="30m", approval=Approval({}), store=store, notebook=Notebook())

    def _open_sources(self) -> None:
        limits, endpoints = self.settings.limits, self.endpoints
        self._finder = ReplicaFinder(self.settings, endpoints.stack, endpoints.replicas)
        bounds: dict[str, Any] = {"limit_seconds": limits.reading_seconds, "limit_rows": limits.rows}
        self.database = PostgresSource(
            endpoints.postgres_dsn,
            endpoints.postgres_reserve_dsn,
            application_role=endpoints.application_role,
            missing=f"postgres is {endpoints.origins.get('postgres', 'not configured')}",
            stopped="postgres" in endpoints.stopped,
            **bounds,
        )
        self.database_log = ServerLogSource(
            endpoints.stack,
            self.settings.postgres.service,
            limit_seconds=limits.log_seconds,
            max_bytes=limits.log_bytes,
        )
        self.backend = BackendSource(
            self._finder.urls,
            default_pool_size=self.settings.backend.pool_size,
            missing=f"backend is {endpoints.origins.get('backend', 'not configured')}",
            health_path=self.settings.backend.health_path,
            guessed="backend" in endpoints.guessed,
            metrics=self.settings.metrics,
            **bounds,
        )
        service = self.settings.backend.service
        proxy = self.settings.proxy
        self.nginx = NginxSource(endpoints.stack, proxy, proxy.websocket_path, **bounds)
        self.logs = LogSource(endpoints.stack, service, limit_seconds=limits.log_seconds, max_bytes=limits.log_bytes)
        self.proxy_logs = LogSource(
            endpoints.stack,
            self.settings.front_door.service,
            limit_seconds=limits.log_seconds,
            max_bytes=min(limits.log_bytes, PROXY_LOG_BYTES),
            name="proxy logs",
            find_formats=self.nginx.find_formats,
        )
        self.resolver = ResolverSource(endpoints.stack, service, limit_seconds=limits.reading_seconds)
        self.credentials = CredentialsSource(endpoints.stack, service, limit_seconds=limits.log_seconds)
        self.configuration = ConfigurationSource(endpoints.stack, limit_seconds=limits.reading_seconds)
        self.access = AccessLogSource(
            endpoints.stack,
            self.settings.front_door.service,
            self._finder.upstreams,
            find_formats=self.nginx.find_formats,
            limit_seconds=limits.log_seconds,
            max_bytes=limits.log_bytes,
        )
        self.services = ServicesSource(endpoints.stack, limit_seconds=limits.reading_seconds)
        self.tls = TlsSource(
            endpoints.tls,
            ca_file=self.settings.tls.ca_file,
            missing=f"tls is {endpoints.origins.get('tls', 'not configured')}; set tls.endpoints",
            **bounds,
        )
        self.broker = open_broker(self.settings, endpoints.stack)
        self.websocket = WebSocketSource(
            lambda: find_targets(self.settings, endpoints, self._finder.urls(), self.nginx.find_path()),
            limit_seconds=limits.reading_seconds,
            count=lambda seconds: count_connections(
                endpoints.stack, service, self.settings.backend.port, timeout_seconds=seconds
            ),
        )
        self.websocket_log = WebSocketLogSource(
            endpoints.stack,
            service,
            proxy.service,
            find_formats=self.nginx.find_formats,
            find_addresses=self._finder.upstreams,
            limit_seconds=limits.log_seconds,
            max_bytes=limits.log_bytes,
        )
        self.nginx.used_path = self.websocket_log.find_path
        self.prometheus = PrometheusSource(
            endpoints.prometheus_url,
            missing=f"prometheus is {endpoints.origins.get('prometheus', 'not configured')}",
            find_names=self._finder.names,
            **bounds,
        )
        self.memory = MemorySource(endpoints.stack, self.prometheus, service, limit_seconds=limits.reading_seconds)
        self.host = HostSource(endpoints.stack, service, limit_seconds=limits.reading_seconds)
        self.latency = LatencySource(endpoints.stack, service, self._finder.urls, limit_seconds=limits.reading_seconds)
        self.redis = RedisSource(
            endpoints.redis_url,
            limit_seconds=limits.reading_seconds,
            missing=f"redis is {endpoints.origins.get('redis', 'not configured')}",
            prometheus=self.prometheus,
        )
        self.front_door = FrontDoorSource(
            endpoints.front_door_url,
            self.settings.front_door.path,
            limit_seconds=limits.reading_seconds,
            missing=f"the front door is {endpoints.origins.get('front door', 'not configured')}",
            tls=endpoints.tls,
        )
        self.clocks = ClockSource(endpoints.front_door_url, self._finder.urls, limit_seconds=limits.reading_seconds)
        self.sentry = SentrySource(self.settings.sentry, **bounds)
        self.status_pages = StatusPagesSource(self.settings.status_pages, **bounds)
        self.backups = BackupsSource(
            self.settings.backup.folder, lambda: open_tools(self.settings, endpoints), **bounds
        )
        self.databases = open_databases(self.settings, endpoints)
        self._sources = [source for source in vars(self).values() if isinstance(source, Source)]
        for source in self._sources:
            source.on_reading = self._take
            source.replayed = self._replay.answer if isinstance(self._replay, Replay) else None
        if isinstance(self._replay, Copies):
            self._replay.attach(self._sources)

    def _take(self, reading: Reading[Any]) -> None:
        self.readings.append(reading)
        if not self._replay:
            self.store.keep_reading(reading)

    def with_replica(self, sessions: Reading[pd.DataFrame]) -> Reading[pd.DataFrame]:
        """*sessions* with the backend replica that each one belongs to, where that can be told."""
        if not sessions.available:
            return sessions
        return replace(sessions, value=with_replica(sessions.require(), self._finder.addresses()))

    begin = staticmethod(begin)

    def show(
        self, reading: Reading[Any], view: Callable[[Any], pd.DataFrame] | None = None, columns: Sequence[str] = ()
    ) -> None:
        """Show a reading as a table: all of it, some *columns*, or what *view* makes of it; the whole goes to evidence."""
        if not reading.available:
            self._notebook.show(presentation.unavailable_html([reading]), f"no {reading.what}: {reading.error}")
            return
        value = reading.require()
        try:
            frame = view(value) if view else value
            shown = frame[list(columns)] if columns else frame
        except Exception as error:  # noqa: BLE001  # readings of another version may lack what a view asks for
            self._show_failed(getattr(view, "__name__", reading.what), "table", error)
            return
        evidence = self._keep(reading.what, value, frame, view)
        self._notebook.show(presentation.frame_html(shown, evidence=evidence), presentation.frame_text(shown))

    def _keep(self, what: str, value: Any, frame: pd.DataFrame, view: Callable[[Any], pd.DataFrame] | None) -> str:
        """Write the reading's whole table as evidence, and the view of it beside it; the path of what is shown."""
        if view is None or not isinstance(value, pd.DataFrame):
            return self.store.write_evidence(what, frame)
        self.store.write_evidence(what, value)
        return self.store.write_evidence(f"{what} {getattr(view, '__name__', 'view')}", frame)

    def plot(self, draw: Callable[..., Any], *readings: Reading[Any], **options: Any) -> None:
        """Draw a chart from readings; where one has no answer, say so in its place."""
        if any(not reading.available for reading in readings):
            self._notebook.show(presentation.unavailable_html(readings), "no chart: a source did not answer")
            return
        self.draw(draw, *(reading.require() for reading in readings), **options)

    def show_table(self, what: str, frame: pd.DataFrame, *, folded: bool = False) -> None:
        """Show a table that was made from several readings, or *folded* what a chart has shown; the whole goes to evidence under *what*."""
        evidence = self.store.write_evidence(what, frame)
        html = presentation.frame_html(frame, evidence=evidence, shown=0 if folded else presentation.SHOWN_ROWS)
        self._notebook.show(html, presentation.frame_text(frame))

    def draw(self, draw: Callable[..., Figure], *values: Any, **options: Any) -> None:
        """Draw a chart from *values*. One that cannot be drawn costs itself, and no answer of the cells after it."""
        try:
            self._notebook.show_figure(draw(*values, **options))
        except Exception as error:  # noqa: BLE001  # a defect of ours, told in the chart's place
            self._show_failed(getattr(draw, "__name__", "a chart"), "chart", error)

    def _show_failed(self, name: str, what: str, error: Exception) -> None:
        reason = f"it could not be drawn: {type(error).__name__}: {error}; please report it"
        self.undrawn.append(f"{name}: {reason}")
        failed: Reading[Any] = Reading(name, what, error=reason)
        self._notebook.show(presentation.unavailable_html([failed]), f"{name} gave no {what}: {reason}")

    def suggest(self, ranked: pd.DataFrame) -> None:
        """Show which runbooks are next and why (column ``runbook``, the first first), and leave them in the outcome."""
        self.next_runbooks = tuple(str(runbook) for runbook in ranked["runbook"])
        self.show_table("next runbooks", ranked)

    def assess(self, severity: Severity | None, text: str, impact: str, notify: str = "") -> None:
        """Show in *text* how severe it all is; the outcome is at least that severe, and says by which *impact*, and whom to *notify* by when."""
        self.severity, self.impact, self.notify = (severity, impact, notify) if severity else (None, "", "")
        self._notebook.show_text(text)

    def check(self, check: Check[...], *readings: Any, **thresholds: Any) -> Verdict:
        """Judge one hypothesis and show the verdict.

        A check that raises is a defect of ours; in an incident it must not take the other answers with it.
        """
        try:
            verdict = check(*readings, **thresholds)
        except Exception as error:  # noqa: BLE001  (the one place that turns a failure into inconclusive)
            reason = f"the check itself failed: {type(error).__name__}: {error}; please report it"
            verdict = Verdict(check.cause, VerdictKind.INCONCLUSIVE, reason)
        verdict = self._in_place(verdict)
        self.verdicts[verdict.cause] = verdict
        finding = verdict.to_finding() if verdict.confirmed else None
        data = {"kind": "verdict", **verdict.to_dict(), "finding": finding}
        self._notebook.show(presentation.verdict_html(verdict), presentation.verdict_text(verdict), data)
        if self._followed:
            self._followed(*self._so_far())
        return verdict

    def _in_place(self, verdict: Verdict) -> Verdict:
        """Its next steps as they are typed for this platform: the catalogue calls compose as the playbook does."""
        own = self.endpoints.compose
        if not own:
            return verdict
        steps = [
            replace(step, target=as_named_here(step.target, self.settings).replace(COMPOSE, own))
            for step in verdict.next_steps
        ]
        return replace(verdict, next_steps=tuple(steps))

    def follow_verdicts(self) -> None:
        """Show every hypothesis of this runbook here, each verdict in its place as it falls: what a live reader scrolls back to."""
        self._followed = self._notebook.show_updating(*self._so_far())

    def _so_far(self) -> tuple[str, str]:
        ranked = self._ranked()
        open_ = [cause for cause in causes_by_runbook().get(self.runbook, ()) if cause not in self.verdicts]
        text = "\n".join([*map(presentation.verdict_text, ranked), *(f"… not judged yet: {cause}" for cause in open_)])
        return presentation.verdicts_html(ranked, open_), text

    def mitigate(self, slug: str, **options: Any) -> Outcome:
        """Plan a mitigation and show the plan; apply it only if approved; show what came of it."""
        timeline = AnnotatedTimeline(
            self.store.note,
            self.settings.grafana,
            Redactor(self.settings.secret_values()),
            platform=self.settings.platform,
            limit_seconds=self.settings.limits.reading_seconds,
        )
        try:
            with offline() if self._replay else nullcontext():
                outcome = guard(
                    find(slug).build(self, **options),
                    verdicts=self.verdicts,
                    approval=Approval({}) if self._replay else self.approval,
                    timeline=timeline,
                    max_targets=self.settings.limits.max_targets,
                    siblings={cause: name for name, causes in causes_by_runbook().items() for cause in causes},
                    hold=partial(resource_lock, self.settings.outputs, self.settings.platform),
                )
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            if not self._replay:
                raise
            outcome = Outcome(
                slug, MitigationState.REFUSED, str(error)
            )  # readings of another version may lack something
        if outcome.state in CHANGED:
            for source in self._sources:  # what was begun before tells nothing of after
                source.begun.clear()
        self._show_outcome(_as_of_then(outcome) if self._replay else outcome)
        if outcome.state in CHANGED and self.verdicts:  # a procedure does what was asked of it, and cures nothing
            self._look_at_users()
        if timeline.trouble:
            self._notebook.show_text(timeline.trouble)
        return self.mitigations[slug]

    def _look_at_users(self) -> None:
        """Say how users are now: that a mitigation had its effect does not tell that it was the trouble."""
        try:
            self.users = str(look(self))
        except Exception as error:  # noqa: BLE001  # a defect of ours, after a change that has its result already
            self.users = f"not known: {type(error).__name__}: {error}; please report it"
        self._notebook.show_text(f"Users are {self.users}")

    def _show_outcome(self, outcome: Outcome) -> Outcome:
        self.mitigations[outcome.slug] = outcome
        data = {"kind": "mitigation", **MitigationResult.of(outcome).to_dict()}
        self._notebook.show(presentation.outcome_html(outcome), presentation.outcome_text(outcome), data)
        return outcome

    @property
    def findings(self) -> list[Verdict]:
        """Confirmed verdicts, the worst and nearest to the root first; the first is the diagnosis."""
        return [verdict for verdict in self._ranked() if verdict.confirmed]

    def show_verdicts(self) -> None:
        """Every hypothesis in one table, findings first."""
        ranked = self._ranked()
        self._notebook.show(presentation.verdicts_html(ranked), "\n".join(presentation.verdict_text(v) for v in ranked))

    def _ranked(self) -> list[Verdict]:
        return ranked(self.verdicts.values())

    def show_text(self, text: str) -> None:
        """Show a text as it is, such as a message to copy."""
        self._notebook.show_text(text)

    @property
    def outcome(self) -> RunOutcome:
        """What this run found: the closing output of the record, as ``run --json`` prints it."""
        findings = tuple(self.findings)
        return RunOutcome(
            incident=self.store.incident or None,
            run=self.store.folder if not self.store.incident else None,
            runbook=self.runbook,
            platform=self.settings.platform,
            stack=self.endpoints.stack_line,
            configuration=self.endpoints.configuration,
            operator=self.approval.operator,
            severity=worst([s for s in (self.severity, *(f.severity for f in findings)) if s]),
            impact=self.impact,
            notify=self.notify,
            users=self.users,
            diagnosis=findings[0].cause if findings else None,
            findings=findings,
            verdicts=tuple(self.verdicts.values()),
            next_runbooks=self.next_runbooks,
            mitigations=tuple(map(MitigationResult.of, self.mitigations.values())),
            unavailable=tuple(sorted({f"{r.source}: {r.error}" for r in self.readings if not r.available})),
            seconds=round(time.monotonic() - self._started, 3),
        )

    def close(self) -> None:
        """Show the outcome, and leave the machine-readable one in the record."""
        outcome = self.outcome
        self.database.close()
        facts = {
            "diagnosis": f"{outcome.diagnosis}: {outcome.findings[0].title}" if outcome.findings else "no cause found",
            "severity": outcome.severity or "none",
            "confirmed": str(len(outcome.findings)),
            "inconclusive": str(sum(v.kind is VerdictKind.INCONCLUSIVE for v in outcome.verdicts)),
            "mitigations": "; ".join(f"{m.slug} {m.state.value}" for m in outcome.mitigations) or "none",
            "took": format_seconds(outcome.seconds or 0),
        }
        if self._notebook.live:
            keeps = os.environ.get(KEPT_VARIABLE)
            facts["record"] = "kept when this is saved" if keeps else "to keep it: flowrex-ops records import FILE"
        text = "\n".join(f"{name}: {value}" for name, value in facts.items())
        self._notebook.show(presentation.facts_html(facts), text, {"kind": "outcome", **outcome.to_dict()})

    def _show_opening(self) -> None:
        judged = "copied files" if isinstance(self._replay, Copies) else "readings of another run"
        facts = {"replay": f"{judged} are judged; nothing is asked"} if self._replay else {}
        facts |= {"platform": self.settings.platform, "stack": self.endpoints.stack_line}
        facts |= dict(self.endpoints.origins)
        if self.endpoints.stack_error:
            facts["stack"] = self.endpoints.stack_error
        facts["incident"] = self.store.incident or "none"
        facts["operator"] = self.approval.known_as or "none: plans are shown, nothing is changed"
        text = "\n".join(f"{name}: {value}" for name, value in facts.items())
        self._notebook.show(presentation.facts_html(facts), text)


def _as_of_then(outcome: Outcome) -> Outcome:
    """What a replay says of a plan: as these readings make it, and approved by nobody; or why it cannot be made without asking."""
    if outcome.state is MitigationState.PLANNED:
        told = "this is a replay: with these readings it would have been planned so; nothing is changed"
        return replace(outcome, reason=told)
    if outcome.plan or outcome.reason.startswith("its cause is not confirmed"):
        return outcome
    return replace(outcome, reason=f"in this replay it cannot be planned: {outcome.reason}")


def _ask(notebook: Notebook, plan: Plan) -> str:
    """Show the plan, then ask the engineer at the keyboard; an empty answer, or no keyboard, approves nothing."""
    notebook.show(presentation.plan_html(plan), presentation.plan_text(plan))
    number = f"{len(plan.targets)} target" + ("s" if len(plan.targets) != 1 else "")
    try:
        return input(f"type {plan.slug} to apply this plan to {number}, or press Enter to leave it: ")
    except (EOFError, KeyboardInterrupt):
        return ""
