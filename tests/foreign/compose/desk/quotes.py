"""Prices, through a cache in Redis."""

import os

import redis

from desk.database import Price

cache = redis.Redis.from_url(os.environ["DESK_CACHE"], socket_timeout=1)


def get_quote(db, symbol):
    key = f"quote:{symbol}"
    if (known := cache.get(key)) is not None:
        return float(known)
    row = db.query(Price).filter(Price.symbol == symbol).one()
    price = row.last_price
    cache.setex(key, 1, price)
    return price
