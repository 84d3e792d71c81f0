"""Arguments of public functions: their classes, checked against the annotations, and numbers as people write them."""

from __future__ import annotations

import builtins
import collections.abc
import dataclasses
import functools
import inspect
import math
import numbers
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from nagindex.errors import ArgumentTypeError, BadInputError

SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e\+?(\d{1,2}))?\s*([kmbt%]?)", re.ASCII)
_THOUSANDS = re.compile(r"(?<=\d)[,_](?=\d{3}(?!\d))")
_WIDER: dict[Any, type] = {int: numbers.Integral, float: numbers.Real, Path: os.PathLike}
"""What stands for a class: NumPy's numbers for Python's, any path for a Path."""
P = ParamSpec("P")
R = TypeVar("R")


def parse_count(value: float | str, *, name: str | None = None) -> int:
    """Return a whole number of at least 1 that is written as a number, or as text such as `1M`, `1.5k` or `1e6`.

    Args:
        value: the number; k, M, B and T stand for 10^3, 10^6, 10^9 and 10^12.
        name: the parameter that it is given as, for the message.

    Raises:
        BadInputError: it is no such number.
    """
    number = _number(value)
    if number is None or number < 1 or number.denominator != 1:
        raise BadInputError(
            f"{_prefix(name)}{value!r} is not a whole number of at least 1; write 1000000, 1e6, 1M or 1.5M (k, M, B, T)"
        )
    return int(number)


def parse_share(value: float | str, *, name: str | None = None) -> float:
    """Return a share above 0 and at most 1 that is written as a number, or as text such as `0.2` or `20%`.

    Args:
        value: the share.
        name: the parameter that it is given as, for the message.

    Raises:
        BadInputError: it is no such share.
    """
    number = _number(value)
    if number is None or not 0 < number <= 1:
        raise BadInputError(f"{_prefix(name)}{value!r} is not a share above 0 and at most 1; write 0.2 or 20%")
    return float(number)


def written_layers(layers: str | int | Sequence[int] | None) -> str | None:
    """Return layers that are given as text or as numbers, as text such as `0,2`; None for all."""
    if layers is None or isinstance(layers, str):
        return layers
    return ",".join(map(str, layers if isinstance(layers, Iterable) else [layers]))


def layer_ranges(numbers: Sequence[int]) -> str:
    """Return ascending layer numbers as text such as `0-9,12`."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def _number(value: object) -> Fraction | None:
    """Return a number exactly as it is written; None if it is none."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return Fraction(str(value)) if math.isfinite(value) else None
    match = _NUMBER.fullmatch(_THOUSANDS.sub("", value.strip().lower())) if isinstance(value, str) else None
    if match is None:
        return None
    scale = Fraction(1, 100) if match[3] == "%" else Fraction(SUFFIXES[match[3]])
    return Fraction(match[1]) * Fraction(10) ** int(match[2] or 0) * scale


def _prefix(name: str | None) -> str:
    return "" if name is None else f"`{name}`: "


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return a public function that refuses arguments of another class than annotated, and keywords that it does not have.

    The keys of a TypedDict that unpacks into keywords count as parameters.
    """
    signature = inspect.signature(function)

    variadic = {p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD}

    @functools.wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        own = _hints(function)
        unpacked = {name: kind for one in variadic for name, kind in _hints(typing.get_args(own[one])[0]).items()}
        hints = {name: own.get(name, Any) for name in signature.parameters if name not in variadic} | unpacked
        _require_known(kwargs, hints.keys() - {"self", "cls"}, function)
        given = signature.bind(*args, **kwargs).arguments
        for name, value in ({name: value for name, value in given.items() if name not in variadic} | kwargs).items():
            require_type(name, value, hints[name])
        return function(*args, **kwargs)

    return checking


def check_fields(instance: Any) -> None:
    """Raise ArgumentTypeError unless the fields of a dataclass have the classes that it declares."""
    hints = _hints(instance.__class__)
    for field in dataclasses.fields(instance):
        if not field.init:  # made from the others
            continue
        require_type(field.name, getattr(instance, field.name), hints[field.name])


def require_type(name: str, value: object, wanted: Any) -> None:
    """Raise ArgumentTypeError, naming the parameter, unless a value is of a class, and so are its elements.

    Args:
        name: the parameter.
        value: what was given.
        wanted: the annotation: a class, a union, a literal or a generic class.
    """
    if not _fits(value, wanted):
        given = f"{value!r:.60} of class" if isinstance(value, (str, numbers.Number, list, tuple, dict)) else "a"
        raise ArgumentTypeError(f"`{name}`: {given} {type(value).__name__} was given; give {_described(wanted)}")


def _require_known(given: Iterable[str], known: Collection[str], function: Callable[..., Any]) -> None:
    """Raise BadInputError, with all parameters, for a keyword that is none of them."""
    for name in given:
        if name not in known:
            named = ", ".join(sorted(known))
            raise BadInputError(f"no option {name!r} of `{function.__name__}`; there are {named}")


def _fits(value: object, wanted: Any) -> bool:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    kind = origin or wanted
    if kind in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in parts)
    if kind is typing.Literal:
        return isinstance(value, tuple({type(one) for one in parts}))
    if kind is collections.abc.Callable:
        return callable(value)
    if not isinstance(kind, type) or kind is Any:  # a type variable, or a name that only type checkers import
        return True
    if isinstance(value, bool) and kind in (int, float):
        return False
    return isinstance(value, _WIDER.get(kind, kind)) and _elements_fit(value, parts)


def _elements_fit(value: object, kinds: Sequence[Any]) -> bool:
    """Return whether the elements of a list, a tuple or a mapping fit; one of each class is looked at."""
    if isinstance(value, Mapping) and len(kinds) == 2:
        return _elements_fit([*value], kinds[:1]) and _elements_fit([*value.values()], kinds[1:])
    if not isinstance(value, (list, tuple)) or not kinds:
        return True
    return all(_fits(one, kinds[0]) for one in {type(one): one for one in value}.values())


def _described(wanted: Any) -> str:
    """Return an annotation in words, such as `str, Path or None`."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType, typing.Literal):
        words = list(dict.fromkeys(repr(one) if origin is typing.Literal else _described(one) for one in parts))
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    if wanted is type(None):
        return "None"
    return str(getattr(origin or wanted, "__name__", wanted))


@functools.cache
def _hints(annotated: Hashable) -> Mapping[str, Any]:
    """Return the annotations of a function or class, resolved; names that only type checkers import are Any."""
    known = vars(sys.modules[str(annotated.__module__)])

    class Names(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return known.get(name, getattr(builtins, name, Any))

    return typing.get_type_hints(annotated, known, Names())
