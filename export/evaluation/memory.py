"""Memory that a file takes while it runs: of TFLite Micro's arena, and of this process.

In: a file's content. Out: bytes.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_se.export.runtimes.tflite_micro import micro_interpreter

_STATUS = Path("/proc/self/status")
_TOTAL = re.compile(rb"Arena allocation total (\d+) bytes")


def arena_bytes(content: bytes) -> dict[str, int]:
    """Under "arena_bytes" what TFLite Micro's recording allocator counts; to be run in a child process.

    That much stays in use. To start, the arena must be somewhat larger: the planner keeps its notes in what is free.

    Raises:
        RuntimeError: TFLite Micro cannot run the file.
    """
    interpreter = micro_interpreter(content)
    with tempfile.TemporaryFile() as printed, _standard_error(printed.fileno()):
        interpreter.print_allocations()
        printed.seek(0)
        [total] = _TOTAL.findall(printed.read())
    return {"arena_bytes": int(total)}


@contextlib.contextmanager
def _standard_error(file: int) -> Iterator[None]:
    """Redirect standard error, also that of native code, into a file."""
    kept = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def resident_bytes() -> int | None:
    """Return the physical memory of this process, and reset its peak; None where Linux's /proc is not."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Return the peak of physical memory since `resident_bytes` was called."""
    return _status("VmHWM")


def _status(field: str) -> int | None:
    if not _STATUS.exists():
        return None
    [kib] = re.findall(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(kib)
