"""The engine, and a session for each request (https://fastapi.tiangolo.com/tutorial/sql-databases/)."""

import os

from sqlalchemy import Column, DateTime, Float, Integer, Numeric, String, create_engine, func
from sqlalchemy.orm import declarative_base, sessionmaker

engine = create_engine(os.environ["DESK_DSN"], pool_size=3, max_overflow=2, pool_timeout=2, pool_pre_ping=True)
SessionLocal = sessionmaker(autocommit=False, autoflush=False, bind=engine)
Base = declarative_base()


class Account(Base):
    __tablename__ = "accounts"
    id = Column(Integer, primary_key=True)
    orders = Column(Integer, default=0)


class Price(Base):
    __tablename__ = "prices"
    symbol = Column(String, primary_key=True)
    last_price = Column(Float)


class Trade(Base):
    __tablename__ = "trades"
    id = Column(Integer, primary_key=True)
    symbol = Column(String)
    side = Column(String)
    quantity = Column(Numeric)
    status = Column(String)
    error_message = Column(String)
    created_at = Column(DateTime(timezone=True), server_default=func.now(), index=True)


def get_db():
    db = SessionLocal()
    try:
        yield db
    finally:
        db.close()
