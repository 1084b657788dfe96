"""A client of the platform that makes trouble, as a process of its own; run by path, so that it starts at once.

``python holder.py KIND``, with ``FLOWREX_HOLDER_DSN`` or ``FLOWREX_HOLDER_URLS`` in the environment. It holds what it
holds until it is killed, and takes nothing again once PostgreSQL has thrown it out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import psycopg

BACKUP = "COPY (SELECT t.*, pg_sleep(0.2) FROM trades t) TO STDOUT"
"""What ``pg_dump`` does with a table, slowed down; minutes on the seeded table."""

CONCURRENCY = 30
"""Requests under way at once per replica: six times its pool."""

FLOOD_CONCURRENCY = 330
"""More than the three pools can serve within the time that a request waits for a connection."""
FLOOD_SECONDS = 90.0
FLOOD_ADDRESSES = ("203.0.113.66", "203.0.113.67", "203.0.113.68")


def connect(application_name: str) -> psycopg.Connection[Any]:
    """A session under *application_name*."""
    return psycopg.connect(os.environ["FLOWREX_HOLDER_DSN"], application_name=application_name)


def hold_lock() -> None:
    """A migration that updates a row and does not commit; a settlement holds another row and waits for that one."""
    migration = connect("migration")
    migration.execute("UPDATE accounts SET owner = owner WHERE id = 1")
    threading.Thread(target=settle, daemon=True).start()
    wait()


def settle() -> None:
    """Lock account 2, then wait for account 1; commit as soon as that comes free."""
    with connect("settlement") as settlement:
        settlement.execute("UPDATE accounts SET balance = balance WHERE id = 2")
        settlement.execute("UPDATE accounts SET balance = balance WHERE id = 1")


def hold_connections() -> None:
    """Take every slot that an ordinary role can get, and whatever comes free later."""
    held = []
    while True:
        try:
            connection = connect("reporting")
            connection.autocommit = True
            connection.execute("SELECT 1")
            held.append(connection)
        except psycopg.OperationalError:
            time.sleep(0.2)


def run_backup() -> None:
    """A backup: a snapshot, shared locks on all tables, and a long copy."""
    with connect("pg_dump") as backup:
        backup.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        backup.execute("LOCK TABLE accounts, trades, prices IN ACCESS SHARE MODE")
        with backup.cursor().copy(BACKUP) as copy:
            for _ in copy:
                pass


def run_backup_with_workers() -> None:
    """A backup by three workers (``pg_dump --jobs``), which begin once the leader has looked around."""
    leader = connect("pg_dump")
    leader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    leader.execute("SELECT pg_export_snapshot()")
    time.sleep(6)
    for _ in range(3):
        threading.Thread(target=run_backup, daemon=True).start()
    wait()


def send_burst() -> None:
    """More users than the pools have connections for; each asks again as soon as it was answered."""
    for url in os.environ["FLOWREX_HOLDER_URLS"].split():
        for number in range(CONCURRENCY):
            threading.Thread(
                target=ask_forever, args=(f"{url}/api/analytics?account={number % 5 + 1}",), daemon=True
            ).start()
    wait()


def send(request: urllib.request.Request, timeout_seconds: float) -> int:
    """The status that *request* is answered with; 0 for none. To be refused is what some of these clients are for."""
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310  # our own http URL
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def ask_forever(url: str, address: str = "") -> None:
    """One impatient user, whose address the load balancer tells where one is given."""
    request = urllib.request.Request(url, headers={"X-Forwarded-For": address} if address else {})  # noqa: S310  # our own http URL
    while True:
        status = send(request, 10)
        time.sleep(0 if status == HTTPStatus.OK else 0.2 if status else 1)


def send_orders(order: dict[str, Any], headers: dict[str, str], step: float = 0.0) -> None:
    """The same order at a steady rate, to each address in turn; its quantity grows by *step*."""
    pause_seconds = 1 / float(os.environ["FLOWREX_HOLDER_RATE"])
    for url in itertools.cycle(os.environ["FLOWREX_HOLDER_URLS"].split()):
        data = json.dumps(order).encode()
        order |= {"quantity": order["quantity"] + step} if step else {}
        send(urllib.request.Request(f"{url}/api/trades", data, headers, method="POST"), 5)  # noqa: S310  # our own http URL
        time.sleep(pause_seconds)


def send_large_orders() -> None:
    """A client whose every order is worth billions."""
    send_orders({"account": 1, "symbol": "BTCUSD", "side": "buy", "quantity": 1_000_000}, {})


def send_again_and_again() -> None:
    """A client whose retry forgets that it was answered."""
    send_orders({"account": 2, "symbol": "EURUSD", "side": "buy", "quantity": 0.5}, {})


def run_away() -> None:
    """A program that trades in a loop: no two orders are alike."""
    send_orders({"account": 3, "symbol": "XAUUSD", "side": "buy", "quantity": 0.1}, {}, step=0.0005)


def send_mistakes() -> None:
    """Orders without a quantity."""
    send_orders({"account": 1, "symbol": "EURUSD", "side": "buy"}, {"X-Forwarded-For": "203.0.113.90"})


DRIPPING = 8
"""Clients on a bad line."""


def drip_orders() -> None:
    """Orders that arrive a few bytes at a time, each within three seconds."""
    (url,) = os.environ["FLOWREX_HOLDER_URLS"].split()
    for _ in range(DRIPPING):
        threading.Thread(target=drip_forever, args=(url,), daemon=True).start()
    wait()


def drip_forever(url: str) -> None:
    """One client, order after order."""
    place = urlsplit(url)
    order = json.dumps({"account": 1, "symbol": "EURUSD", "side": "buy", "quantity": 1}).encode()
    head = f"POST /api/trades HTTP/1.1\r\nHost: {place.hostname}\r\nX-Forwarded-For: 203.0.113.91\r\nContent-Length: {len(order)}\r\nConnection: close\r\n\r\n"
    while True:
        try:
            with socket.create_connection((place.hostname, place.port or 80), timeout=10) as line:
                line.sendall(head.encode())
                for at in range(0, len(order), 10):
                    time.sleep(0.4)
                    line.sendall(order[at : at + 10])
                while line.recv(4096):
                    pass
        except OSError:
            time.sleep(1)


def send_flood() -> None:
    """Three clients, each with many requests under way, for a minute and a half at most."""
    (url,) = os.environ["FLOWREX_HOLDER_URLS"].split()
    for number in range(FLOOD_CONCURRENCY):
        address = FLOOD_ADDRESSES[number % len(FLOOD_ADDRESSES)]
        asker = threading.Thread(target=ask_forever, args=(f"{url}/api/analytics?account=1", address), daemon=True)
        asker.start()
    time.sleep(FLOOD_SECONDS)


HERD = 120
"""Users with an open page."""


async def keep_streams(jitter_seconds: float) -> None:
    """All users, each of whom comes back after half a second, and by chance up to so much later."""
    await asyncio.gather(*(keep_stream(jitter_seconds) for _ in range(HERD)))


async def keep_stream(jitter_seconds: float) -> None:
    """One user, for ever."""
    from websockets import WebSocketException, connect

    while True:
        with suppress(OSError, WebSocketException):
            async with connect(os.environ["FLOWREX_HOLDER_URLS"], ping_interval=None) as stream:
                await stream.wait_closed()
        await asyncio.sleep(0.5 + random.uniform(0, jitter_seconds))  # noqa: S311  # users need no cryptography


def wait() -> None:
    """Do nothing until killed."""
    threading.Event().wait()


KINDS = {
    "lock": hold_lock,
    "connections": hold_connections,
    "backup": run_backup,
    "backup-jobs": run_backup_with_workers,
    "herd": lambda: asyncio.run(keep_streams(0)),
    "herd-in-time": lambda: asyncio.run(keep_streams(40)),
    "burst": send_burst,
    "whale": send_large_orders,
    "repeater": send_again_and_again,
    "runaway": run_away,
    "flood": send_flood,
    "mistaken": send_mistakes,
    "drip": drip_orders,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]]()
