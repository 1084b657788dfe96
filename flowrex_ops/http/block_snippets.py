"""The two snippets that let NGINX turn one client away until a moment, and end that by itself."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from flowrex_ops.errors import ParameterError
from flowrex_ops.proxy.snippets import SnippetHeader, parse_header

PURPOSE = "block"
PROBE = "X-Flowrex-Ops-Probe"
"""Whoever sends a block's token in this header is answered like the blocked client: a block is seen without being that client."""

WIDEST = {4: 24, 6: 48}
"""The shortest prefix that may be blocked: more addresses than these are not one client."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HTTP = re.compile(r"http-block-.+\.conf")
_TOKEN = re.compile(r"\{ default \S+; (?P<token>[0-9a-f]{16}) 1; \}")


def parse_network(where: str, text: str) -> Network:
    """An address or a network that may be one client; ParameterError that names *where* it stood otherwise."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ParameterError(
            f"{where}: '{text}' is no address or network; write 203.0.113.7 or 203.0.113.0/24"
        ) from None
    if network.prefixlen < WIDEST[network.version]:
        raise ParameterError(f"{where}: {network} is wider than /{WIDEST[network.version]}, which is not one client")
    return network


def short(network: object) -> str:
    """An address without its ``/32``."""
    return str(network).removesuffix("/32").removesuffix("/128")


def file_names(client: str) -> tuple[str, str]:
    """The snippet for ``http`` and the one for each ``server``."""
    name = re.sub(r"[^0-9a-f]", "_", client)
    return f"http-block-{name}.conf", f"server-block-{name}.conf"


def find_blocks(present: Mapping[str, str]) -> dict[str, tuple[SnippetHeader, str]]:
    """What is blocked by us: head and token by network."""
    found = {}
    for name, text in present.items():
        head, token = parse_header(text), _TOKEN.search(text)
        if _HTTP.fullmatch(name) and head and token:
            found[head.about] = (head, token["token"])
    return found


def find_expired(present: Mapping[str, str]) -> list[str]:
    """Snippets of blocks that are over: NGINX does not heed them any more."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    heads = {name: parse_header(text) for name, text in present.items()}
    return [name for name, head in heads.items() if head and head.purpose == PURPOSE and head.until <= now]


def snippets_of(client: str, head: SnippetHeader, token: str, until: datetime) -> dict[str, str]:
    """NGINX compares texts, not numbers, so that the end is a pattern of the seconds before it."""
    http, server = file_names(client)
    name = http.removeprefix("http-block-").removesuffix(".conf")
    probe = PROBE.lower().replace("-", "_")
    # Volatile, as the time goes on while a connection is kept.
    return {
        http: (
            f"{head}geo $flowrex_ops_client_{name} {{ default 0; {client} 1; }}\n"
            f"map $http_{probe} $flowrex_ops_bearer_{name} {{ default $flowrex_ops_client_{name}; {token} 1; }}\n"
            f'map "$flowrex_ops_bearer_{name} $msec" $flowrex_ops_block_{name} {{\n'
            f'    volatile; default "";\n'
            f'    "~^1 (?:{seconds_before(int(until.timestamp()))})\\." "{format_datetime(until, usegmt=True)}";\n'
            "}\n"
        ),
        server: (
            f"{head}if ($flowrex_ops_block_{name}) {{ return 429; }}\n"
            f"add_header Retry-After $flowrex_ops_block_{name} always;\n"
        ),
    }


def seconds_before(end: int) -> str:
    """A pattern of every number with as many digits as *end* that is below it; 12 gives ``[0-0]`` and any digit, or ``1[0-1]``.

    As many digits is enough: seconds since 1970 have ten until the year 2286.
    """
    digits = str(end)
    rest = [f"\\d{{{left}}}" if left else "" for left in range(len(digits) - 1, -1, -1)]
    parts = [f"{digits[:place]}[0-{int(digit) - 1}]{rest[place]}" for place, digit in enumerate(digits) if digit != "0"]
    return "|".join(parts)
