"""Access logs as people have them: each line below is written as the documentation of its server shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrex_ops.logs.access_format import compile_format, parse_line
from flowrex_ops.logs.access_log import AccessCounter, AccessLog, count_statuses
from flowrex_ops.logs.routes import route_of
from flowrex_ops.proxy.nginx_config import log_formats

NOW = datetime(2026, 11, 27, 12, 0, 30, tzinfo=UTC)
CLF, ISO = "27/Nov/2026:12:00:00 +0000", "2026-11-27T12:00:00+00:00"
SAMPLES = Path(__file__).parent / "samples"
AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


def read(*lines: str, formats: tuple[str, ...] = ()) -> AccessLog:
    counter = AccessCounter(
        until=NOW,
        since=NOW - timedelta(minutes=30),
        recent_since=NOW - timedelta(minutes=5),
        replicas={"172.30.0.4:8000": "backend-1"},
        find_formats=lambda: formats,
    )
    counter.add("".join(f"{line}\n" for line in lines).encode())
    return counter.result()


def facts(log: AccessLog) -> dict[str, Any]:
    """What was read of a single line."""
    (row,) = log.requests.to_dict("records")
    (client,) = log.clients["client"]
    return {name: row[name] for name in ("at", "route", "status", "made_by", "replica", "seconds")} | {"client": client}


def sample(name: str) -> list[str]:
    return (SAMPLES / name).read_text().replace("%T%", CLF).replace("%I%", ISO).splitlines()


SEVERAL = '"172.30.0.3:8000, 172.30.0.4:8000"'
HAPROXY = (
    '192.0.2.7:33317 [27/Nov/2026:12:00:00.655] public~ {} 6/6/0/0/0 0/0 {{desk.example}} "GET /api/book?n=1 HTTP/1.1"'
)
LINES: dict[str, tuple[str, str, str, float]] = {
    "combined": (f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8"', "unknown", "", 0.0),
    "the standard image's main": (
        f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" "198.51.100.1, 10.0.0.1"',
        "unknown",
        "",
        0.0,
    ),
    "host first, upstream last": (
        f'desk.example 192.0.2.7 - - [{CLF}] "GET /api/book HTTP/2.0" 502 157 "-" "curl/8" {SEVERAL}',
        "unknown",
        "backend-1",
        0.0,
    ),
    "vhost_combined": (
        f'desk.example:443 192.0.2.7 - - [{CLF}] "GET /api/book HTTP/2.0" 502 157 "-" "curl/8"',
        "unknown",
        "",
        0.0,
    ),
    "labelled times": (
        f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" rt=0.012 uct="0.001" uht="-" urt="0.012" ua={SEVERAL}',
        "proxy",
        "backend-1",
        0.012,
    ),
    "Amplify's": (
        (
            f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" "-" "desk.example" sn="_" rt=0.012 '
            'ua="172.30.0.4:8000" us="502" ut="0.011" ul="12" cs=-'
        ),
        "unknown",
        "backend-1",
        0.012,
    ),
    "ingress-nginx": (
        (
            f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" 421 0.012 [prod-backend-8000] [] '
            "172.30.0.4:8000 157 0.011 502 3f2a"
        ),
        "unknown",
        "backend-1",
        0.012,
    ),
    "a user with a space": (
        f'192.0.2.7 - Ada Lovelace [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" rt=0.012',
        "unknown",
        "",
        0.012,
    ),
    "no upstream was asked": (
        f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" upstream: "-" rt=0.012',
        "proxy",
        "",
        0.012,
    ),
    "Traefik's CLF": (
        f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 11 "-" "-" 42 "backend@docker" "http://172.30.0.4:8000" 12ms',
        "unknown",
        "backend-1",
        0.012,
    ),
    "gunicorn with its %(L)s": (
        f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8" 0.012345',
        "unknown",
        "",
        0.012345,
    ),
    "gunicorn": (f'192.0.2.7 - - [{CLF}] "GET /api/book HTTP/1.1" 502 157 "-" "curl/8"', "unknown", "", 0.0),
    "hypercorn": (
        f'[2026-11-27 12:00:00 +0000] [9] [INFO] 192.0.2.7:4000 - - [{CLF}] "GET /api/book 1.1" 502 157 "-" "curl/8"',
        "unknown",
        "",
        0.0,
    ),
    "nginx json_combined": (
        (
            f'{{"time_local":"{CLF}","remote_addr":"192.0.2.7","remote_user":"","request":"GET /api/book HTTP/1.1",'
            '"status":"502","body_bytes_sent":"157","request_time":"0.012","upstream_addr":"172.30.0.4:8000",'
            '"upstream_header_time":"-","http_referrer":"","http_user_agent":"curl/8"}'
        ),
        "proxy",
        "backend-1",
        0.012,
    ),
    "Traefik's JSON": (
        (
            '{"ClientAddr":"192.0.2.7:5000","ClientHost":"192.0.2.7","DownstreamStatus":502,"Duration":12000000,'
            '"OriginStatus":502,"RequestMethod":"GET","RequestPath":"/api/book?x=1","ServiceAddr":"172.30.0.4:8000",'
            '"StartUTC":"2026-11-27T12:00:00.5Z","level":"info","msg":"","time":"2026-11-27T12:00:01Z"}'
        ),
        "unknown",
        "backend-1",
        0.012,
    ),
    "Caddy": (
        (
            '{"level":"error","ts":1795780800.25,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":'
            '"192.0.2.7","client_ip":"192.0.2.7","proto":"HTTP/2.0","method":"GET","host":"desk.example","uri":"/api/book"},'
            '"duration":0.012,"size":0,"status":502,"resp_headers":{"Server":["Caddy"]}}'
        ),
        "unknown",
        "",
        0.012,
    ),
    "Caddy on a terminal": (
        (
            '2026/11/27 12:00:00.250\tERROR\thttp.log.access\thandled request\t{"request": {"remote_ip": "192.0.2.7", "uri":'
            ' "/api/book"}, "duration": 0.012, "status": 502}'
        ),
        "unknown",
        "",
        0.012,
    ),
    "ECS": (
        (
            f'{{"@timestamp":"{ISO}","client":{{"ip":"192.0.2.7"}},"url":{{"path":"/api/book"}},"http":{{"request":'
            '{"method":"GET"},"response":{"status_code":502}},"event":{"duration":12000000}}'
        ),
        "unknown",
        "",
        0.012,
    ),
    "HAProxy's httplog, no answer in time": (
        HAPROXY.format("app/web1 0/0/1/-1/12 502 209 - - sH--"),
        "proxy",
        "app/web1",
        0.012,
    ),
    "HAProxy's httplog, the server's own": (
        HAPROXY.format("app/web1 0/0/1/10/12 502 140 - - ----"),
        "backend",
        "app/web1",
        0.012,
    ),
    "HAProxy's httplog, nobody to ask": (
        HAPROXY.format("app/<NOSRV> 0/-1/-1/-1/12 502 209 - - SC--"),
        "proxy",
        "",
        0.012,
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_form(name: str) -> None:
    """Time, route, status, client, and whatever the form has of who answered and how long it took."""
    line, made_by, replica, seconds = LINES[name]
    log = read(line)
    expected = {"at": AT, "route": "/api/book", "status": 502, "client": "192.0.2.7"}
    assert facts(log) == expected | {"made_by": made_by, "replica": replica, "seconds": pytest.approx(seconds)}
    assert (log.lines, log.unread) == (1, 0)


def test_haproxy_tells_where_time_went_and_who_gave_up() -> None:
    """Of ten seconds in the queue and two at the server; a client that left before its answer is no failure."""
    line = HAPROXY.format("app/web1 0/10000/5/2000/12010 200 140 - - ----")
    fields = parse_line(line) or {}
    assert {name: fields[name] for name in ("seconds", "asked", "header", "response")} == {
        "seconds": "12.01",
        "asked": "10.005",
        "header": "12.005",
        "response": "12.01",
    }
    assert facts(read(HAPROXY.format("app/web1 0/0/1/-1/900 -1 0 - - CH--")))["status"] == 499
    nobody = facts(read(HAPROXY.format("app/<NOSRV> 0/-1/-1/-1/0 503 217 - - SC--")))
    assert (nobody["made_by"], nobody["replica"]) == ("proxy", "app/<NOSRV>")


def test_a_client_that_is_not_named_is_none() -> None:
    """Envoy's own format has no address of whoever asked; its time is none either."""
    line = f'[{ISO}] "GET /api/book HTTP/1.1" 200 - 0 91 10 9 "-" "curl/8" "id" "desk.example" "172.30.0.4:8000"'
    assert facts(read(line))["client"] == ""


