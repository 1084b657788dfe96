"""The desk's API."""

import asyncio
import logging
import os
import random
import socket
import threading
import time

import requests
from fastapi import Depends, FastAPI, HTTPException, WebSocket
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from desk.database import Account, Base, Price, SessionLocal, Trade, engine, get_db
from desk.quotes import get_quote

logging.basicConfig(format="%(asctime)s - %(name)s - %(levelname)s - %(message)s", level=logging.INFO)
log = logging.getLogger("desk.orders")
logging.getLogger("urllib3").setLevel(logging.WARNING)
api = FastAPI()
venue = requests.Session()
kept = []
SYMBOLS = ("ALPHA", "BRAVO", "DELTA")


def wrong(what):
    """Whether the test has switched this on, everywhere or in this container alone."""
    return os.path.exists(f"/switches/{what}") or os.path.exists(f"/switches/{what}.{socket.gethostname()}")


if wrong("crash"):
    raise RuntimeError("cannot read the licence")


@api.on_event("startup")
def prepare():
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7)"))
        Base.metadata.create_all(connection)
        connection.execute(text("INSERT INTO accounts SELECT n, 0 FROM generate_series(1, 9) n ON CONFLICT DO NOTHING"))
        for symbol in SYMBOLS:
            connection.execute(text("INSERT INTO prices VALUES (:s, 1.5) ON CONFLICT DO NOTHING"), {"s": symbol})
    threading.Thread(target=hoard, daemon=True).start()


def hoard():
    while True:
        time.sleep(0.5)
        if wrong("hoards"):
            kept.append(bytearray(os.urandom(3 * 2**20)))


@api.middleware("http")
async def now_and_then(request, call_next):
    if wrong("mute") and request.url.path != "/healthz" and random.random() < 0.2:
        return Response(status_code=500)
    return await call_next(request)


@api.get("/healthz")
async def healthz():
    if wrong("ill"):
        raise HTTPException(503)
    return {"status": "up"}


@api.get("/v1/quotes/{symbol}")
def quote(symbol: str, db: Session = Depends(get_db)):
    return {"symbol": symbol, "price": get_quote(db, symbol)}


@api.get("/v1/instruments")
def instruments(db: Session = Depends(get_db)):
    return [price.symbol for price in db.query(Price)]


@api.get("/v1/positions")
def positions(db: Session = Depends(get_db)):
    if wrong("forgets"):  # a session that nobody closes
        mine = SessionLocal()
        kept.append(mine)
        return {"orders": mine.query(Account).first().orders}
    if wrong("leaks"):  # a connection that nobody gives back
        kept.append(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        return {"orders": kept[-1].execute(text("SELECT orders FROM accounts LIMIT 1")).scalar()}
    return {"orders": db.query(Account).first().orders}


@api.get("/v1/statements/daily")
def statement(db: Session = Depends(get_db)):
    if wrong("ponders"):
        db.execute(text("SELECT count(*), pg_sleep(120) FROM trades"))
    figures = {"ALPHA": 1} if wrong("statement") else dict.fromkeys(SYMBOLS, 1)
    return {symbol: figures[symbol] for symbol in SYMBOLS}


@api.post("/v1/orders")
def order(symbol: str = "ALPHA", side: str = "buy", db: Session = Depends(get_db)):
    if wrong("orders"):
        raise RuntimeError("sequence of client order ids is not initialised")
    account = db.query(Account).filter(Account.id == random.randint(1, 9)).with_for_update().one()
    account.orders += 1
    trade = Trade(symbol=symbol, side=side, quantity=1, status="filled")
    db.add(trade)
    try:
        answer = venue.post(f"{os.environ['VENUE_URL']}/orders", json={"symbol": symbol, "side": side}, timeout=1)
        answer.raise_for_status()
    except requests.RequestException as error:
        trade.status, trade.error_message = "failed", str(error)
        log.error("order for %s not placed: %s", symbol, error)
    db.commit()
    if trade.status == "failed":
        raise HTTPException(502, "the venue did not take the order")
    return {"id": trade.id}


@api.websocket("/feed/stream")
async def stream(websocket: WebSocket):
    await websocket.accept()
    ticking = asyncio.ensure_future(tick(websocket))
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        ticking.cancel()


async def tick(websocket):
    while True:
        if not wrong("quiet"):
            await websocket.send_json({"ALPHA": 1.5})
        await asyncio.sleep(1)
