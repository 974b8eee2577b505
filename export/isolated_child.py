"""The child of `keras_se.export.isolated`: `python isolated_child.py FOLDER`, with the request in that folder.

A line on standard output for each item that the function goes through; everything else goes to standard error.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def main(folder: Path) -> None:
    """Run the requested function and write its answer, or the line of its error, into the folder."""
    request = json.loads((folder / "request.json").read_text())
    with contextlib.suppress(ImportError):  # no such limits on Windows
        resource: Any = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file behind
    sys.path.pop(0)  # this file's folder, whose modules have names of their own
    for name, paths in request["packages"].items():
        # The packages without their __init__, which imports Keras: that takes seconds.
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = paths
    beats = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # By name and now: an ordinary import at the top would find the packages with their __init__.
    progress: Any = importlib.import_module("keras_se.progress")
    isolated = importlib.import_module("keras_se.export.isolated")
    errors = importlib.import_module("keras_se.errors")

    def track(items, *_, **__):
        for item in items:
            yield item
            beats.write("\n")

    progress.track = track
    module, name = request["function"].split(":")
    try:
        function = getattr(importlib.import_module(module), name)
        answer = function(**isolated.read_values(folder / "arguments"))
    except Exception as error:
        line = " ".join(f"{error}".split()) or type(error).__name__
        answer = {"error": line, "input": isinstance(error, errors.InputError)}
    isolated.write_values(folder / "answer", answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
