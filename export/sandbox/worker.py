"""Child process of `keras_se.export.sandbox.runner`: `python worker.py PACKAGES`, where PACKAGES is JSON.

Each line on standard input is the folder of a request, as JSON. On standard output it prints a line for each item that
the function goes through, and `exchange.DONE` after the answer; everything else goes to a file in the folder.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any


def main(packages: dict[str, list[str]]) -> None:
    """Answer requests until standard input ends."""
    # Ctrl-C goes to all processes of a terminal; what becomes of this one its parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):  # no such limits on Windows
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    beats = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    answer = answers(packages, lambda: beats.write(b"\n"))
    exchange: Any = importlib.import_module("keras_se.export.sandbox.exchange")
    for folder in _requests():
        with (folder / "chatter").open("wb") as chatter:
            os.dup2(chatter.fileno(), 1)
            os.dup2(chatter.fileno(), 2)
        function = json.loads((folder / "request.json").read_text())["function"]
        values = answer(function, partial(exchange.read_values, folder / "arguments"))
        try:
            exchange.write_values(folder / "answer", values)
        except OSError:
            os._exit(exchange.NO_SPACE)
        beats.write(exchange.DONE)


def answers(packages: dict[str, list[str]], beat: Callable[[], object]) -> Callable[..., dict[str, Any]]:
    """Load the packages, and return the function that answers a request: a function's name, and what reads arguments.

    Args:
        packages: folders of each package.
        beat: called for each item that the function goes through.
    """
    sys.path.pop(0)  # this file's folder, whose modules have names of their own
    for name, paths in packages.items():
        # The packages without their __init__, which imports Keras: that takes seconds.
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = paths
    # By name and now: an ordinary import at the top would find the packages with their __init__.
    progress: Any = importlib.import_module("keras_se.progress")
    exchange: Any = importlib.import_module("keras_se.export.sandbox.exchange")
    runner: Any = importlib.import_module("keras_se.export.sandbox.runner")
    errors = importlib.import_module("keras_se.errors")
    runner.is_child = True

    def track(items, *_, **__):
        for item in items:
            yield item
            beat()

    progress.track = track

    def answer(name: str, arguments: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        function = None
        try:
            function = exchange.find_function(name)
            return function(**arguments())
        except Exception as error:
            line = " ".join(f"{error}".split()) or type(error).__name__
            return {"error": line, "input": isinstance(error, errors.InputError), "found": function is not None}

    return answer


def _requests() -> Iterator[Path]:
    """Yield the folders of the requests. When the parent is gone, the process ends whatever it runs."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", buffering=0) as requests:  # a lock of a buffer would abort a process that ends meanwhile
            for line in requests:
                lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield Path(json.loads(lines.get()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
