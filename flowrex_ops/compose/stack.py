"""The stack whose services are containers of one Docker Compose project, found by the labels that compose gives them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from flowrex_ops.compose.cli import find_command, run
from flowrex_ops.compose.disks import DF, LOOK, NOT_STARTED, each_once, parse_look
from flowrex_ops.compose.dockerlog import open_log
from flowrex_ops.compose.dockerpipe import ExecStream
from flowrex_ops.compose.execution import shortened
from flowrex_ops.compose.logfiles import merge_by_time
from flowrex_ops.compose.logstream import newest_bytes, split_lines, whole_lines
from flowrex_ops.compose.project import (
    ONE_OFF,
    PROJECT,
    SERVICE,
    Deployment,
    changed_variables,
    choose_project,
)
from flowrex_ops.errors import StackUnavailableError
from flowrex_ops.model import Definition, Disk, Execution, LogLine, Replica, Usage
from flowrex_ops.side_by_side import Call, side_by_side

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

T = TypeVar("T")

NUMBER = "com.docker.compose.container-number"
VERSION = "org.opencontainers.image.version"
CONFIG_HASH = "com.docker.compose.config-hash"
DEFAULT_HOST = "unix:///var/run/docker.sock"
_ANY_HOST = ("", "0.0.0.0", "::")  # noqa: S104  # compared with, not bound to
_CHECK = ("config", "--quiet")
_UP = ("up", "--no-deps", "--no-recreate", "--no-build")
_TIMED_OUT = 124
"""The exit code of coreutils' ``timeout`` when it had to end the command."""
_STOP_SHARE = 0.8
"""The part of an action's time limit that a container gets to stop by itself before it is killed."""


