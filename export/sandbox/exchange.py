"""Protocol of a process and its child: how a request names a function, and how values and an end are told.

In and out: flat dictionaries of arrays, bytes and what JSON can say, in files. No pickles: the child's memory may be
anything.
"""

import importlib
import io
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError

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
    arrays, rest = _divided(values)
    np.savez(stem.with_suffix(".npz"), **arrays)
    stem.with_suffix(".json").write_text(rest)


def read_values(stem: Path) -> dict[str, Any]:
    """Read the dictionary that `write_values` wrote."""
    rest = stem.with_suffix(".json").read_text()
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as archive:
        return _joined({name: archive[name] for name in archive.files}, rest)


def packed(values: dict[str, Any]) -> bytes:
    """Return a flat dictionary as the bytes of one .npz archive."""
    arrays, rest = _divided(values)
    content = io.BytesIO()
    np.savez(content, **{**arrays, _REST: np.frombuffer(rest.encode(), np.uint8)})
    return content.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """Return the dictionary that `packed` took."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return _joined(arrays, arrays.pop(_REST).tobytes().decode())


_REST = " rest"  # no name of an argument


def _divided(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    raw = [name for name, value in values.items() if isinstance(value, bytes)]
    arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays |= {name: np.frombuffer(values[name], np.uint8) for name in raw}
    rest = {name: value for name, value in values.items() if name not in arrays}
    return arrays, json.dumps({"values": rest, "bytes": raw})


def _joined(arrays: dict[str, Any], rest: str) -> dict[str, Any]:
    document = json.loads(rest)
    return document["values"] | arrays | {name: arrays[name].tobytes() for name in document["bytes"]}


def result(answer: dict[str, Any], by: str, file: Path | str, last_words: str = "") -> dict[str, Any]:
    """Return an answer, or raise the error that it tells.

    Args:
        last_words: what native code said of it.
    """
    if "error" not in answer:
        return answer
    if answer["input"]:
        raise InputError(answer["error"])
    if not answer["found"]:  # no file's fault
        raise ImportError(answer["error"])
    raise InputError(f"{by} cannot run {file}: {answer['error']}{last_words}")


def crash(status: int, by: str, file: Path | str) -> str:
    """Say in one line how a child ended that gave no answer."""
    if status >= 0:
        return f"{by} ended on {file} with status {status}; the file is damaged, or memory ran out"
    names = {known.value: known.name for known in signal.Signals}
    return (
        f"{by} crashed on {file} (signal {names.get(-status, -status)}); the file is damaged or asks for more than "
        f"{by} can do"
    )
