"""Check arguments against the annotations of the functions that take them.

In: arguments by name, and functions. Out: nothing, or an error with the rule and the value.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

_WORDS = {
    bool: "True, False",
    int: "an integer",
    float: "a finite number",
    str: "text",
    Path: "a path",
    types.NoneType: "None",
}


def check_arguments(arguments: Mapping[str, Any], *functions: Callable, without: Collection[str] = ()) -> None:
    """Refuse keyword arguments that no function has, and values of another type than theirs says.

    Args:
        functions: the first that names an argument tells its type.
        without: names that are not the caller's to give.
    Raises:
        TypeError: no function has an argument of that name, with those that there are.
        ValueError: a value is of another type, with what is wanted and what was received.
    """
    hints: dict[str, Any] = {}
    for function in functions:
        known = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in without:
                hints.setdefault(name, known.get(name, Any))
    for name, value in arguments.items():
        if name not in hints:
            raise TypeError(f"the arguments must be among {', '.join(sorted(hints))}; got {name}={value!r:.80}")
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} must be {_words(hints[name])}; got {name}={value!r:.80}")


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any or (hint is str and callable(value)):  # an activation may be a function
        return True
    parts = typing.get_args(hint)
    if _is_union(hint):
        return any(_fits(value, part) for part in parts)
    if parts:  # of a collection
        if isinstance(value, str | Mapping) or not isinstance(value, Collection):
            return False
        length = len(parts) if typing.get_origin(hint) is tuple else None
        return length in (None, len(value)) and all(_fits(item, parts[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    parts = typing.get_args(hint)
    if _is_union(hint):
        return " or ".join(map(_words, parts))
    if parts:
        count = f"{len(parts)} " if typing.get_origin(hint) is tuple else ""
        return f"a list of {count}integers"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)
