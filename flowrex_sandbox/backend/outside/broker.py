"""A broker that speaks OANDA's v20 REST protocol: orders, the account's summary, and its list of transactions.

https://developer.oanda.com/rest-live-v20/order-ep/, …/account-ep/ and …/transaction-ep/: a filled market order is answered with 201 and
``orderFillTransaction``, one that could not be filled with 201 and ``orderCancelTransaction``, an order that is wrong in
itself with 400, ``orderRejectTransaction``, ``errorCode`` and ``errorMessage``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import fault_of, guarded

NAME = "broker"
PRICES = {"EUR_USD": 1.0845, "GBP_USD": 1.2631, "USD_JPY": 151.2, "XAU_USD": 2650.1, "BTC_USD": 96500.0}
_NUMBERS = itertools.count(6001)
_ORDERS = itertools.count()
_EVERY = 3
"""Of so many orders fault ``dropped`` fills one and drops its answer; what has become of the others is told."""
_POLL_SECONDS = 0.2
_opened_at = datetime.now(UTC)
_kept: deque[dict[str, Any]] = deque(maxlen=100_000)
"""All transactions, the oldest first, since the account was opened."""


def _wrong_account(request: Request) -> Response | None:
    if request.path_params["account"] == os.environ.get("BROKER_ACCOUNT", ""):
        return None
    return JSONResponse({"errorMessage": "Invalid value specified for 'accountID'"}, status_code=400)


async def summary(request: Request) -> Response:
    """``GET /v3/accounts/{account}/summary``."""
    if refused := _wrong_account(request):
        return refused
    account = {"id": request.path_params["account"], "currency": "USD", "balance": "500000.00", "openTradeCount": 0}
    return JSONResponse({"account": account, "lastTransactionID": str(next(_NUMBERS))})


async def create_order(request: Request) -> Response:
    """``POST /v3/accounts/{account}/orders``."""
    if refused := _wrong_account(request):
        return refused
    order = (await request.json()).get("order", {})
    created = _transaction(request, order, "MARKET_ORDER")
    wrong = _what_is_wrong(order)
    if wrong:
        rejected = created | {"type": "MARKET_ORDER_REJECT", "rejectReason": wrong[0]}
        body = {"orderRejectTransaction": rejected, "errorCode": wrong[0], "errorMessage": wrong[1]}
        return JSONResponse(body, status_code=400)
    fault = fault_of(NAME)
    if fault.get("fault") == "reject" and order["instrument"].replace("_", "") == fault.get("symbol"):
        reason = {"type": "ORDER_CANCEL", "reason": fault.get("reason", "MARKET_HALTED")}
        cancelled = _transaction(request, order, "ORDER_CANCEL", orderID=created["id"]) | reason
        return JSONResponse({"orderCreateTransaction": created, "orderCancelTransaction": cancelled}, status_code=201)
    price = str(PRICES[order["instrument"]])
    filled = _transaction(request, order, "ORDER_FILL", orderID=created["id"], price=price, reason="MARKET_ORDER")
    if fault.get("fault") == "dropped" and next(_ORDERS) % _EVERY == 0:
        # Until whoever waits gives up.
        while not await request.is_disconnected():  # noqa: ASYNC110  # the protocol tells of it only when asked
            await asyncio.sleep(_POLL_SECONDS)
        return Response(status_code=204)
    return JSONResponse({"orderCreateTransaction": created, "orderFillTransaction": filled}, status_code=201)


async def list_transactions(request: Request) -> Response:
    """``GET /v3/accounts/{account}/transactions``: pages of ids, by time and type."""
    if refused := _wrong_account(request):
        return refused
    given, now = request.query_params, datetime.now(UTC)
    begin = datetime.fromisoformat(given["from"]) if "from" in given else _opened_at
    if begin > now:
        return JSONResponse({"errorMessage": "Invalid value specified for 'from'"}, status_code=400)
    found = [one for one in _chosen(request) if datetime.fromisoformat(one["time"]) >= begin]
    size = int(given.get("pageSize", "100"))
    parts = [found[at : at + size] for at in range(0, len(found), size)]
    url = f"{request.url.replace(query='')}/idrange"
    pages = [f"{url}?from={part[0]['id']}&to={part[-1]['id']}" for part in parts]
    times = {"from": max(begin, _opened_at).isoformat(), "to": now.isoformat()}
    return JSONResponse({**times, "pageSize": size, "count": len(found), "pages": pages, "lastTransactionID": _last()})


async def get_transactions(request: Request) -> Response:
    """``GET /v3/accounts/{account}/transactions/idrange``: those themselves."""
    if refused := _wrong_account(request):
        return refused
    first, last = (int(request.query_params[name]) for name in ("from", "to"))
    found = [one for one in _chosen(request) if first <= int(one["id"]) <= last]
    return JSONResponse({"transactions": found, "lastTransactionID": _last()})


def _chosen(request: Request) -> list[dict[str, Any]]:
    wanted = request.query_params.get("type", "")
    return [one for one in _kept if not wanted or one["type"] in wanted.split(",")]


def _last() -> str:
    return str(_kept[-1]["id"]) if _kept else "0"


def _what_is_wrong(order: dict[str, Any]) -> tuple[str, str] | None:
    if order.get("instrument") not in PRICES:
        return "INSTRUMENT_NOT_TRADEABLE", "The instrument specified is not tradeable by the Account"
    try:
        units = float(order.get("units", ""))
    except ValueError:
        units = 0.0
    if units == 0:
        return "UNITS_INVALID", "The units specified are invalid"
    return None


def _transaction(request: Request, order: dict[str, Any], kind: str, **more: str) -> dict[str, Any]:
    own = order.get("clientExtensions", {}).get("id")
    made = {
        "id": str(next(_NUMBERS)),
        "type": kind,
        "accountID": request.path_params["account"],
        "instrument": order.get("instrument", ""),
        "units": order.get("units", ""),
        "time": datetime.now(UTC).isoformat(),
        **({"clientOrderID": own} if own else {}),
        **more,
    }
    _kept.append(made)
    return made


ROUTES = [
    Route("/v3/accounts/{account}/orders", guarded(NAME, create_order, variable="BROKER_TOKEN"), methods=["POST"]),
    Route("/v3/accounts/{account}/transactions", guarded(NAME, list_transactions, variable="BROKER_TOKEN")),
    Route("/v3/accounts/{account}/transactions/idrange", guarded(NAME, get_transactions, variable="BROKER_TOKEN")),
    Route("/v3/accounts/{account}/summary", guarded(NAME, summary, variable="BROKER_TOKEN")),
]
