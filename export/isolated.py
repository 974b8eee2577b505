"""A function of this package in a process of its own: what native code does to that process, it does to no other.

Engines read files in native code, where a damaged file can end the process. The child takes and gives a flat
dictionary through files of arrays and JSON (no pickles: its memory may be anything), and imports no Keras.
"""

import hashlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.progress import track

_CHILD = Path(__file__).with_name("isolated_child.py")

_made_here: set[bytes] = set()


def call(function: str, *, by: str, file: Path | str, steps: int | None = None, silence: float = 120, **arguments):
    """What the function returns, run in a child process.

    Args:
        function: `module:name`; neither the module nor what it imports may import Keras. It returns a dictionary
            whose values are arrays or what JSON can say.
        by: what runs the file, for messages.
        file: the file that is run, for messages.
        steps: how many items the function goes through with `keras_se.progress.track`.
        silence: seconds that may pass between them.
        arguments: of the function: arrays, bytes, or what JSON can say.
    Raises:
        InputError: the child died of a signal, raised an error, or was silent too long.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_values(folder / "arguments", arguments)
        (folder / "request.json").write_text(json.dumps({"function": function, "packages": _packages()}))
        with (folder / "chatter").open("wb") as chatter:
            child = subprocess.Popen(
                [sys.executable, str(_CHILD), name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=chatter
            )
            try:
                for _ in track(_beats(child, silence), f"Running {by}", total=steps):
                    pass
                child.wait(silence)
            except (queue.Empty, subprocess.TimeoutExpired):
                raise InputError(f"{by} has not answered on {file} for {silence:g} s; is the file whole?") from None
            finally:
                child.kill()
                child.wait()
        return _answer(folder, child.returncode, by, file)


def _packages() -> dict[str, list[str]]:
    """The packages that this module is in, and where they are."""
    outer, inner = __name__.split(".")[:-1]
    return {name: list(sys.modules[name].__path__) for name in (outer, f"{outer}.{inner}")}


def _beats(child: subprocess.Popen, silence: float) -> Iterator[None]:
    """One for each line of the child, until it closes its output."""
    lines: queue.Queue[bytes] = queue.Queue()
    output = child.stdout
    assert output is not None

    def read() -> None:
        with output:
            for line in output:
                lines.put(line)
        lines.put(b"")

    threading.Thread(target=read, daemon=True).start()
    while lines.get(timeout=silence):
        yield


def _answer(folder: Path, status: int, by: str, file: Path | str) -> dict[str, Any]:
    if status < 0:
        raise InputError(
            f"{by} crashed on {file} (signal {_signal(-status)}); the file is damaged or asks for more than {by} can do"
        )
    if not (folder / "answer.json").exists():
        raise InputError(f"{by} ended on {file} with status {status}; the file is damaged, or memory ran out")
    answer = read_values(folder / "answer")
    if "error" not in answer:
        return answer
    if answer["input"]:
        raise InputError(answer["error"])
    raise InputError(f"{by} cannot run {file}: {answer['error']}{_last_words(folder / 'chatter')}")


def _last_words(chatter: Path) -> str:
    """What native code said last on standard error: TFLite Micro gives its reasons nowhere else."""
    lines = [line.strip() for line in chatter.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(("INFO:", "WARNING:"))][-2:]
    return f" ({'; '.join(said)[:300]})" if said else ""


def _signal(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, str(number))


def write_values(stem: Path, values: dict[str, Any]) -> None:
    """A flat dictionary as two files: its arrays and its bytes, and the rest as JSON."""
    raw = [name for name, value in values.items() if isinstance(value, bytes)]
    arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    arrays |= {name: np.frombuffer(values[name], np.uint8) for name in raw}
    np.savez(stem.with_suffix(".npz"), **arrays)
    rest = {name: value for name, value in values.items() if name not in arrays}
    stem.with_suffix(".json").write_text(json.dumps({"values": rest, "bytes": raw}))


def read_values(stem: Path) -> dict[str, Any]:
    """The dictionary of `write_values`."""
    document = json.loads(stem.with_suffix(".json").read_text())
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return document["values"] | arrays | {name: arrays[name].tobytes() for name in document["bytes"]}


def vouch_for(content: bytes) -> None:
    """Say that this process made the file: it needs no child to run it."""
    _made_here.add(_key(content))


def is_made_here(content: bytes) -> bool:
    """Whether this process made the file."""
    return _key(content) in _made_here


def _key(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