def test_a_zone_is_a_zone() -> None:
    """Half past six in London is noon in Kolkata, in both ways of writing it."""
    lines = LINES["combined"][0].replace("+0000", "+0530"), '2026-11-27T12:00:00+05:30 192.0.2.7 "GET / HTTP/1.1" 200 1'
    counter = AccessCounter(until=NOW, since=NOW - timedelta(days=1), recent_since=NOW)  # buckets of 48 s
    counter.add("\n".join(lines).encode())
    assert set(counter.result().requests["at"]) == {datetime(2026, 11, 27, 6, 29, 36, tzinfo=UTC)}


class TestWhatIsNotUnderstood:
    def test_odd_requests_are_requests(self) -> None:
        """Somebody spoke TLS to the plain port, somebody sent nothing: both have a status."""
        log = read(*sample("access-odd-lines.log"))
        assert (log.lines, log.unread) == (3, 0)
        assert log.requests.groupby("status")["requests"].sum().to_dict() == {400: 2, 502: 1}

    def test_one_of_twenty_is_counted_and_told(self) -> None:
        """A form that nobody knows is no line of the proxy's own error log."""
        log = read(*sample("access-vhost.log"), *["GET|/api/book|five hundred"] * 19)
        assert (log.lines, log.unread) == (1, 19)
        assert log.gap == "19 of 20 lines of the proxy's log were not understood, such as 'GET|/api/book|five hundred'"

    def test_one_of_a_thousand_is_not_worth_a_word(self) -> None:
        assert read(*[LINES["combined"][0]] * 999, "nonsense").gap == ""

    @pytest.mark.parametrize(
        "line",
        [
            "2026/11/27 12:00:00 [notice] 1#1: start worker processes",
            "/docker-entrypoint.sh: Configuration complete; ready for start up",
            "10-listen-on-ipv6-by-default.sh: info: Enabled listen on IPv6 in /etc/nginx/conf.d/default.conf",
            '{"level":"info","ts":1795780800.1,"logger":"tls","msg":"cleaning storage unit"}',
            'time="2026-11-27T12:00:00Z" level=info msg="Configuration loaded"',
            "INFO:     Application startup complete.",
            "2026/11/27 12:00:00.123\tINFO\tusing provided configuration\t{}",
            "[Fri Nov 27 12:00:00.123456 2026] [mpm_event:notice] [pid 1:tid 140] AH00489: Apache/2.4.71 configured",
            "AH00558: httpd: Could not reliably determine the server's fully qualified domain name",
            "[NOTICE]   (1) : New worker (9) forked",
            "Server app/web1 is DOWN, reason: Layer4 connection problem. 1 active and 0 backup servers left.",
            "backend app has no server available!",
            "192.0.2.7:43610 [27/Nov/2026:12:00:00.001] public/2: SSL handshake failure",
            "",
        ],
    )
    def test_what_a_server_writes_beside_its_requests_is_nothing_of_the_kind(self, line: str) -> None:
        assert read(line, LINES["combined"][0]).unread == 0


