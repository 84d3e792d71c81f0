"""Dataclasses from untrusted JSON: every value is checked against the type that its field declares."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = (1 << 63) - 1


def from_json(kind: type[T], value: Any) -> T:
    """Return a JSON value as an instance of a type: an object as a dataclass, an array as a tuple, recursively.

    Integers must be 0 to 2**63 - 1, other numbers finite, and strings encodable as UTF-8.

    Args:
        kind: a dataclass, or int, float, str, bool, Literal, X | None, tuple[X, ...] or dict[str, X] of these.
        value: a return value of `json.loads`.

    Raises:
        ValueError: a value has another type, or a field is missing or unknown.
    """
    return cast(T, _converter(cast(Any, kind))(value))


@cache
def _converter(kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts JSON values to a type; cached, as a manifest has values of one type for each file."""
    if dataclasses.is_dataclass(kind):
        return _dataclass_converter(cast(type, kind))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        convert = _converter(next(argument for argument in arguments if argument is not NoneType))
        return lambda value: None if value is None else convert(value)
    if origin is Literal:
        return _checked(kind, lambda value: isinstance(value, str) and value in arguments)
    if origin is tuple:
        item, require_list = _converter(arguments[0]), _checked(kind, lambda value: isinstance(value, list))
        return lambda value: tuple(map(item, require_list(value)))
    if origin is dict:
        key, item = map(_converter, arguments)
        require_dict = _checked(kind, lambda value: isinstance(value, dict))
        return lambda value: {key(name): item(member) for name, member in require_dict(value).items()}
    return _checked(kind, _PREDICATES[kind])


def _checked(kind: Any, predicate: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Return a function that returns its argument if the predicate holds for it, and raises ValueError otherwise."""

    def check(value: Any) -> Any:
        if not predicate(value):
            raise ValueError(f"not {kind}")
        return value

    return check


def _dataclass_converter(kind: type) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    converters = {field.name: _converter(hints[field.name]) for field in dataclasses.fields(kind)}

    def convert(value: Any) -> Any:
        if not isinstance(value, dict) or value.keys() - converters.keys():
            raise ValueError(f"not the fields of {kind.__name__}")
        try:
            return kind(**{name: converters[name](member) for name, member in value.items()})
        except TypeError as error:  # a field is missing
            raise ValueError(str(error)) from None

    return convert


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_PREDICATES: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int and 0 <= value <= LARGEST,
    float: lambda value: type(value) in (int, float) and abs(value) <= LARGEST and math.isfinite(value),
    str: _is_text,
}
