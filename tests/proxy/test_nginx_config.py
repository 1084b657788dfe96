"""NGINX configurations as they are found in the world, and what of them decides over WebSockets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flowrex_ops.errors import SourceUnavailableError, StackUnavailableError
from flowrex_ops.model import Execution, Replica
from flowrex_ops.proxy.nginx_config import NginxSource, find_locations, match_location, path_of_websockets, split_dump
from flowrex_ops.settings import ProxySettings

MAIN = "/etc/nginx/nginx.conf"
OFFICIAL = """
user nginx;
worker_processes auto;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    proxy_read_timeout 90;
    include conf.d/*.conf;
}
"""
TWO_SERVERS = """
upstream backend { server backend:8000; keepalive 16; }
server {
    listen 80;
    server_name flowrex.app www.flowrex.app;
    return 301 https://$host$request_uri;
}
server {
    listen 443 ssl http2;
    server_name flowrex.app;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    location / { proxy_pass http://frontend:80; }
    location /ws {
        proxy_pass http://backend;
        proxy_read_timeout 1h30m;
    }
    location /ws/private {
        proxy_set_header X-Private 1;  # sets one of its own, and so inherits none
        proxy_pass http://backend;
    }
    location ~ \\.php$ { return 404; }
}
"""


def rows(
    files: Mapping[str, str], path: str = "/ws", version: tuple[int, ...] = (1, 22, 1)
) -> dict[str, dict[str, Any]]:
    return {f"{row['server']} {row['location']}": row for row in find_locations(files, path, version)}


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, Any]]:
    """The layout that the official packages have: a map, and servers in conf.d."""
    return rows({MAIN: OFFICIAL, "/etc/nginx/mime.types": "types { }", "/etc/nginx/conf.d/app.conf": TWO_SERVERS})


class TestInheritance:
    def test_headers_come_from_the_server(self, official: dict[str, Any]) -> None:
        """The variable of a map is what an upgrade request gets of it."""
        found = official["flowrex.app /ws"]
        assert (found["upgrade_header"], found["connection_header"], found["http_version"]) == (
            "$http_upgrade",
            "upgrade",
            "1.1",
        )

    def test_a_location_with_a_header_of_its_own_inherits_none(self, official: dict[str, Any]) -> None:
        """The commonest mistake of all (ngx_http_proxy_module, proxy_set_header)."""
        assert official["flowrex.app /ws/private"]["upgrade_header"] == ""

    def test_timeouts(self, official: dict[str, Any]) -> None:
        """The location's own before the one of http; NGINX's way of writing durations."""
        assert official["flowrex.app /ws"]["read_timeout_seconds"] == 5400
        assert official["flowrex.app /"]["read_timeout_seconds"] == 90
        assert official["flowrex.app /ws"]["send_timeout_seconds"] == 60

    def test_worker_connections(self, official: dict[str, Any]) -> None:
        found = official["flowrex.app /ws"]
        assert (found["worker_connections"], found["workers"]) == (1024, "auto")

    def test_a_redirect_passes_nothing_on(self, official: dict[str, Any]) -> None:
        """The server on port 80 has no row."""
        assert sorted(official) == ["flowrex.app /", "flowrex.app /ws", "flowrex.app /ws/private"]

    @pytest.mark.parametrize(("version", "http"), [((1, 22, 1), "1.0"), ((1, 31, 3), "1.1"), ((), "")])
    def test_http_version_where_nothing_is_said(self, version: tuple[int, ...], http: str) -> None:
        """It depends on NGINX's version; without one it is not known."""
        text = "http { server { location /ws { proxy_pass http://b; } } }"
        assert rows({MAIN: text}, version=version)["_ /ws"]["http_version"] == http


@pytest.mark.parametrize(
    ("locations", "path", "chosen"),
    [
        ("location / {} location /ws {} location /ws/v2 {}", "/ws/v2/prices", "/ws/v2"),
        ("location / {} location = /ws {} location /ws {}", "/ws", "= /ws"),
        ("location /ws {} location ~ ^/ws {}", "/ws", "~ ^/ws"),
        ("location ^~ /ws {} location ~ ^/ws {}", "/ws", "^~ /ws"),
        ("location / {} location ~* ^/WS$ {}", "/ws", "~* ^/WS$"),
        ("location /api {}", "/ws", None),
        ("location / {} location @ws {}", "/ws", "/"),
        ("location ~ (?<broken {} location / {}", "/ws", "/"),
    ],
)
def test_the_location_that_nginx_chooses(locations: str, path: str, chosen: str | None) -> None:
    """Exact before ``^~`` before regular expressions before the longest prefix (ngx_http_core_module, location)."""
    names = [part.strip() for part in locations.replace("location", "").split("{}") if part.strip()]
    blocks = [
        {"directive": "location", "args": name.split(), "block": [{"directive": "name", "args": [name]}]}
        for name in names
    ]
    found = match_location(blocks, path)
    assert (found[0]["args"][0] if found else None) == chosen


def test_each_server_has_its_location_for_the_path() -> None:
    """Also one that has a name of its own and nothing but ``/``."""
    text = """http {
        server { server_name app; location / { proxy_pass http://f; } location /ws { proxy_pass http://b; } }
        server { server_name ws.app; location / { proxy_pass http://b; } }
    }"""
    assert {name: row["carries_websockets"] for name, row in rows({MAIN: text}).items()} == {
        "app /": False,
        "app /ws": True,
        "ws.app /": True,
    }


class TestDump:
    def test_files_of_a_dump(self) -> None:
        """The main file first, as ``nginx -T`` prints it."""
        dump = "# configuration file /etc/nginx/nginx.conf:\nevents {}\n\n# configuration file /etc/nginx/a.conf:\n# hello\n"
        assert list(split_dump(dump)) == ["/etc/nginx/nginx.conf", "/etc/nginx/a.conf"]

    @pytest.mark.parametrize("text", ["", "nginx: command not found", "tail of a {\n# configuration file /a.conf:\n"])
    def test_what_is_no_whole_dump(self, text: str) -> None:
        with pytest.raises(SourceUnavailableError, match="no whole 'nginx -T'"):
            split_dump(text)

    def test_what_nginx_would_not_take_either(self) -> None:
        """The error names the file, not our copy of it."""
        with pytest.raises(SourceUnavailableError, match=r"'/etc/nginx/nginx.conf' cannot be parsed"):
            rows({MAIN: "http { server {"})


class _Proxy:
    """A stack whose proxy answers a command with *answer*."""

    def __init__(self, answer: Execution | Exception, *, running: bool = True) -> None:
        self._answer = answer
        self._state = "running" if running else "exited"

    def get_replicas(self, service: str | None = None) -> list[Replica]:
        return [Replica("nginx", "nginx-1", self._state, "none", "x")]

    def execute(self, replica: Replica, argv: Any, *, timeout_seconds: float) -> Execution:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def ask(stack: Any, **settings: Any) -> Any:
    source = NginxSource(stack, ProxySettings(**settings), "/ws", limit_seconds=2.0, limit_rows=100)
    return source.get_locations()


class TestSource:
    def test_dump_of_the_running_proxy(self) -> None:
        """With the version that it prints beside it."""
        dump = f"# configuration file {MAIN}:\nhttp {{ server {{ location /ws {{ proxy_pass http://b; }} }} }}\n"
        reading = ask(_Proxy(Execution(0, dump, "nginx version: nginx/1.22.1\n")))
        assert reading.require()["http_version"].tolist() == ["1.0"]

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (Execution(1, "", "nginx: [emerg] unexpected end of file"), "unexpected end of file"),
            (Execution(0, "events {}", ""), "no whole 'nginx -T'"),
            (StackUnavailableError("'nginx' in 'nginx-1' did not end in 2 s", code="timeout"), "did not end"),
            (Execution(0, f"# configuration file {MAIN}:\nevents {{}}\n", ""), "no location that passes requests on"),
        ],
    )
    def test_a_proxy_that_does_not_tell(self, answer: Any, words: str) -> None:
        assert words in ask(_Proxy(answer)).error

    def test_a_proxy_that_does_not_run(self) -> None:
        assert "no running replica" in ask(_Proxy(Execution(0, "", ""), running=False)).error

    def test_a_copy_on_this_machine(self, tmp_path: Path) -> None:
        """With its includes, and without a stack."""
        (tmp_path / "conf.d").mkdir()
        (tmp_path / "nginx.conf").write_text("http { include conf.d/*.conf; }")
        (tmp_path / "conf.d" / "a.conf").write_text("server { location /ws { proxy_pass http://b; } }")
        frame: pd.DataFrame = ask(None, configuration=tmp_path / "nginx.conf").require()
        assert frame["location"].tolist() == ["/ws"]

    def test_a_copy_that_is_not_there(self, tmp_path: Path) -> None:
        assert "cannot be read" in ask(None, configuration=tmp_path / "none.conf").error


def test_only_what_decides_leaves_this_module() -> None:
    """Configurations hold tokens and passwords; a row has none of them."""
    text = 'http { server { location /ws { proxy_pass http://b; proxy_set_header Authorization "Basic c2VjcmV0"; } } }'
    assert "c2VjcmV0" not in str(rows({MAIN: text}))


UPGRADES = "map $http_upgrade $conn { default upgrade; '' close; }\n"


def test_another_site_on_the_same_nginx_is_not_held_to_the_path() -> None:
    """It leads somewhere else, and nobody opens WebSockets there."""
    text = f"""http {{ {UPGRADES}
        server {{ listen 443 ssl; server_name desk.example; location /ws {{ proxy_pass http://desk; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $conn; }} }}
        server {{ listen 443 ssl; server_name charts.example; location / {{ proxy_pass http://charts:3000; }} }}
    }}"""
    assert {name: row["carries_websockets"] for name, row in rows({MAIN: text}).items()} == {
        "desk.example /ws": True,
        "charts.example /": False,
    }


def test_a_file_of_conf_d_alone_is_read() -> None:
    """It holds what stands inside ``http``."""
    text = (
        UPGRADES
        + """server { listen 80; location /ws { proxy_pass http://desk; proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $conn; } }"""
    )
    [row] = rows({MAIN: text}).values()
    assert (row["carries_websockets"], row["upgrade_header"], row["connection_header"]) == (
        True,
        "$http_upgrade",
        "upgrade",
    )


@pytest.mark.parametrize("key", ["websocket", "~*^websocket$", "~web", "default"])
def test_what_a_map_gives_to_an_upgrade(key: str) -> None:
    """By its word, by a regular expression, else the default."""
    text = f"""http {{ map $http_upgrade $up {{ {key} $http_upgrade; "" ""; }}
        server {{ location /ws {{ proxy_pass http://b; proxy_set_header Upgrade $up; }} }} }}"""
    [row] = rows({MAIN: text}).values()
    assert row["upgrade_header"] == "$http_upgrade"


def test_the_value_of_a_variable_meant_for_connection_is_seen() -> None:
    """``Upgrade: upgrade`` is a protocol that no server knows."""
    text = f"http {{ {UPGRADES} server {{ location /ws {{ proxy_pass http://b; proxy_set_header Upgrade $conn; }} }} }}"
    [row] = rows({MAIN: text}).values()
    assert row["upgrade_header"] == "upgrade"


@pytest.mark.parametrize(
    ("locations", "path"),
    [
        (
            "location /v2/live { proxy_pass http://a; proxy_set_header Upgrade $http_upgrade; } location / { }",
            "/v2/live",
        ),
        ("location = /live { proxy_set_header Upgrade websocket; }", "/live"),
        ("location / { proxy_set_header Upgrade $http_upgrade; }", ""),
        ("location ~ ^/ws/.+ { proxy_set_header Upgrade $http_upgrade; }", ""),
        ("location /a { proxy_set_header Upgrade x; } location /b { proxy_set_header Upgrade x; }", ""),
        ("location /a { proxy_pass http://a; }", ""),
    ],
)
def test_where_websockets_are_by_the_configuration(locations: str, path: str) -> None:
    """The usual path is a guess; a 404 there says nothing of those that are open elsewhere."""
    assert path_of_websockets({"nginx.conf": f"http {{ server {{ {locations} }} }}"}) == path