class TestWhatTheProxyCouldNotReach:
    @pytest.mark.parametrize(
        ("line", "status"),
        [
            (
                (
                    "2026/11/27 12:00:00 [error] 31#31: *1 connect() failed (111: Connection refused) while connecting to upstream, client: "
                    '192.0.2.7, server: _, request: "GET / HTTP/1.1", upstream: "http://172.30.0.4:8000/", host: "x"'
                ),
                502,
            ),
            (
                (
                    "2026/11/27 12:00:00 [error] 31#31: *1 upstream timed out (110: Connection timed out) while reading response header "
                    'from upstream, client: 192.0.2.7, request: "GET / HTTP/1.1", upstream: "http://172.30.0.4:8000/"'
                ),
                504,
            ),
            (
                (
                    '{"level":"error","ts":1795780800.1,"logger":"http.log.error","msg":"dial tcp 172.30.0.4:8000: connect: '
                    'connection refused","request":{"uri":"/"},"status":502}'
                ),
                502,
            ),
        ],
    )
    def test_by_its_own_error_log(self, line: str, status: int) -> None:
        """It shares the stream with the requests, and says what ``combined`` does not."""
        assert read(line).unreached[["at", "status", "replica"]].values.tolist() == [[AT, status, "backend-1"]]

    def test_apache_tells_it_too(self) -> None:
        """A server that takes no connection is 503; one that does not answer is 502 or 504, by its release."""
        lines = (
            f"[Fri Nov 27 12:00:00.123456 2026] [proxy:error] [pid 8:tid 140] (111)Connection refused: AH00957: HTTP: {said}"
            for said in (
                "attempt to connect to 172.30.0.4:8000 (core-a:8000) failed",
                "error reading status line from remote server core-a:8000",
                "DNS lookup failure for: core-a returned by /api/book",
            )
        )
        found = read(LINES["combined"][0], *lines).unreached[["at", "status", "replica"]]
        assert found.values.tolist() == [[AT, 503, "backend-1"], [AT, 502, ""], [AT, 504, ""], [AT, 500, ""]]

    def test_caddy_does_not_say_who_was_late(self) -> None:
        line = '{"level":"error","ts":1795780800.1,"logger":"http.log.error.log0","msg":"net/http: timeout awaiting response headers","status":504'
        log = read(f'{line},"err_trace":"reverseproxy.statusError (reverseproxy.go:1299)"}}')
        assert log.unreached[["at", "status", "replica"]].values.tolist() == [[AT, 504, ""]]
        assert read(f"{line}}}").unreached.empty  # another handler's


