"""Places of a model that SE is to stand in.

In: a model, and what the caller says of the layers: names, patterns, types, predicates, or "residual". Out: the layers.
"""

import difflib
import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from keras_se.errors import InputError
from keras_se.surgery.graphs import Call, Tensor, calls_of

RESIDUAL = "residual"

Place = str | type | Callable[[Any], bool]
"""Name or pattern of a layer's name, its class, or a function of it; or "residual"."""


def find_places(model: keras.Model, after: Place | Sequence[Place]) -> list[Call]:
    """Return the calls of the layers that `after` chooses, in the order in which they run.

    Raises:
        InputError: nothing is chosen by it, or by a part of it.
    """
    calls = [call for call in calls_of(model) if isinstance(call.operation, layers.Layer)]
    parts = [after] if isinstance(after, str | type) or callable(after) else after
    if not isinstance(parts, Sequence) or not parts:
        raise InputError(
            'after must be a name or a pattern of layers\' names, a class of layers, a function of a layer, "residual" '
            f"or a list of these; got {after!r:.80}"
        )
    chosen = {id(call.operation) for part in parts for call in _chosen(model, calls, part)}
    return [call for call in calls if id(call.operation) in chosen]


def _chosen(model: keras.Model, calls: Sequence[Call], part: Any) -> list[Call]:
    if part == RESIDUAL:
        return _before_additions(model)
    if isinstance(part, str):
        chosen = [call for call in calls if any(_matches(name, part) for name in (call.path, call.operation.name))]
        known = list(dict.fromkeys(call.path for call in calls))
        near = difflib.get_close_matches(part, known, n=3, cutoff=0.3) or known[:3]
        reason = f"no layer of {model.name} has the name {part!r}; near it are {', '.join(near)}"
    elif isinstance(part, type):
        chosen = [call for call in calls if isinstance(call.operation, part)]
        kinds = sorted({type(call.operation).__name__ for call in calls})
        reason = f"no layer of {model.name} is a {part.__name__}; it has {', '.join(kinds)}"
    elif callable(part):
        chosen = [call for call in calls if part(call.operation)]
        reason = f"after must choose a layer of {model.name}, and the function says True of none"
    else:
        raise InputError(f"after must be a name, a class or a function of a layer; got {part!r:.80}")
    if not chosen:
        raise InputError(reason)
    return chosen


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _before_additions(model: keras.Model) -> list[Call]:
    """Return the last layer of the branch that each Add takes, before a dropout of it.

    The branch is the one of two inputs that more layers with weights compute from where the two part.
    """
    calls = list(calls_of(model))
    writers = {id(output): call for call in calls for output in call.outputs}
    additions = [call for call in calls if type(call.operation).__name__ == "Add" and len(call.inputs) == 2]
    if not additions:
        raise InputError(f'{model.name} has no Add of two maps for after="residual"; give the names of its layers')
    return [_branch(addition, writers) for addition in additions]


def _branch(addition: Call, writers: dict[int, Call]) -> Call:
    behind = [_computing(tensor, writers) for tensor in addition.inputs]
    counts = [
        sum(bool(getattr(call.operation, "weights", [])) for key, call in own.items() if key not in other)
        for own, other in (behind, behind[::-1])
    ]
    if counts[0] == counts[1]:
        raise InputError(
            f"{addition.path} adds two maps of {counts[0]} layers with weights each, of which neither is the shortcut; "
            "give the names of the layers instead of residual"
        )
    call = writers[id(addition.inputs[counts.index(max(counts))])]
    while isinstance(call.operation, layers.Dropout):  # SE's mean is of the map before it
        call = writers[id(call.inputs[0])]
    return call


def _computing(tensor: Tensor, writers: dict[int, Call]) -> dict[int, Call]:
    """Return the calls that a tensor is computed by, by the id of what each gives first."""
    chosen: dict[int, Call] = {}
    open_ends = [tensor]
    while open_ends:
        call = writers.get(id(open_ends.pop()))
        if call is not None and id(call.outputs[0]) not in chosen:
            chosen[id(call.outputs[0])] = call
            open_ends += call.inputs
    return chosen
