"""Why trades fail."""

from __future__ import annotations

from flowrex_ops.causes import Cause, command, runbook
from flowrex_ops.model import NextStep, Severity

RUNBOOK = "trade_failures"
_BACKEND_LOG = "docker-compose -f docker-compose.prod.yml logs --tail=500 backend"

CAUSES = (
    Cause(
        "trades.database",
        "Trades cannot be written to the database",
        "The order is refused before it reaches the broker, or filled there and not booked here.",
        Severity.P1,
        110,
        (
            runbook("database_connections", "tells why the database does not take them"),
            NextStep("person", "owner of the last migration", "a right or a constraint on table trades has changed"),
            NextStep("person", "trading operations", "compare the broker's transactions with trades left 'pending'"),
        ),
    ),
    Cause(
        "trades.broker-credentials",
        "The broker refuses our credentials",
        "Token expired, revoked or wrong: every order is answered with 401 or 403.",
        Severity.P1,
        120,
        (
            NextStep("person", "owner of the broker account", "issue a new token and set BROKER_TOKEN"),
            NextStep("command", "docker-compose -f docker-compose.prod.yml up -d backend", "afterwards: it reads it"),
        ),
    ),
    Cause(
        "trades.broker-unreachable",
        "The broker cannot be reached",
        "No connection, or no usable answer: refused, reset, name not found, 5xx, nonsense instead of JSON.",
        Severity.P1,
        130,
        (
            NextStep("link", "the broker's status page", "see whether they know of it"),
            NextStep("person", "the broker's support", "if their page says that all is well and it persists"),
        ),
    ),
    Cause(
        "trades.broker-slow",
        "The broker does not answer in time",
        "Orders run into the adapter's time limit; whether they were filled is not known here.",
        Severity.P1,
        140,
        (
            NextStep("person", "trading operations", "look up at the broker which of the failed orders were filled"),
            NextStep("link", "the broker's status page", "see whether they know of it"),
        ),
    ),
    Cause(
        "trades.rejected-by-broker",
        "The broker rejects orders",
        "It answers and takes our credentials, but does not fill: market halted, no margin, too many requests.",
        Severity.P1,
        150,
        (
            NextStep(
                "person", "trading operations", "the reason is the broker's own word; look it up in its API's list"
            ),
        ),
    ),
    Cause(
        "trades.duplicated",
        "Orders are placed twice",
        "The same order a moment after the first, or a client's order id again: more was bought or sold than anybody wanted.",
        Severity.P1,
        152,
        (
            NextStep(
                "person", "trading operations", "look up at the broker which of them were filled, and close the surplus"
            ),
            NextStep(
                "person", "owner of whoever sends them", "stop it first: a retry without an idempotency key, or a loop?"
            ),
            runbook("error_rate", "an answer that came too late or failed makes clients send again"),
        ),
    ),
    Cause(
        "trades.runaway-rate",
        "One account's orders run away",
        "Most of all orders are of one account and symbol, far more than in its hour before: a program that trades in a loop, or against itself.",
        Severity.P1,
        153,
        (
            NextStep(
                "person", "owner of that account", "is it meant? else stop the program, or its key: each order is real"
            ),
            NextStep("person", "risk management", "a limit of orders a minute for that account, and what it holds now"),
            runbook("error_rate", "block-client shuts its address out, where the proxy sees one"),
        ),
    ),
    Cause(
        "trades.stuck",
        "Orders are without an outcome for too long",
        "They were written and never booked: they may well be filled at the broker, and nobody here knows.",
        Severity.P1,
        155,
        (
            NextStep(
                "person",
                "trading operations",
                "look up each at the broker by account, symbol and time, then book or cancel it",
            ),
            command(
                _BACKEND_LOG,
                "what the backend logged when they were placed: an exception, a restart, a broker in silence?",
            ),
            NextStep("person", "whoever answers users", "they must not send these orders again before it is known"),
        ),
    ),
    Cause(
        "trades.risk-limit",
        "The risk engine blocks trades, working as meant",
        "Orders above a limit are held back. It is a failure only if the limit is wrong.",
        Severity.P3,
        160,
        (NextStep("person", "risk management", "is the limit hit legitimately? raise it only by their decision"),),
    ),
    Cause(
        "trades.unexplained-failures",
        "Trades fail with a message that this runbook does not know",
        "Orders are not executed, and none of the known causes explains it: read the messages.",
        Severity.P1,
        170,
        (
            command(_BACKEND_LOG, "what the backend logged when these trades failed"),
            NextStep(
                "person", "owner of the trading code", "what does this message mean, and since when is it written?"
            ),
        ),
    ),
    Cause(
        "trades.unreconciled",
        "The broker's books and ours differ",
        "Orders that it has filled stand here as failed or pending, or not at all; or what stands here as filled is not there.",
        Severity.P1,
        180,
        (
            NextStep(
                "person",
                "trading operations",
                "evidence/ has both sides as CSV, a row an order: book or correct each by its owner's decision, nothing by itself",
            ),
            NextStep(
                "person", "whoever answers users", "they must not send again what has failed here and is filled there"
            ),
            command(
                _BACKEND_LOG, "what was logged for these ids: an answer that came too late, an UPDATE that failed?"
            ),
        ),
    ),
    Cause(
        "market-data.stale",
        "Prices stand still",
        "The newest price of a symbol, or of all, is old while its market is open: users see it and place orders at it, and nothing fails.",
        Severity.P1,
        185,
        (
            NextStep(
                "person",
                "trading operations",
                "stop trading of the symbols that are named until their prices move; what was filled meanwhile was filled at an old price",
            ),
            NextStep("link", "the data vendor's status page", "all symbols at once: see whether they know of it"),
            NextStep(
                "person",
                "the data vendor's support",
                "name the symbols and since when; is their subscription still there?",
            ),
            command(_BACKEND_LOG, "what was logged as they stopped: a stream that was closed, a subscription refused?"),
        ),
    ),
)
