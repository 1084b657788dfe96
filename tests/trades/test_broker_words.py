"""Errors as clients and brokers word them, from their public documentation and sources, and the trouble that each is."""

from __future__ import annotations

import pytest

from flowrex_ops.logs.broker_errors import classify
from flowrex_ops.model import Execution
from flowrex_ops.trades.broker import parse_adapter_answer

POOL = "HTTPSConnectionPool(host='api-fxtrade.oanda.com', port=443): "
WORDS: dict[str, tuple[str, ...]] = {
    "unreachable": (
        f"{POOL}Max retries exceeded with url: /v3 (Caused by ConnectTimeoutError(<x>, 'Connection to api timed out. (connect timeout=5)'))",
        f"{POOL}Max retries exceeded with url: /v3 (Caused by NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused'))",
        f"{POOL}Max retries exceeded with url: /v3 (Caused by NameResolutionError(\"<x>: Failed to resolve 'api' ([Errno -2] Name or service not known)\"))",
        f"{POOL}Max retries exceeded with url: /v3 (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')))",
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
        "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
        "500 Server Error: Internal Server Error for url: https://api/v2/orders",
        "502 Server Error: Bad Gateway for url: https://api/v2/orders",
        "Server error '503 Service Unavailable' for url 'https://api/v2/orders'",
        "Server error '500 Internal Server Error' for url 'https://api/v2/orders'",
        "All connection attempts failed",
        "[Errno -3] Temporary failure in name resolution",
        "Server disconnected without sending a response.",
        "Cannot connect to host api.broker.com:443 ssl:default [Connect call failed ('192.0.2.1', 443)]",
        "Cannot connect to host api.broker.com:443 ssl:True [SSLCertVerificationError: certificate verify failed]",
        "Connection timeout to host https://api.broker.com/orders",
        "500, message='Internal Server Error', url=URL('https://api/orders')",
        "<urlopen error [Errno 111] Connection refused>",
        "HTTP Error 503: Service Unavailable",
        "ccxt.base.errors.ExchangeNotAvailable: binance GET https://api.binance.com 502 Bad Gateway",
        "ccxt.base.errors.OnMaintenance: kraken EService:Unavailable",
        "ccxt.base.errors.NetworkError: binance GET https://api.binance.com/api/v3/account",
        "(-10004, 'No IPC connection')",
        "10031 No connection with the trade server",
        "[Errno 113] No route to host",
    ),
    "timeout": (
        f"{POOL}Read timed out. (read timeout=5)",
        "ReadTimeout('')",
        "httpx.PoolTimeout",
        "Timeout on reading data from socket",
        "TimeoutError()",
        "<urlopen error timed out>",
        "ccxt.base.errors.RequestTimeout: binance POST https://api.binance.com/api/v3/order",
        "(-10005, 'IPC timeout')",
        "DEADLINE_EXCEEDED: Deadline Exceeded",
        "broker did not answer within 5 s",
    ),
    "credentials": (
        "401 Client Error: Unauthorized for url: https://api/v3/accounts",
        "403 Client Error: Forbidden for url: https://api/v3/accounts",
        "Client error '401 Unauthorized' for url 'https://api/v3'",
        "401, message='Unauthorized', url=URL('https://api/v3')",
        "HTTP Error 403: Forbidden",
        'ccxt.base.errors.AuthenticationError: binance {"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}',
        "ccxt.base.errors.PermissionDenied: okx Your IP is not included",
        "ccxt.base.errors.InvalidNonce: binance Timestamp for this request is outside of the recvWindow.",
        '{"errorMessage":"Insufficient authorization to perform request."}',
        "(-6, 'Terminal: Authorization failed')",
        "request is not authorized",
        "account is not authorized to trade",
        "access key verification failed : access key is expired, invalid token",
    ),
    "rejected": (
        "429 Client Error: Too Many Requests for url: https://api/v2/orders",
        "400 Client Error: Bad Request for url: https://api/v3/orders",
        "422 Client Error: Unprocessable Entity for url: https://api/v2/orders",
        "ccxt.base.errors.InsufficientFunds: binance Account has insufficient balance for requested action.",
        'ccxt.base.errors.InvalidOrder: binance {"code":-1013,"msg":"Filter failure: LOT_SIZE"}',
        "ccxt.base.errors.RateLimitExceeded: binance Too much request weight used",
        "ccxt.base.errors.BadSymbol: binance does not have market symbol FOO/BAR",
        "MARKET_HALTED",
        "INSUFFICIENT_MARGIN",
        "INSTRUMENT_NOT_TRADEABLE",
        "STOP_LOSS_ON_FILL_PRICE_PRECISION_EXCEEDED",
        "FIFO_VIOLATION_SAFEGUARD_VIOLATION",
        "TRADE_RETCODE_REJECT",
        "10018 Market closed",
        "10019 No money",
        "10016 Invalid stops",
        "10017 Trade disabled",
        "insufficient buying power",
        "insufficient day trading buying power",
        "asset AAPL is not tradable",
        "potential wash trade detected. use complex orders",
        "order rejected: symbol halted",
    ),
    "database": (
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
        "couldn't get a connection after 5.00 sec",
        "psycopg.errors.UniqueViolation: duplicate key value violates unique constraint",
        'relation "trades" does not exist',
        "asyncpg.exceptions.TooManyConnectionsError: sorry, too many clients already",
    ),
    "risk": ("risk check failed: position limit 500000 exceeded", "blocked: max_notional"),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WORDS.items() for text in texts])
def test_trouble_is_told_by_its_words(kind: str, text: str) -> None:
    assert classify(text) == kind


@pytest.mark.parametrize("text", ["unexpected keyword argument 'qty'", "division by zero", "order 4711 filled", ""])
def test_what_nobody_words_so_is_other(text: str) -> None:
    assert classify(text) == "other"


@pytest.mark.parametrize(
    "done",
    [
        Execution(127, "", "timeout: failed to run command 'python': No such file or directory"),
        Execution(126, "", "timeout: failed to run command 'python': Permission denied"),
        Execution(127, "", 'OCI runtime exec failed: exec: "python": executable file not found in $PATH: unknown'),
    ],
)
def test_a_check_that_could_not_run_tells_nothing_of_the_broker(done: Execution) -> None:
    """It is neither slow nor unreachable: nobody asked it."""
    row = parse_adapter_answer("backend-1", done, 0.1)
    assert (row["kind"], row["connected"]) == ("unknown", False)
    assert "could not run" in row["error"]
