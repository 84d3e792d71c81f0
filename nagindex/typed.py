"""Dataclasses out of JSON that anybody may have written: every value is of the type that its field declares."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = (1 << 63) - 1


def typed(kind: type[T], value: Any) -> T:
    """Return a JSON value as a type: a dataclass of its fields, a tuple of a list, and so on down.

    Whole numbers are 0 to 2**63 - 1, other numbers are finite, and texts can be written as UTF-8.

    Args:
        kind: a dataclass, or int, float, str, bool, Literal, X | None, tuple[X, ...] and dict[str, X] of such.
        value: what `json.loads` returned.

    Raises:
        ValueError: a value is of another type, a field is missing, or there is one too many.
    """
    return cast(T, _typed(kind, value))


def _typed(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return _fields_typed(cast(type, kind), value)
    origin, of = get_origin(kind), get_args(kind)
    if origin is UnionType:
        [other] = (one for one in of if one is not NoneType)
        return None if value is None else _typed(other, value)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(of[0], one) for one in value)
    if origin is dict and isinstance(value, dict):
        return {_typed(of[0], key): _typed(of[1], one) for key, one in value.items()}
    if origin is Literal and isinstance(value, str) and value in of:
        return value
    if origin is None and _HOLDS[kind](value):
        return value
    raise ValueError(f"no {kind}")


def _fields_typed(kind: type, value: Any) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or value.keys() - hints.keys():
        raise ValueError(f"no {kind.__name__}")
    try:
        return kind(**{name: _typed(hints[name], one) for name, one in value.items()})
    except TypeError as error:  # a field is missing
        raise ValueError(str(error)) from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_HOLDS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int and 0 <= value <= LARGEST,
    float: lambda value: type(value) in (int, float) and abs(value) <= LARGEST and math.isfinite(value),
    str: _is_text,
}
