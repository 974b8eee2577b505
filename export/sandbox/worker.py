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
from collections.abc import Iterator
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
    sys.path.pop(0)  # this file's folder, whose modules have names of their own
    for name, paths in packages.items():
        # The packages without their __init__, which imports Keras: that takes seconds.
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = paths
    beats = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # By name and now: an ordinary import at the top would find the packages with their __init__.
    progress: Any = importlib.import_module("keras_se.progress")
    exchange: Any = importlib.import_module("keras_se.export.sandbox.exchange")
    runner: Any = importlib.import_module("keras_se.export.sandbox.runner")
    errors = importlib.import_module("keras_se.errors")
    runner.is_child = True

    def track(items, *_, **__):
        for item in items:
            yield item
            beats.write(b"\n")

    progress.track = track
    for folder in _requests():
        with (folder / "chatter").open("wb") as chatter:
            os.dup2(chatter.fileno(), 1)
            os.dup2(chatter.fileno(), 2)
        function = None
        try:
            function = exchange.find_function(json.loads((folder / "request.json").read_text())["function"])
            answer = function(**exchange.read_values(folder / "arguments"))
        except Exception as error:
            line = " ".join(f"{error}".split()) or type(error).__name__
            answer = {"error": line, "input": isinstance(error, errors.InputError), "found": function is not None}
        try:
            exchange.write_values(folder / "answer", answer)
        except OSError:
            os._exit(exchange.NO_SPACE)
        beats.write(exchange.DONE)


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
