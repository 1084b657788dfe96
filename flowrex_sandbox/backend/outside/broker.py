"""A broker that speaks OANDA's v20 REST protocol: orders and the account's summary.

https://developer.oanda.com/rest-live-v20/order-ep/ and …/account-ep/: a filled market order is answered with 201 and
``orderFillTransaction``, one that could not be filled with 201 and ``orderCancelTransaction``, an order that is wrong in
itself with 400, ``orderRejectTransaction``, ``errorCode`` and ``errorMessage``.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import fault_of, guarded

NAME = "broker"
PRICES = {"EUR_USD": 1.0845, "GBP_USD": 1.2631, "USD_JPY": 151.2, "XAU_USD": 2650.1, "BTC_USD": 96500.0}
_NUMBERS = itertools.count(6001)


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
        cancelled = _transaction(request, order, "ORDER_CANCEL") | reason
        return JSONResponse({"orderCreateTransaction": created, "orderCancelTransaction": cancelled}, status_code=201)
    filled = _transaction(request, order, "ORDER_FILL") | {"price": str(PRICES[order["instrument"]])}
    return JSONResponse({"orderCreateTransaction": created, "orderFillTransaction": filled}, status_code=201)


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


def _transaction(request: Request, order: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": str(next(_NUMBERS)),
        "type": kind,
        "accountID": request.path_params["account"],
        "instrument": order.get("instrument", ""),
        "units": order.get("units", ""),
        "time": datetime.now(UTC).isoformat(),
    }


ROUTES = [
    Route("/v3/accounts/{account}/orders", guarded(NAME, create_order, variable="BROKER_TOKEN"), methods=["POST"]),
    Route("/v3/accounts/{account}/summary", guarded(NAME, summary, variable="BROKER_TOKEN")),
]
