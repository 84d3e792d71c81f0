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
    return cast(T, _reader(cast(Any, kind))(value))


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a JSON value a type, put together once for each: a manifest has some for each of its files."""
    if dataclasses.is_dataclass(kind):
        return _reader_of_fields(cast(type, kind))
    origin, of = get_origin(kind), get_args(kind)
    if origin is UnionType:
        other = _reader(next(one for one in of if one is not NoneType))
        return lambda value: None if value is None else other(value)
    if origin is Literal:
        return _checked(kind, lambda value: isinstance(value, str) and value in of)
    if origin is tuple:
        each, is_list = _reader(of[0]), _checked(kind, lambda value: isinstance(value, list))
        return lambda value: tuple(map(each, is_list(value)))
    if origin is dict:
        key, each = map(_reader, of)
        is_dict = _checked(kind, lambda value: isinstance(value, dict))
        return lambda value: {key(name): each(one) for name, one in is_dict(value).items()}
    return _checked(kind, _HOLDS[kind])


def _checked(kind: Any, holds: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not holds(value):
            raise ValueError(f"no {kind}")
        return value

    return read


def _reader_of_fields(kind: type) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() - readers.keys():
            raise ValueError(f"no {kind.__name__}")
        try:
            return kind(**{name: readers[name](one) for name, one in value.items()})
        except TypeError as error:  # a field is missing
            raise ValueError(str(error)) from None

    return read


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
