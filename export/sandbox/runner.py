"""Native code that reads files, in a child process: what it does to that process, it does to no other.

Engines read files in native code, where a damaged file, or one of our own with numbers that nobody foresaw, can end the
process. So no file runs in the user's process: one child runs them all, one after the other, since its start takes
longer than most runs. A child that dies is replaced. It imports no Keras.

In: the name of a function, and its arguments. Out: what the function returns, or an error in one line.
"""

import atexit
import errno
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_se.errors import InputError
from keras_se.export.sandbox import remote
from keras_se.export.sandbox.exchange import DONE, NO_SPACE, crash, find_function, read_values, result, write_values
from keras_se.progress import track

_CHILD = Path(__file__).with_name("worker.py")
is_child = False
"""True in the child, whose calls run there and start no other."""


def call(
    function: str,
    *,
    by: str,
    file: Path | str,
    steps: int | None = None,
    silence: float = 120,
    alone: bool = False,
    anywhere: bool = False,
    **arguments,
):
    """Run a function in a child process and return its result.

    Args:
        function: `module:name`; neither the module nor what it imports may import Keras. It returns a dictionary
            whose values are arrays or what JSON can say.
        by: what runs the file, for messages.
        file: the file that is run, for messages.
        steps: how many items the function goes through with `keras_se.progress.track`.
        silence: seconds that may pass between them.
        alone: in a child of its own, as measurements of memory and time ask for.
        anywhere: where `keras_se.export.sandbox.remote.running_on` says, if it does.
        arguments: of the function: arrays, bytes, or what JSON can say.
    Raises:
        InputError: the child died of a signal, raised an error, or was silent too long.
        ImportError: there is no such function.
        OSError: the temporary folder, which it names, cannot be written: the disk is full.
    """
    if is_child:
        return find_function(function)(**arguments)
    if anywhere and remote.machine() is not None:
        return remote.call(function, by=by, file=file, steps=steps, arguments=arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            write_values(folder / "arguments", arguments)
            (folder / "request.json").write_text(json.dumps({"function": function}))
        except OSError as error:  # of a write it names no file
            raise OSError(error.errno, error.strerror, str(folder.parent)) from error

        def run(worker: _Worker) -> int | None:
            try:
                for _ in track(worker.beats(folder, silence), f"Running {by}", total=steps):
                    pass
            except (queue.Empty, subprocess.TimeoutExpired):
                raise InputError(f"{by} has not answered on {file} for {silence:g} s; is the file whole?") from None
            return worker.status

        with _lock:
            status = _run_alone(run) if alone else _run_shared(run)
        return _answer(folder, status, by, file)


class _Worker:
    """A child process that answers one request after another."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.answered = 0
        self._child = subprocess.Popen(
            [sys.executable, str(_CHILD), json.dumps(_packages())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # that of a request goes to its folder
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        output = self._child.stdout
        assert output is not None
        with output:
            for line in output:
                self._lines.put(line)
        self._lines.put(b"")

    def beats(self, folder: Path, silence: float) -> Iterator[None]:
        """Yield once for each item of the request in the folder, until it is answered or the child has died.

        Whatever else ends it, as Ctrl-C does, ends the child too.
        """
        try:
            self._send(folder)
            while (line := self._lines.get(timeout=silence)) not in (DONE, b""):
                yield
            if line == DONE:
                self.answered += 1
            else:
                self._child.wait(silence)
        except BaseException:
            self.stop()
            raise

    def _send(self, folder: Path) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(str(folder)).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, which its status tells

    @property
    def status(self) -> int | None:
        """Return the exit status of a child that has died, negative after a signal; None while it lives."""
        return self._child.poll()

    @property
    def serves(self) -> bool:
        """Tell whether this process can go on with it: it lives, and is not that of a process forked from."""
        return self.status is None and self.owner == os.getpid()

    def stop(self) -> None:
        """End the child, unless it is that of the process that this one was forked from."""
        if self.owner == os.getpid():
            self._child.kill()
            self._child.wait()
            assert self._child.stdin is not None
            self._child.stdin.close()


_lock = threading.Lock()
_shared: _Worker | None = None


def _run_alone(run) -> int | None:
    worker = _Worker()
    try:
        return run(worker)
    finally:
        worker.stop()


def _run_shared(run) -> int | None:
    worker = _shared_worker()
    used = worker.answered > 0
    status = run(worker)
    # Memory that an earlier file has spoiled is not this one's fault.
    return run(_shared_worker()) if used and status is not None else status


def _shared_worker() -> _Worker:
    global _shared
    if _shared is None or not _shared.serves:
        stop()
        _shared = _Worker()
    return _shared


@atexit.register
def stop() -> None:
    """End the child that runs files, if there is one; the next call starts another."""
    global _shared
    if _shared is not None:
        _shared.stop()
        _shared = None


def _packages() -> dict[str, list[str]]:
    """Return the packages that this module is in, each with its folders."""
    outer, inner, *_ = __name__.split(".")
    return {name: list(sys.modules[name].__path__) for name in (outer, f"{outer}.{inner}")}


def _answer(folder: Path, status: int | None, by: str, file: Path | str) -> dict[str, Any]:
    if status == NO_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.parent))
    if status is not None and (status < 0 or not (folder / "answer.json").exists()):
        raise InputError(crash(status, by, file))
    return result(read_values(folder / "answer"), by, file, _last_words(folder / "chatter"))


def _last_words(chatter: Path) -> str:
    """Return what native code said last on standard error: TFLite Micro gives its reasons nowhere else."""
    lines = [line.strip() for line in chatter.read_text(errors="replace").splitlines()]
    last = [line for line in lines if line and not line.startswith(("INFO:", "WARNING:"))][-2:]
    return f" ({'; '.join(last)[:300]})" if last else ""
