"""Native tools in a process of their own.

In: the arguments of this interpreter. Out: the process when it has ended, and its failure as one line.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence


def run_python(arguments: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with these arguments to its end, and keep what it prints as text."""
    line = [sys.executable, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, errors="replace")


def failure(run: subprocess.CompletedProcess[str], line: int) -> str:
    """Say why a process failed, in one line: the signal that ended it, and a line of what it printed.

    Args:
        line: which one of the lines on standard error, or on standard output where that is empty; -1 is the last.
    """
    printed = [text.strip() for text in (run.stderr or run.stdout).splitlines() if text.strip()]
    ended = f"ended by {signal.Signals(-run.returncode).name}" if run.returncode < 0 else f"status {run.returncode}"
    return f"{printed[line]} ({ended})" if printed else ended