class TestTheProxysOwnFormat:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (
                "$status|$request_method|$request_uri|$time_iso8601|$remote_addr|$request_time|$upstream_addr|$upstream_header_time",
                f"502|GET|/api/book?x=1|{ISO}|192.0.2.7|0.012|172.30.0.3:8000, 172.30.0.4:8000|-, -",
            ),
            (
                '$remote_addr\t[$time_local]\t$upstream_addr $upstream_header_time "$request" -> $status in $request_time s',
                f'192.0.2.7\t[{CLF}]\t172.30.0.4:8000 - "GET /api/book HTTP/1.1" -> 502 in 0.012 s',
            ),
            (
                (
                    '{"t":"$time_iso8601","who":"$remote_addr","what":"$request","got":$status,"in":"$request_time",'
                    '"from":"$upstream_addr","first":"$upstream_header_time"}'
                ),
                (
                    f'{{"t":"{ISO}","who":"192.0.2.7","what":"GET /api/book HTTP/1.1","got":502,"in":"0.012",'
                    '"from":"172.30.0.4:8000","first":"-"}'
                ),
            ),
        ],
    )
    def test_reads_what_nobody_could_guess(self, text: str, line: str) -> None:
        log = read(line, line, formats=(text,))
        assert (log.lines, log.unread) == (2, 0)
        assert facts(log) == {
            "at": AT, "route": "/api/book", "status": 502, "made_by": "proxy", "replica": "backend-1",
            "seconds": pytest.approx(0.024), "client": "192.0.2.7",
        }  # fmt: skip

    def test_is_found_in_its_configuration(self) -> None:
        """Only what an ``access_log`` uses, its pieces put together, wherever it stands."""
        files = {
            "nginx.conf": "events {} http { log_format a escape=json '$status ' '$request'; log_format b '$host'; include x.conf; }",
            "x.conf": "server { location / { access_log /dev/stdout a; } access_log off; }",
        }
        assert list(log_formats(files)) == ["$status $request"]

    @given(st.text(max_size=60))
    def test_of_any_text_makes_an_expression(self, text: str) -> None:
        format_ = compile_format(text)
        assert format_.pattern is not None or format_.keys is not None


@pytest.mark.parametrize(
    "identity",
    [
        "9F8C7B6A-1234-4321-9876-ABCDEFABCDEF", "01J9ZK6Z6V0J3XQ8Q5H7M2N4P6", "507f1f77bcf86cd799439011",
        "deadbeefdeadbeefdeadbeefdeadbeef", "4711", "V1StGXR8_Z5jdHi6B-myT", "cus_NffrFeUfNV2Hib", "ord-4711",
        "2026-11-27", "ann@example.com", "EURUSD", "BTC-USD", "0ujtsYcgvSTl8PAuAdqWYSMnLOv",
    ],
)  # fmt: skip
def test_an_id_is_no_route(identity: str) -> None:
    assert route_of(f"/api/book/{identity}") == "/api/book/{id}"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/trades", "/oauth2/token", "/health/ready", "/order-book", "/docs/openapi.json", "/listOpenOrders",
        "/get-historical-prices", "/api/face/feed/decade", "/.well-known/openid-configuration", "/en-US/faq", "/sha256",
    ],
)  # fmt: skip
def test_a_word_is(path: str) -> None:
    assert route_of(path) == path


def test_statuses_wherever_they_stand() -> None:
    """Uvicorn writes the reason behind it, NGINX bytes, referrer and browser; in JSON it is a field."""
    lines = (
        'INFO:     192.0.2.7:40000 - "GET /api/book HTTP/1.1" 500 Internal Server Error\n'
        '192.0.2.7 - - [27/Nov/2026:12:00:00 +0000] "GET /api/book HTTP/1.1" 502 21 "-" "curl/8"\n'
        '{"request":"GET /api/book HTTP/1.1","status":"504","bytes":21}\n'
        '{"message": "request", "protocol": "HTTP/1.1", "status": 503}\n'
        'INFO: HTTP Request: POST https://broker/ "HTTP/1.1 200 OK"\n'
    )
    assert count_statuses([lines.encode()]) == {"500": 1, "502": 1, "503": 1, "504": 1}
