"""Least working memory in which TFLite Micro runs a file.

In: the bytes of a file. Out: the size of its arena, found by running the file in smaller and smaller ones, each time in
a process of its own.
"""

import re
import subprocess
import tempfile
from bisect import bisect_left
from functools import cache
from itertools import count
from pathlib import Path

from keras_se.errors import InputError
from keras_se.export.runtimes.tflite_micro import ample_arena
from keras_se.export.sandbox.command import failure, run_python
from keras_se.optional_packages import import_extra

TRIAL = Path(__file__).with_name("tflite_micro_trial.py")
"""Program that runs a file once in an arena of a given size."""

_BLOCK = 256  # bytes: finer would take twice the trials
_RECORDED = re.compile(r"Arena allocation total (\d+) bytes")


def arena_bytes(content: bytes) -> int:
    """Return the least arena in which TFLite Micro runs a file, in bytes, to the next multiple of 256.

    TFLite Micro records less after an inference: planning takes memory too, and gives it back.

    Raises:
        InputError: TFLite Micro is not installed, or does not run the file.
    """
    import_extra("tflite_micro", "edge")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.tflite")
        file.write_bytes(content)
        ample = ample_arena(content)
        run = _trial(file, ample)
        recorded = _RECORDED.search(run.stderr)
        if run.returncode != 0 or recorded is None:
            raise InputError(
                f"TFLite Micro must run the file; in an arena of {ample} bytes it fails: {failure(run, 0)}; "
                "replace the operation, or export a trained network if this one is not"
            )
        first = -(-int(recorded[1]) // _BLOCK)

        @cache
        def runs(blocks: int) -> bool:
            return _trial(file, (first + blocks) * _BLOCK).returncode == 0

        enough = next(2**power - 1 for power in count() if runs(2**power - 1))
        least = bisect_left(range(enough + 1), True, lo=enough // 2, key=runs)
    return (first + least) * _BLOCK


def _trial(file: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Run the file once in an arena of that many bytes."""
    return run_python(["-P", TRIAL, file, size])
