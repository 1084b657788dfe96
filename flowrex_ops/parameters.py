"""Parameters as people give them, held against what a runbook takes, before a kernel starts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from flowrex_ops.archive.folders import FOLDER_ID
from flowrex_ops.catalog import NOTEBOOKS, Parameter, Runbook, get_runbook
from flowrex_ops.durations import parse_duration
from flowrex_ops.errors import ParameterError, UsageError, nearest
from flowrex_ops.mitigations import split_approval


def validate(runbook: Runbook, given: Mapping[str, Any]) -> dict[str, Any]:
    """*given* with every value in its parameter's type. ParameterError names the first that is unknown, or wrong."""
    known = {parameter.name: parameter for parameter in runbook.parameters}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise ParameterError(_unknown(runbook, name, list(known)))
        values[name] = _converted(known[name], value)
        _require_possible(known[name], values[name])
    if values.get("approve") and not values.get("operator"):
        raise ParameterError("approve: what changes the platform is done in somebody's name; add --operator NAME")
    return values


OF_EVERY_RUNBOOK = (
    Parameter("incident_id", "str", "", ""),
    Parameter("since", "str", "30m", ""),
    Parameter("approve", "list", [], ""),
    Parameter("operator", "str", "", ""),
    Parameter("settings", "str", "", ""),
)


def validate_started(
    slug: str, given: Mapping[str, Any], namespace: MutableMapping[str, Any], folder: Path = NOTEBOOKS
) -> dict[str, Any]:
    """*given* of a notebook that somebody else started, with every value in its parameter's type.

    papermill's own command makes ``-p approve X`` a text and ``-p since 30`` a number, for it knows no other types. The runbook's
    remaining parameters are converted in the kernel's *namespace*. ``None`` is the default. ParameterError names the first that is wrong.
    """
    try:
        others = [one for one in get_runbook(slug, folder).parameters if one.name not in given]
    except UsageError:
        others = []  # a notebook of somebody's own, in a folder that is not known here
    for parameter in others:
        if parameter.name in namespace:
            namespace[parameter.name] = _required(parameter, namespace[parameter.name])
    return {one.name: _required(one, given.get(one.name)) for one in OF_EVERY_RUNBOOK}


def _required(parameter: Parameter, value: Any) -> Any:
    value = parameter.default if value is None else _converted(parameter, value)
    _require_possible(parameter, value)
    return value


def _unknown(runbook: Runbook, name: str, known: list[str]) -> str:
    return f"'{name}' is not a parameter of {runbook.slug}; {nearest(name, known)}"


def _converted(parameter: Parameter, value: Any) -> Any:
    try:
        return _CONVERT[parameter.type](value)
    except (ValueError, TypeError):
        wanted = _WANTED[parameter.type]
        hint = f"; such as {parameter.default!r}" if parameter.default else ""
        if parameter.type == "str":
            hint += f"; papermill's -r {parameter.name} keeps what was typed"
        raise ParameterError(f"{parameter.name}: '{value}' is not {wanted}{hint}") from None


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _whole(value: Any) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError
    return list(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "float": _number,
    "int": _whole,
    "bool": _truth,
    "list": _list,
}
_WANTED = {
    "str": "a text",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list: a,b or a JSON list",
}


def _require_possible(parameter: Parameter, value: Any) -> None:
    """What a type cannot say. The name tells the unit: ``_seconds`` and ``_days`` are spans, ``_ratio`` a share, unless its default is more."""
    name = parameter.name
    if name.endswith(("_seconds", "_minutes")) and value <= 0:
        raise ParameterError(f"{name}: {value:g} is not a span of time; give more than 0 {name.rpartition('_')[2]}")
    if name.endswith("_days") and value < 0:
        raise ParameterError(f"{name}: {value:g} is not a number of days; give 0 or more")
    if name.endswith("_ratio") and parameter.default <= 1 and not 0 < value <= 1:
        raise ParameterError(f"{name}: {value:g} is not a share; give more than 0 and at most 1")
    if name == "operator" and value and not any(character.isalnum() for character in value):
        raise ParameterError(f"operator: {value!r} names nobody; give a name")
    if name == "since":
        parse_duration(value)
    if name == "incident_id" and value and not FOLDER_ID.fullmatch(value):
        raise ParameterError(f"incident_id: '{value}' is not an incident; one looks like INC-20260131-0412-a1b2")
    if name == "approve":
        for item in value:
            split_approval(item)
    if name == "settings" and value and not Path(value).is_file():
        raise ParameterError(f"settings: '{value}' does not exist; give the path of a settings file")
