"""The playbook's shell blocks, run against the compose stack as a person would: what an approved mitigation is held against.

Only the time that the commands take is counted, not the time to find out which of them to type.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowrex_ops.compose.cli import find_command
from flowrex_ops.compose.project import ONE_OFF, PROJECT
from flowrex_sandbox.drill import Drill
from flowrex_sandbox.sandbox import Sandbox
from flowrex_sandbox.stacks.compose.engine import COMPOSE_FILE, docker, shell

_RESTART = "{compose} restart backend"
_RELOAD = "{compose} exec -T nginx nginx -s reload"
_KILL = (
    '{compose} exec -T postgres psql -U flowrex -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
    " WHERE state = 'active' AND now() - query_start > interval '{long_query_seconds} seconds'\""
)

BLOCKS: Mapping[str, tuple[str, ...]] = {
    "cancel-long-queries": (_KILL,),
    "terminate-idle-in-transaction": (_KILL, _RESTART),
    "terminate-root-blocker": (_KILL, _RESTART),
    "restart-backend": (_RESTART,),
    "rolling-restart": (_RESTART,),
    "unlink-keys": ("{compose} exec -T redis redis-cli FLUSHDB",),
    # At the terminal: without one certbot waits for up to eight minutes before it begins.
    "renew-certificate": ("{compose} run --rm certbot renew", _RELOAD),
    "reload-nginx": (_RELOAD,),
    "reload-websocket-proxy": (_RELOAD,),
}
"""Of a mitigation, what the playbook has people type instead; it says nothing of floods but to block them, and how a release
is rolled back stands in a script of the platform's own. Its five minutes for a long query are the drill's threshold here."""

_TIMEOUT_SECONDS = 120.0


def block_of(drill: Drill, sandbox: Sandbox) -> str:
    """What to type for the drill's cure; empty where the playbook has nothing, or the stack is not Docker Compose."""
    if sandbox.state.stack != "compose" or not drill.cures or not set(drill.approve) <= BLOCKS.keys():
        return ""
    typed = [line for slug in drill.approve for line in BLOCKS[slug]]
    lines = [
        line for place, line in enumerate(typed) if line not in typed[place + 1 :]
    ]  # NGINX is reloaded once, at the end
    given = {"compose": " ".join((*find_command(), "-f", COMPOSE_FILE)), "long_query_seconds": 0, **drill.parameters}
    return "\n".join(line.format(**given) for line in lines)


def run_block(sandbox: Sandbox, block: str) -> None:
    """Type it. SandboxError where a command fails, which a person would see too."""
    try:
        shell(sandbox.home, block, timeout_seconds=_TIMEOUT_SECONDS)
    finally:
        _remove_what_still_runs(sandbox)


def _remove_what_still_runs(sandbox: Sandbox) -> None:
    """A container of ``run`` outlives a client that was given up, and a certbot in it holds the lock of the next one."""
    labels = (f"{PROJECT}={sandbox.name}", f"{ONE_OFF}=True")
    filters = [word for label in labels for word in ("--filter", f"label={label}")]
    if left := docker("ps", "-aq", *filters).split():
        docker("rm", "-f", *left)
