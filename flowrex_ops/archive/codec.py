"""Values of readings as JSON and back: tables, times, and the classes of this library that hold them.

Typed, so that a check is given again what it was given then; and no pickle, for a capture may come from anybody: only dataclasses and
enumerations of this library are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import singledispatch
from importlib import import_module
from math import isfinite, isnan
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

KIND = "$kind"
_OURS = "flowrex_ops."
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {"tuple": tuple, "set": set, "frozenset": frozenset}


@singledispatch
def encode(value: Any) -> Any:
    """*value* as JSON; TypeError where it is of a kind that cannot be kept."""
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {KIND: "class", "of": _name_of(type(value)), "fields": own}
    if hasattr(value, "item"):  # one of numpy's
        return encode(value.item())
    if value is pd.NA:
        return {KIND: "missing"}
    raise TypeError(f"a {type(value).__name__} cannot be kept")


@encode.register(NoneType | bool | int | str)
def _(value: Any) -> Any:  # our enumerations are texts
    return _encode_enum(value) if isinstance(value, Enum) else value


@encode.register
def _(value: float) -> Any:
    return value if isfinite(value) else {KIND: "float", "value": str(value)}


@encode.register
def _encode_enum(value: Enum) -> Any:
    return {KIND: "enum", "of": _name_of(type(value)), "value": value.value}


@encode.register
def _(value: datetime) -> Any:  # pandas' own are datetimes, too, and so is the one that is missing
    if value is pd.NaT:
        return {KIND: "missing"}
    return {KIND: "timestamp" if isinstance(value, pd.Timestamp) else "datetime", "value": value.isoformat()}


@encode.register
def _(value: timedelta) -> Any:
    return {KIND: "timedelta", "value": value.total_seconds()}


@encode.register
def _(value: bytes) -> Any:
    return {KIND: "bytes", "value": value.decode("latin-1")}


@encode.register
def _(value: list) -> Any:  # type: ignore[type-arg]  # of whatever
    return [encode(item) for item in value]


@encode.register(tuple | set | frozenset)
def _(value: Any) -> Any:
    return {KIND: type(value).__name__, "items": [encode(item) for item in value]}


@encode.register
def _(value: Mapping) -> Any:  # type: ignore[type-arg]  # of whatever
    if all(type(key) is str for key in value):  # by name, so that what stands under one of a secret is known by it
        return {KIND: "object", "items": {key: encode(item) for key, item in value.items()}}
    return {KIND: "mapping", "items": [[encode(key), encode(item)] for key, item in value.items()]}


@encode.register
def _(value: pd.DataFrame) -> Any:
    return {KIND: "table", "dtypes": [str(dtype) for dtype in value.dtypes], **_columns(value)}


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """By name where names are texts, so that one of a secret is known by it."""
    return {
        "index": None if isinstance(frame.index, pd.RangeIndex) else [encode(one) for one in frame.index],
        "index_name": encode(frame.index.name),
        "columns": [
            [encode(name), {str(name): _cells(frame.iloc[:, place])}] for place, name in enumerate(frame.columns)
        ],
    }


def _cells(column: pd.Series) -> list[Any]:
    """Numbers at once, for there are many: what is missing among them is null."""
    kind = column.dtype.kind
    if kind == "f":
        return [one if isfinite(one) else None if isnan(one) else encode(one) for one in column.tolist()]
    if kind == "M":
        return [str(one) for one in np.datetime_as_string(column.to_numpy("datetime64[ns]"))]
    if kind in "iub":
        return list(column.tolist())
    return [one if type(one) is str else encode(one) for one in column]


def decode(value: Any) -> Any:
    """What ``encode`` was given; ValueError where *value* is not of its making."""
    if isinstance(value, list):
        return _decode_all(value)
    if not isinstance(value, dict):
        return value
    try:
        return _DECODERS[value[KIND]](value)
    except (KeyError, TypeError, AttributeError, ImportError, IndexError, StopIteration, OverflowError) as error:
        raise ValueError(f"not a captured value: {type(error).__name__}: {error}") from None


def _decode_all(values: list[Any]) -> list[Any]:
    return [decode(one) if type(one) in (dict, list) else one for one in values]


def _table(value: dict[str, Any]) -> pd.DataFrame:
    names = [decode(name) for name, _ in value["columns"]]
    columns = [pd.Series(_decode_all(next(iter(cells.values()))), dtype="object") for _, cells in value["columns"]]
    typed = [_typed(one, dtype) for one, dtype in zip(columns, value["dtypes"], strict=True)]
    frame = pd.DataFrame(dict(enumerate(typed)))
    frame.columns = pd.Index(names)
    if value["index"] is not None:
        frame.index = pd.Index(_decode_all(value["index"]), name=decode(value.get("index_name")))
    return frame


def _typed(column: pd.Series, dtype: str) -> pd.Series:
    """Redaction may have put a text into a column of numbers: then it stays as it is."""
    if dtype.startswith("datetime64"):
        return pd.to_datetime(column, utc="UTC" in dtype).astype(dtype)
    try:
        return column.astype(dtype)
    except (TypeError, ValueError):
        return column


def _name_of(kind: type) -> str:
    if not kind.__module__.startswith(_OURS):
        raise TypeError(f"a {kind.__name__} cannot be kept")
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(name: str) -> type:
    module, _, kind = name.partition(":")
    found = getattr(import_module(module), kind) if module.startswith(_OURS) else None
    if not (isinstance(found, type) and (is_dataclass(found) or issubclass(found, Enum))):
        raise TypeError(f"'{name}' is no class of readings")
    return found


def _instance(value: dict[str, Any]) -> Any:
    """Fields that a newer release has, and the capture has not, have their defaults; those that are gone are left out."""
    kind = _find(value["of"])
    known = {field.name for field in fields(kind) if field.init}
    given = {name: decode(item) for name, item in value["fields"].items() if name in known}
    counters = {field.name for field in fields(kind) if field.default_factory is Counter}  # asked for what they lack
    return kind(**given | {name: Counter(given[name]) for name in counters & given.keys()})


def _decode_items(value: dict[str, Any]) -> Any:
    return _SEQUENCES[value[KIND]]([decode(item) for item in value["items"]])


_DECODERS: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "table": _table,
    "class": _instance,
    "enum": lambda value: _find(value["of"])(value["value"]),
    "object": lambda value: {key: decode(item) for key, item in value["items"].items()},
    "mapping": lambda value: {decode(key): decode(item) for key, item in value["items"]},
    "timestamp": lambda value: pd.Timestamp(value["value"]),
    "datetime": lambda value: datetime.fromisoformat(value["value"]),
    "timedelta": lambda value: timedelta(seconds=value["value"]),
    "bytes": lambda value: value["value"].encode("latin-1"),
    "float": lambda value: float(value["value"]),
    "missing": lambda _: pd.NaT,
    **dict.fromkeys(_SEQUENCES, _decode_items),
}