class ComposeStack:
    """``Stack`` over the Docker Engine; nothing is contacted before the first reading."""

    kind = "compose"

    def __init__(
        self, project: str, *, docker_host: str, timeout_seconds: float, version_variable: str = "VERSION"
    ) -> None:
        self._project: str | None = project or None
        self._version_variable = version_variable
        self._host = docker_host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self._timeout_seconds = timeout_seconds
        self._client: DockerClient | None = None

    def describe(self) -> str:
        """``Docker Engine 20.10.24, project 'flowrex'``."""
        version = str(self._ask(lambda client: client.version()["Version"]))
        return f"Docker Engine {version}, project '{self.project}'"

    @property
    def project(self) -> str:
        """The project named, else that of the working directory, else the only one; StackUnavailableError lists them."""
        if self._project is None:
            self._project = self._discover_project()
        return self._project

    def get_replicas(self, service: str | None = None) -> Sequence[Replica]:
        """Containers of the project by service and number, stopped ones too, without those of ``compose run``."""
        replicas = [replica_of(container.attrs) for container in self._containers(service)]
        return sorted(replicas, key=lambda replica: (replica.service, int(replica.name.rpartition("-")[2])))

    def get_usage(self, service: str | None = None) -> Sequence[Usage]:
        """What ``docker stats`` shows, by one sample of each container, all at once."""
        running = [replica for replica in self.get_replicas(service) if replica.running]
        found = side_by_side(lambda one: self._ask(lambda client: _usage(client, one)), running, most=len(running) or 1)
        return [usage for usage in found if usage is not None]

    def get_disks(self, *, timeout_seconds: float) -> Sequence[Disk]:
        """``LOOK`` in every running container, all at once; those without ``df`` are passed over. What one alone has may be full."""
        running = [replica for replica in self.get_replicas() if replica.running]
        if not running:
            return []

        def ask(replica: Replica) -> list[Disk]:
            try:
                done = self.execute(replica, LOOK, timeout_seconds=timeout_seconds)
                if done.exit_code in NOT_STARTED:
                    done = self.execute(replica, DF, timeout_seconds=timeout_seconds)
            except StackUnavailableError:
                return []
            return parse_look(replica.name, done.stdout, replica.definition.writable)

        return each_once(disk for disks in side_by_side(ask, running, most=len(running)) for disk in disks)

    def get_outdated(self, *, timeout_seconds: float) -> list[tuple[str, str, datetime, datetime]]:
        """Service, replica, when it was made, and when the files were edited, of each container that compose would make otherwise by now.

        Compose 1 alone is asked: what ``config --hash`` of version 2 says is often not what it wrote on the container
        (docker/compose issues 9211, 10907, 14001). A difference without an edit is another variable of the shell that deployed it.
        """
        containers = self._containers(None)
        deployment = Deployment.of(containers[0].labels) if containers else self._deployment("")
        if not deployment.made_by.startswith("1."):
            raise StackUnavailableError(
                "the hashes of Docker Compose 2 cannot be compared; by hand: docker compose up --dry-run"
            )
        said = self._run_compose(deployment, ("config", "--hash=*"), {}, timeout_seconds)
        wanted = dict(line.split() for line in said.splitlines() if line.count(" ") == 1)
        found = [
            (replica_of(one.attrs), one.labels.get(CONFIG_HASH), wanted.get(one.labels[SERVICE])) for one in containers
        ]
        known = [(one, own == now) for one, own, now in found if own and now]
        if not any(same for _, same in known):
            raise StackUnavailableError(
                "compose knows none of the containers by its hash: its files or variables are not those of the deployment"
            )
        edited = deployment.edited_at()
        return [
            (one.service, one.name, one.created_at, edited)
            for one, same in known
            if not same and one.created_at and one.created_at < edited
        ]

    def read_logs(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        """Lines of all containers merged by the engine's times; *max_bytes* is shared out between the containers."""
        containers = self._containers(service)
        share = max(1, max_bytes // max(1, len(containers)))
        yield from merge_by_time([self._read_log(container, service, since, share) for container in containers])

    def read_log_chunks(self, service: str, *, since: datetime, max_bytes: int) -> Iterator[bytes]:
        """Pieces of the containers' logs; *max_bytes* is shared out between the containers."""
        containers = self._containers(service)
        share = max(1, max_bytes // max(1, len(containers)))
        until = datetime.now(UTC)
        for container in containers:
            yield from whole_lines(newest_bytes(self._log_of(container, since, until, timestamps=False), share))

    def execute(self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float) -> Execution:
        """``docker exec``, under coreutils' ``timeout`` so that nothing is left running in the container."""
        container = _container(replica)
        command = ["timeout", f"{timeout_seconds:g}", *argv]

        def run(client: DockerClient) -> Execution:
            exec_id = client.api.exec_create(container, command)["Id"]
            stdout, stderr = client.api.exec_start(exec_id, demux=True)
            exit_code = client.api.exec_inspect(exec_id)["ExitCode"]
            return Execution(int(exit_code or 0), shortened(stdout or b""), shortened(stderr or b""))

        done = self._ask(run)
        if done.exit_code == _TIMED_OUT:
            raise StackUnavailableError(
                f"'{argv[0]}' in '{replica.name}' did not end in {timeout_seconds:g} s; try it by hand", code="timeout"
            )
        return done

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
        """``docker exec -i``; a file that cannot be written raises its own OSError, not the engine's."""
        container = replica.identity.partition("@")[0]
        command = ["timeout", f"{timeout_seconds:g}", *argv]
        program = self._ask(
            lambda client: ExecStream(client.api, container, command, environment, with_stdin=stdin is not None)
        )
        stderr = program.run(stdin, stdout, timeout_seconds=timeout_seconds, on_tick=on_tick)
        done = Execution(self._ask(lambda _client: program.exit_code()), "", shortened(stderr))
        if done.exit_code == _TIMED_OUT:
            raise StackUnavailableError(
                f"'{argv[0]}' in '{replica.name}' did not end in {timeout_seconds:g} s; raise the limit if that is too short",
                code="timeout",
            )
        return done

    def restart(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Restart the container; it is killed when it does not stop in time."""
        self._act(replica, "restart", timeout_seconds)

    def stop(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Stop the container; it is killed when it does not stop in time."""
        self._act(replica, "stop", timeout_seconds)

    def start(self, replica: Replica, *, timeout_seconds: float) -> None:
        """Start the container."""
        self._act(replica, "start", timeout_seconds)

    def scale(self, service: str, count: int, *, timeout_seconds: float) -> None:
        """``up --scale`` with the project's own files; containers that are there are not recreated.

        Surplus ones are removed here, for compose's generations differ in which they take.
        """
        self._compose(service, _CHECK, {}, timeout_seconds)
        for replica in list(self.get_replicas(service))[count:]:
            self._act(replica, "stop", timeout_seconds)
            self._remove(replica)
        before = self.get_replicas(service)
        try:
            self._create(service, count, {}, timeout_seconds)
            self._compose(service, (*_UP, "-d", "--scale", f"{service}={count}", service), {}, timeout_seconds)
        except BaseException:  # an interrupt too
            self._remove_others(before)
            raise

    # The new replica is made by compose beside the old one, so that nothing is lost where it cannot be made, and
    # started once the old one has stopped, so that PostgreSQL bears no pool more.
    def replace(self, replica: Replica, version: str, *, timeout_seconds: float) -> Replica:
        """Have compose make one more container, start it where the old one stopped, and only then remove that.

        Compose numbers it after the highest there is. Whatever goes wrong, or interrupts, the old one runs again.
        """
        environment = {self._version_variable: version} if version else {}
        before = self.get_replicas(replica.service)
        self._compose(replica.service, _CHECK, environment, timeout_seconds)
        try:
            added = self._create(replica.service, len(before) + 1, environment, timeout_seconds)
            if len(added) != 1:
                raise StackUnavailableError(f"compose made {len(added)} containers beside '{replica.name}', not one")
            self._act(replica, "stop", timeout_seconds)
            self._ask(lambda client: _join_networks(client, _container(added[0]), _container(replica)))
            self._act(added[0], "start", timeout_seconds)
        except BaseException:  # an interrupt too
            self._remove_others(before)
            if replica.running:
                self._act(replica, "start", timeout_seconds)
            raise
        self._remove(replica)
        return next(one for one in self.get_replicas(replica.service) if _container(one) == _container(added[0]))

    def pin_version(self, service: str, version: str) -> str:
        """In the ``.env`` beside the project's files, or in what ``--env-file`` named."""
        return self._deployment(service).write_variable(self._version_variable, version)

    def _create(
        self, service: str, count: int, environment: Mapping[str, str], timeout_seconds: float
    ) -> list[Replica]:
        """Have compose make what is missing to *count* without starting it; refused where its environment is another one."""
        before = self._containers(service)
        if own := [str(one.name) for one in before if not _is_numbered(one)]:
            raise StackUnavailableError(
                f"service '{service}' has a container_name ('{own[0]}'), of which there can be only one, so nothing was"
                " changed; remove container_name from the compose file, or restart it, which users notice"
            )
        known = {str(one.id) for one in before}
        arguments = (*_UP, "--no-start", "--scale", f"{service}={count}", service)
        self._compose(service, arguments, environment, timeout_seconds)
        added = [one for one in self._containers(service) if str(one.id) not in known]
        changed = self._ask(lambda client: _changed(client, before[0], added[0])) if before and added else []
        if changed:
            raise StackUnavailableError(
                f"a new replica of '{service}' would not have what those that run have in {', '.join(changed)}, so none"
                " was started; deploy it as you did before, with the same variables"
            )
        return [replica_of(one.attrs) for one in added]

    def _compose(
        self, service: str, arguments: Sequence[str], environment: Mapping[str, str], timeout_seconds: float
    ) -> None:
        self._run_compose(self._deployment(service), arguments, environment, timeout_seconds)

    def _run_compose(
        self, deployment: Deployment, arguments: Sequence[str], environment: Mapping[str, str], timeout_seconds: float
    ) -> str:
        return run(
            find_command(deployment.made_by),
            arguments,
            project=self.project,
            files=deployment.files,
            env_files=deployment.env_files,
            folder=deployment.folder,
            environment={**environment, "DOCKER_HOST": self._host},
            timeout_seconds=timeout_seconds,
        )

    def _deployment(self, service: str) -> Deployment:
        """By the service's containers, else (all of them may be gone) by any of the project's."""
        for container in (*self._containers(service), *self._containers(None)):
            return Deployment.of(container.labels)
        raise StackUnavailableError(f"project '{self.project}' has no container; start the platform first")

    def _remove(self, replica: Replica) -> None:
        self._ask(lambda client: client.containers.get(_container(replica)).remove(force=True))

    def _remove_others(self, replicas: Sequence[Replica]) -> None:
        """Remove the containers of the service that are not those of *replicas*."""
        known = {_container(one) for one in replicas}
        for one in self.get_replicas(replicas[0].service) if replicas else ():
            if _container(one) not in known:
                self._remove(one)

    def _act(self, replica: Replica, verb: str, timeout_seconds: float) -> None:
        grace = {} if verb == "start" else {"timeout": max(1, int(timeout_seconds * _STOP_SHARE))}
        self._ask(lambda client: getattr(client.containers.get(_container(replica)), verb)(**grace))

    def _containers(self, service: str | None) -> list[Container]:
        labels = [f"{PROJECT}={self.project}", f"{ONE_OFF}=False"]
        if service is not None:
            labels.append(f"{SERVICE}={service}")
        return self._listed({"label": labels}, stopped_too=True)

    def _listed(self, filters: Mapping[str, Any], *, stopped_too: bool) -> list[Container]:
        # A container that goes away between the listing and the look at it is passed over.
        # A limit of the whole, too: the SDK's is one for each read, and an engine may answer a byte a second.
        call: Call[list[Container]] = Call(
            lambda: self._ask(lambda c: c.containers.list(all=stopped_too, filters=filters, ignore_removed=True))
        )
        call.join(self._timeout_seconds)
        if call.is_alive():
            raise self._unreachable(TimeoutError("timed out"))
        return call.wait()

    def _read_log(self, container: Container, service: str, since: datetime, max_bytes: int) -> Iterator[LogLine]:
        chunks = self._log_of(container, since, datetime.now(UTC), timestamps=True)
        name = replica_of(container.attrs).name
        for text in split_lines(newest_bytes(chunks, max_bytes)):
            stamp, _, rest = text.partition(" ")
            at = _time(stamp)
            if at is None or at >= since:
                yield LogLine(service, name, rest if at else text, at)

    def _log_of(self, container: Container, since: datetime, until: datetime, *, timestamps: bool) -> Iterator[bytes]:
        """The container's log as it streams by."""
        given: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": int(timestamps)}
        given |= {"since": f"{since.timestamp():.6f}", "until": f"{until.timestamp():.6f}"}
        found = self._ask(lambda client: open_log(client.api, str(container.id), given))
        yield from self._guarded(found)

    def _discover_project(self) -> str:
        """Of the projects that run, else of those that are there; ``choose_project`` says which."""
        filters = {"label": [PROJECT, f"{ONE_OFF}=False"]}
        for stopped_too in (False, True):
            found = self._listed(filters, stopped_too=stopped_too)
            if found:
                return choose_project([container.labels for container in found], Path.cwd())
        raise StackUnavailableError(
            f"docker engine at '{self._host}' has no compose project; start the platform, or correct stack.docker_host"
        )

    def _ask(self, question: Callable[[DockerClient], T]) -> T:
        import docker
        import requests

        from flowrex_ops.compose.engine import BoundedClient

        try:
            if self._client is None:
                # from_env also follows DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.
                environment = {**os.environ, "DOCKER_HOST": self._host}
                given = {"timeout": self._timeout_seconds, "version": "auto", "environment": environment}
                self._client = BoundedClient.from_env(**given)
            return question(self._client)
        except docker.errors.APIError as error:
            text = str(error.explanation or error).strip()
            raise StackUnavailableError(
                f"docker engine at '{self._host}' refused: {text}; look with 'docker ps -a'",
                code=str(error.status_code),
            ) from None
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise self._unreachable(error) from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            text = f"{type(error).__name__}: {error}"
            raise StackUnavailableError(
                f"docker engine at '{self._host}' answered something else than an engine does ({text}); correct stack.docker_host"
            ) from None

    def _guarded(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """*chunks*, with what goes wrong on the way told as everything else is."""
        import requests
        import urllib3

        try:
            yield from chunks
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> StackUnavailableError:
        if "timed out" in str(error).lower():
            why = f"did not answer in {self._timeout_seconds:g} s; check that it is not overloaded"
        else:
            why = f"cannot be reached: {_reason(error)}; start it, or correct stack.docker_host"
        return StackUnavailableError(f"docker engine at '{self._host}' {why}")


# A restart counts only when a process ended by itself since it was last started by hand: that is what Docker's own
# count means.
def replica_of(attributes: Mapping[str, Any]) -> Replica:
    """Of what ``docker inspect`` says of a container."""
    labels = attributes["Config"].get("Labels") or {}
    state = attributes["State"]
    started = _time(state.get("StartedAt", ""))
    addresses = _addresses(attributes)
    return Replica(
        service=labels[SERVICE],
        name=f"{labels[SERVICE]}-{labels.get(NUMBER, '1')}",
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status", "none"),
        identity=f"{attributes['Id'][:12]}@{state.get('StartedAt', '')}",
        started_at=started,
        restarts=int(attributes.get("RestartCount", 0)),
        exit_code=int(state["ExitCode"]) if state["Status"] in ("exited", "dead") else None,
        version=labels.get(VERSION) or _tag(attributes["Config"].get("Image", "")),
        addresses=addresses,
        ports=_ports(attributes, addresses),
        oom_killed=bool(state.get("OOMKilled")),
        created_at=_time(attributes.get("Created", "")),
        definition=_definition(attributes),
    )


def _networks(attributes: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return (attributes.get("NetworkSettings") or {}).get("Networks") or {}


def _addresses(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Its own on each network; this machine's loopback where it shares the machine's network and has none."""
    if (attributes.get("HostConfig") or {}).get("NetworkMode") == "host":
        return ("127.0.0.1",)
    found = [[network.get("IPAddress"), network.get("GlobalIPv6Address")] for network in _networks(attributes).values()]
    return tuple(address for four, six in found if (address := four or six))


def _definition(attributes: Mapping[str, Any]) -> Definition:
    configured = attributes["Config"]
    aliases = [alias for network in _networks(attributes).values() for alias in network.get("Aliases") or ()]
    return Definition(
        image=configured.get("Image", ""),
        command=" ".join([attributes.get("Path") or "", *(attributes.get("Args") or ())]).strip(),
        environment=_variables(configured.get("Env") or ()),
        labels=configured.get("Labels") or {},
        hostnames=tuple(dict.fromkeys([attributes.get("Name", "").lstrip("/"), *aliases])),
        writable=tuple(mount["Destination"] for mount in attributes.get("Mounts") or () if mount.get("RW")),
        mounts=tuple(f"{_mounted(mount)}:{mount['Destination']}" for mount in attributes.get("Mounts") or ()),
        image_id=attributes.get("Image") or "",
        health_check=" ".join((configured.get("Healthcheck") or {}).get("Test") or ()),
        restart_policy=((attributes.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "",
    )


def _mounted(mount: Mapping[str, Any]) -> str:
    """The volume's name, or the folder; nothing of a volume without a name, of which each container has its own."""
    name = str(mount.get("Name") or mount.get("Source") or "")
    return "" if re.fullmatch(r"[0-9a-f]{64}", name) else name


def _variables(entries: Iterable[str]) -> dict[str, str]:
    """``{"NAME": "value"}`` of Docker's ``NAME=value``."""
    return {name: value for name, _, value in (entry.partition("=") for entry in entries)}


def _is_numbered(container: Container) -> bool:
    """Whether compose gave it its name, by either generation's pattern; an own one cannot be given twice."""
    service, number = container.labels[SERVICE], container.labels.get(NUMBER, "1")
    return str(container.name).endswith((f"_{service}_{number}", f"-{service}-{number}"))


def _container(replica: Replica) -> str:
    """The container's id out of the replica's identity."""
    return replica.identity.partition("@")[0]


def _changed(client: DockerClient, old: Container, new: Container) -> list[str]:
    """Variables that compose gave the *old* container and would give the *new* one otherwise, quoted; not the image's own."""
    import docker

    try:
        of_image = set(client.images.get(old.attrs["Image"]).attrs["Config"].get("Env") or ())
    except docker.errors.ImageNotFound:
        of_image = set()
    given = _variables(entry for entry in old.attrs["Config"].get("Env") or () if entry not in of_image)
    versions = (replica_of(old.attrs).version, replica_of(new.attrs).version)
    found = changed_variables(given, _variables(new.attrs["Config"].get("Env") or ()), versions=versions)
    return [f"'{name}'" for name in found]


def _join_networks(client: DockerClient, new: str, old: str) -> None:
    """Connect *new* to the networks of *old* under the same names: compose 1 does so only when it starts a container itself."""
    wanted, there = (
        client.containers.get(container).attrs["NetworkSettings"]["Networks"] or {} for container in (old, new)
    )
    for name, endpoint in wanted.items():
        if name not in there:
            aliases = [alias for alias in endpoint.get("Aliases") or () if alias not in old]
            client.networks.get(name).connect(new, aliases=aliases)


def _usage(client: DockerClient, replica: Replica) -> Usage | None:
    """``None`` for a container that has just gone. Memory as ``docker stats`` counts it: without inactive page cache.

    https://docs.docker.com/reference/api/engine/version/v1.41/#operation/ContainerStats
    """
    container = _container(replica)
    stats = client.api.stats(container, stream=False, one_shot=True)
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    # cgroup v2 has plain names; v1 has them too, but only its total_* count the cgroups below.
    inactive, active = (
        int(details.get(f"total_{name}", details.get(name, 0))) for name in ("inactive_file", "active_file")
    )
    limit = int(client.api.inspect_container(container)["HostConfig"].get("Memory") or 0)
    return Usage(
        service=replica.service,
        name=replica.name,
        memory_bytes=max(0, int(memory["usage"]) - inactive),
        memory_limit_bytes=limit or None,
        cpu_seconds=int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9,
        cache_bytes=active,
    )


def _ports(attributes: Mapping[str, Any], addresses: tuple[str, ...]) -> dict[int, tuple[str, int]]:
    """Where each of the container's TCP ports can be reached from here: published, or at its own address."""
    found: dict[int, tuple[str, int]] = {}
    for key, published in ((attributes.get("NetworkSettings") or {}).get("Ports") or {}).items():
        number, _, protocol = key.partition("/")
        if protocol == "tcp" and published:
            host = published[0]["HostIp"]
            found[int(number)] = ("127.0.0.1" if host in _ANY_HOST else host, int(published[0]["HostPort"]))
        elif protocol == "tcp" and addresses:
            found[int(number)] = (addresses[0], int(number))
    return found


def _tag(image: str) -> str:
    """``1.4.2`` of ``registry:5000/flowrex/backend:1.4.2``; empty for an image named by digest or not tagged."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2]


def _time(text: str) -> datetime | None:
    """Docker's RFC 3339 with nanoseconds; ``None`` for its zero time and for anything else."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$", text)
    if match is None or text.startswith("0001-"):
        return None
    second, fraction, zone = match.groups()
    micro = (fraction or "0")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{second}.{micro}{zone.replace('Z', '+00:00')}").astimezone(UTC)


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words; the SDK wraps a refused connection four times."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        inner = inner.__cause__ or inner.__context__
    return str(error).splitlines()[0].lower()[:200]
