"""Why requests fail with 5xx."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, mitigation, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "error_rate"
_LOGS = "docker-compose -f docker-compose.prod.yml logs --tail=200"

CAUSES = (
    Cause(
        "http.worker-connections",
        "NGINX has not enough connections or files",
        "Its workers hold as many as worker_connections or the limit of open files lets them: users are cut off, or get a 500 that no replica made.",
        Severity.P1,
        205,
        (
            command(
                "docker-compose -f docker-compose.prod.yml exec nginx nginx -T",
                "events { worker_connections … } and worker_rlimit_nofile: a request to the backend takes two of the former, a WebSocket keeps them",
            ),
            command(
                "worker_rlimit_nofile 8192; events { worker_connections 4096; }",
                "raise both; then nginx -t and nginx -s reload",
            ),
            runbook("websocket_disconnections", "where most of them are WebSockets: who holds so many?"),
        ),
    ),
    Cause(
        "backend.fd-exhausted",
        "A replica runs out of open files",
        "It holds nearly as many files and sockets as it may: what comes next cannot be opened, be it a request, a connection to PostgreSQL, or a file.",
        Severity.P1,
        207,
        (
            command(
                "docker-compose -f docker-compose.prod.yml exec backend sh -c 'ls -l /proc/1/fd | sort -k 11 | tail -50'",
                "sockets, or one file again and again? that is what is not closed",
            ),
            runbook("service_restart", "gives all of them back at once, one replica at a time; they leak again"),
            command(
                "ulimits: {nofile: {soft: 65536, hard: 65536}}",
                "in the compose file, where it holds so many with good reason; then up -d",
            ),
            NextStep("person", "owner of the last release", "what opens them and does not close them?"),
        ),
    ),
    Cause(
        "http.upstream-unreachable",
        "The proxy does not reach the backend",
        "NGINX answers 502 or 504 by itself: no replica took the connection, or none answered in time.",
        Severity.P1,
        210,
        (
            command("docker-compose -f docker-compose.prod.yml ps backend", "see which replicas run and are healthy"),
            runbook("database_connections", "where one route alone is not answered in time: what does it wait for?"),
            command("docker-compose -f docker-compose.prod.yml restart backend", "start again what hangs or is gone"),
            command(f"{_LOGS} nginx", "read which upstream it names, and why"),
            NextStep(
                "person",
                "owner of the backend's certificate",
                "where the proxy refuses the certificate that the backend has for it: it has expired, names another, or another authority signed it; renew it, restart the backend, reload the proxy",
            ),
        ),
    ),
    Cause(
        "http.dependency-failing",
        "Something that the backend needs fails",
        "The errors name it: PostgreSQL, Redis, the broker, or another service outside.",
        Severity.P1,
        220,
        (
            runbook("database_connections", "where it is PostgreSQL"),
            runbook("trade_failures", "where it is the broker"),
            runbook("memory_usage", "where it is Redis"),
            command("docker-compose -f docker-compose.prod.yml exec redis redis-cli ping", "where it is Redis"),
            NextStep("link", "the service's status page", "where it is outside"),
        ),
    ),
    Cause(
        "http.bad-deploy",
        "Errors began with a release",
        "The new release fails where the one before did not.",
        Severity.P1,
        230,
        (
            mitigation("rollback-bad-deploy", "go back to the release that worked, one replica at a time"),
            runbook("rollback", "the same with more to look at first: versions, migrations"),
            NextStep("person", "author of the release", "the signature says which line raises"),
        ),
    ),
    Cause(
        "http.traffic-flood",
        "A few clients send most of the requests",
        "They take the connections that everybody needs; others are refused meanwhile.",
        Severity.P1,
        240,
        (
            mitigation("block-client", "shut them out at the proxy for half an hour; it ends by itself"),
            command(
                "flowrex-ops run error_rate --approve scale-backend --operator NAME -p replicas=7",
                "buys time, within what PostgreSQL can bear",
            ),
            command("limit_req zone=per_client burst=20;", "or slow them down, if they are customers"),
            NextStep("person", "owner of the client", "ask what it is doing"),
        ),
    ),
    Cause(
        "http.client-errors",
        "Many more requests are refused than before",
        "One 4xx is a much larger share of all answers than it was, for many clients: what refuses them has changed, not they.",
        Severity.P2,
        245,
        (
            runbook(
                "rollback",
                "it began with a release? logins that are refused (401, 403) and routes that are gone (404) often do",
            ),
            NextStep(
                "person",
                "owner of the proxy",
                "413 made by the proxy: client_max_body_size is 1 MB where nobody has set it; then nginx -t and a reload",
            ),
            NextStep(
                "person",
                "owner of the proxy",
                "429, or NGINX's own 503, made by the proxy: is limit_req (rate, burst) too low for what clients do now, do their retries add to it, or does it see them all as one address?",
            ),
            NextStep(
                "person",
                "owner of the route",
                "401, 403: has a key, a clock or the identity provider changed? 404: who links there?",
            ),
        ),
    ),
    Cause(
        "http.single-replica",
        "One replica fails, the others do not",
        "Its process is broken, or what it was started with.",
        Severity.P1,
        250,
        (
            command("docker restart <container>", "restart this replica alone; read its log first, a restart loses it"),
            command(f"{_LOGS} backend", "read what it says"),
        ),
    ),
    Cause(
        "http.single-route",
        "One route fails, the others do not",
        "A defect in its code, or in the data that it reads.",
        Severity.P1,
        260,
        (
            NextStep(
                "person", "owner of that route", "the signature says which line raises; deploy a fix or switch it off"
            ),
        ),
    ),
    Cause(
        "http.new-exception",
        "Requests fail with an error that was not there before",
        "On every route and every replica alike, and with no release: a change in data, traffic or surroundings.",
        Severity.P1,
        270,
        (
            NextStep("link", "https://sentry.io/organizations/flowrex/issues/", "look for the same signature"),
            NextStep("person", "on-call developer", "the last frame says which line raises"),
        ),
    ),
    Cause(
        "http.unexplained-errors",
        "Requests fail, and no known cause explains it",
        "More fail than is usual, in a way that is none of the above: read where they do, and the example.",
        Severity.P2,
        290,
        (
            command(f"{_LOGS} backend", "read what is logged at the moment that was first seen"),
            NextStep("link", "https://sentry.io/organizations/flowrex/issues/", "look for what the log does not have"),
            NextStep("person", "on-call developer", "route, method, status and replica are in the evidence"),
        ),
    ),
)
