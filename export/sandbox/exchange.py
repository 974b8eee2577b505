"""Protocol of a process and its child: how a request names a function, and how values and an end are told.

In and out: flat dictionaries of arrays, bytes and what JSON can say, in files. No pickles: the child's memory may be
anything.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

DONE = b"done\n"
"""Line that the child prints after an answer; any other line is an item of `track`."""

NO_SPACE = 74
"""Exit status of a child that cannot write its answer: EX_IOERR of sysexits.h."""


def find_function(name: str) -> Any:
    """Return the function that `module:name` names."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def write_values(stem: Path, values: dict[str, Any]) -> None:
    """Write a flat dictionary as two files: its arrays and its bytes, and the rest as JSON."""
    raw = [name for name, value in values.items() if isinstance(value, bytes)]
    arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays |= {name: np.frombuffer(values[name], np.uint8) for name in raw}
    np.savez(stem.with_suffix(".npz"), **arrays)
    rest = {name: value for name, value in values.items() if name not in arrays}
    stem.with_suffix(".json").write_text(json.dumps({"values": rest, "bytes": raw}))


def read_values(stem: Path) -> dict[str, Any]:
    """Read the dictionary that `write_values` wrote."""
    document = json.loads(stem.with_suffix(".json").read_text())
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return document["values"] | arrays | {name: arrays[name].tobytes() for name in document["bytes"]}
