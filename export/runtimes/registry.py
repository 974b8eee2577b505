"""Registry of the runtimes: each a module of this room, and one line here.

In: a runtime's name, a file and images. Out: the file's outputs, computed in a child process.
"""

from pathlib import Path
from typing import Any

import numpy as np

from keras_se.errors import InputError, find_named
from keras_se.export.runtimes import litert, openvino, tflite_micro
from keras_se.export.runtimes.base import Engine, Outputs
from keras_se.export.sandbox import runner
from keras_se.export.sandbox.remote import machine
from keras_se.export.tflite.model import TFLiteModel

ENGINES: dict[str, Engine] = {**litert.ENGINES, **tflite_micro.ENGINES, **openvino.ENGINES}


DEFAULT_ENGINES = tuple(name for name, engine in ENGINES.items() if engine.extra == "edge")
"""Engines that compare files by default: the same in every installation."""
ELSEWHERE = tuple(litert.ENGINES)
"""Those that run where `running_on` says."""


def default_engines() -> tuple[str, ...]:
    """Return the engines that compare files by default where files run now."""
    return DEFAULT_ENGINES if machine() is None else ELSEWHERE


def run_file(name: str, file: TFLiteModel, images: np.ndarray, path: Path | str) -> Outputs:
    """Run the images through a file, up to its logits, in a child process.

    Args:
        name: of the engine.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        path: the file's, for messages.
    Raises:
        InputError: there is no such engine, or it cannot run the file, or crashes on it.
    """
    return run_content(name, file.without_softmax.content, images, file.described(path))


def run_content(name: str, content: bytes, images: np.ndarray, file: str) -> Outputs:
    """Run the images through a file's content, to its very end, as `run_file` does.

    Args:
        file: the file's name, for messages.
    """
    check_engine(name)
    return Outputs(
        **runner.call(
            f"{__name__}:run_in_child",
            by=name,
            file=file,
            steps=len(images),
            anywhere=True,
            name=name,
            content=content,
            images=images,
        )
    )


def run_in_child(name: str, content: bytes, images: np.ndarray) -> dict[str, Any]:
    """Run an engine and return its outputs as a dictionary."""
    return ENGINES[name].run(content, images)._asdict()


def check_engine(name: str) -> None:
    """Refuse an engine that there is not, or not where files run now.

    Raises:
        InputError: it is one of those.
    """
    find_engine(name)
    there = machine()
    if there is not None and name not in ELSEWHERE:
        raise InputError(f"on {there.processor} the engine must be one of {', '.join(ELSEWHERE)}; got {name}")


def find_engine(name: str) -> Engine:
    """Return the engine of that name.

    Raises:
        InputError: there is none.
    """
    return find_named("engine", ENGINES, name)
