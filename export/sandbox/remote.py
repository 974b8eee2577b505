"""A Python elsewhere, which runs files in place of the child process on this machine: a phone's, a Raspberry Pi's.

In: a command that starts it. Out: results of functions there, over its standard input and output. Nothing is pickled.
"""

import io
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_se.errors import InputError
from keras_se.export.sandbox import exchange, remote_worker
from keras_se.export.sandbox.remote_worker import ANSWER, DIED, HELLO, ITEM, NEEDED, PACKAGES, REQUEST, write_frame
from keras_se.progress import track

_OLDEST_PYTHON = (3, 11)
_START = 60
"""Seconds until Python must have begun there: an emulated one takes ten."""
_DECIDING = (
    *("asimddp", "asimdhp", "i8mm", "sve", "sve2", "sme"),
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8"),
)
"""Instruction sets by which XNNPACK chooses its kernels, as Linux names them."""
_READY = b"kse1 ready"
_BEGIN = (
    "import sys; sys.path[:] = filter(None, sys.path); "  # without the folder of the login and what lies there
    "print('kse1', 'ready', flush=True); "  # in two words, which no echo of this line has side by side
    "exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())).decode()); main()\n"
)
"""Typed at the prompt of `python -i -q`, so that no argument of the command needs quotes, which a shell in between
(ssh's) takes away. Nothing is sent behind it before it has answered, since the prompt reads ahead."""


@dataclass(frozen=True)
class Machine:
    """Where files run, and with what."""

    command: str
    python: str
    architecture: str
    """As `uname -m` says it: aarch64, x86_64."""
    processor: str
    processors: int
    """How many there are, for threads."""
    features: tuple[str, ...]
    """Instruction sets, as Linux names them: asimddp is Arm's dot product."""
    versions: Mapping[str, str]
    """Of ai-edge-litert and numpy."""

    def __str__(self) -> str:
        sets = "".join(f" {name}" for name in _DECIDING if name in self.features)
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.processor} ({self.architecture}{sets}), Python {self.python}, {versions}"


@contextmanager
def running_on(command: str, *, silence: float = 600) -> Iterator[Machine]:
    """Have LiteRT run elsewhere until the block ends: what compares, measures and diagnoses files does so there.

    Args:
        command: what starts Python there, with NumPy and the ai-edge-litert of this machine: `ssh pi@raspberrypi
            python3`, `docker run -i IMAGE python3`, `qemu-aarch64 -cpu cortex-a76 -L ROOT ROOT/usr/bin/python3.11`.
        silence: seconds that may pass between one image and the next.
    Raises:
        InputError: the command cannot be started, ends, is silent too long or starts no such Python.
    Example:
        >>> with running_on("python3") as machine:
        ...     rows = compare_all("run/model.keras", ["files/se_mobilenet.static_wi8_ai8.tflite"], images)
        >>> {row.machine for row in rows} == {str(machine)}
        True
    """
    remote = _Remote(command, silence)
    try:
        token = _remote.set(remote)
        try:
            yield remote.machine
        finally:
            _remote.reset(token)
    finally:
        remote.stop()


def machine() -> Machine | None:
    """Return where files run; None for this machine."""
    remote = _remote.get()
    return None if remote is None else remote.machine


def machine_name() -> str:
    """Describe where files run in one line; empty for this machine."""
    return str(machine() or "")


def call(function: str, *, by: str, file: Path | str, steps: int | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a function there, as `keras_se.export.sandbox.runner.call` does here.

    Raises:
        InputError: it crashed or raised an error, or the command ended or is silent.
    """
    remote = _remote.get()
    assert remote is not None
    return remote.call(function, by, file, steps, arguments)


class _Remote:
    """Process of the command, and the frames that come from it."""

    def __init__(self, command: str, silence: float):
        self._command, self._silence = command, silence
        self._frames: queue.Queue[tuple[bytes, bytes] | ValueError | None] = queue.Queue()
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"the command must be words as a shell reads them ({error}); got {command!r}") from None
        if not words:
            raise InputError("a command must start Python elsewhere, as 'ssh pi@raspberrypi python3'; got none")
        pipe = subprocess.PIPE
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        try:
            self._process = subprocess.Popen([*words, "-i", "-q"], stdin=pipe, stdout=pipe, stderr=self._said)
        except OSError as error:
            self._said.close()
            raise InputError(f"{command!r} must start Python; {words[0]} cannot be run ({error.strerror})") from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        try:
            self._reader.start()
            self.machine = self._introduced()
            self._send(PACKAGES, _packages())
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        output: Any = self._process.stdout
        try:
            with output:
                self._pass_on(output)
        except ValueError as error:
            self._frames.put(error)
        self._frames.put(None)

    def _pass_on(self, output: Any) -> None:
        if any(line.rstrip().endswith(_READY) for line in output):  # behind a prompt, and a greeting of the host
            self._frames.put((_READY, b""))
            while (frame := remote_worker.read_frame(output)) is not None:
                self._frames.put(frame)

    def _introduced(self) -> Machine:
        self._write(_BEGIN.encode())
        self._next(_START)
        program = Path(remote_worker.__file__).read_bytes()
        self._write(b"%d\n%s" % (len(program), program))
        kind, payload = self._next(_START)
        if kind != HELLO:
            raise self._rubbish(kind)
        fields = json.loads(payload)
        machine = Machine(self._command, **{**fields, "features": tuple(fields["features"])})
        if tuple(map(int, machine.python.split(".")[:2])) < _OLDEST_PYTHON:
            raise InputError(f"{self._command!r} must start Python 3.11 or newer; it is {machine.python}")
        for name in NEEDED:
            there, here = machine.versions[name], version(name)
            if there is None or (name != "numpy" and there != here):
                raise InputError(
                    f"the Python of {self._command!r} must have {name} {here}, as this one; it has {there or 'none'}: "
                    f"python3 -m pip install {name}=={here}"
                )
        return machine

    def call(self, function: str, by: str, file: Path | str, steps: int | None, arguments: dict) -> dict[str, Any]:
        if self._process.poll() is not None:
            raise InputError(f"{self._command!r} must start Python; it has ended")
        answers: list[tuple[bytes, bytes]] = []

        def items() -> Iterator[None]:
            while (frame := self._next(self._silence))[0] == ITEM:
                yield
            answers.append(frame)

        try:
            self._send(REQUEST, exchange.packed({"function": function, **arguments}))
            for _ in track(items(), f"Running {by}", total=steps):
                pass
        except BaseException:  # what it answers now would be taken for the next answer
            self.stop()
            raise
        [(kind, payload)] = answers
        if kind == DIED:
            raise InputError(exchange.crash(int(payload), by, file))
        if kind != ANSWER:
            raise self._rubbish(kind)
        return exchange.result(exchange.unpacked(payload), by, file)

    def _send(self, kind: bytes, payload: bytes) -> None:
        content = io.BytesIO()
        write_frame(content, kind, payload)
        self._write(content.getvalue())

    def _write(self, content: bytes) -> None:
        writer = threading.Thread(target=self._write_all, args=(content,), daemon=True)
        writer.start()
        writer.join(self._silence)
        if writer.is_alive():
            raise self._silent(self._silence)

    def _write_all(self, content: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which the next frame tells
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _next(self, seconds: float) -> tuple[bytes, bytes]:
        try:
            frame = self._frames.get(timeout=seconds)
        except queue.Empty:
            raise self._silent(seconds) from None
        if isinstance(frame, ValueError):
            raise self._rubbish(frame)
        if frame is None:
            status = self._process.wait()  # the program there ends the process, whatever happens in it
            ended = f"it ended with status {status}" if status >= 0 else f"signal {-status} ended it"
            raise InputError(f"{self._command!r} must start Python; {ended}{self._last_words()}")
        return frame

    def _silent(self, seconds: float) -> InputError:
        return InputError(f"{self._command!r} must start Python; it has not answered for {seconds:g} s")

    def _rubbish(self, got: object) -> InputError:
        return InputError(f"{self._command!r} must start Python, and print nothing else once it runs; it printed {got}")

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines()]
        last = [line for line in lines if line][-1:]
        return f": {last[0][:200]}" if last else ""

    def stop(self) -> None:
        """End the process; nothing is left there but what its system keeps."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._said.close()
        self._reader.join(1)  # what the command has started may hold the pipe open


_remote: ContextVar[_Remote | None] = ContextVar("remote", default=None)


def _packages() -> bytes:
    """Return a zip archive of the package's own modules and of all of export's; what runs of them imports no Keras."""
    outer, inner, *_ = __name__.split(".")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, pattern in ((outer, "*.py"), (f"{outer}.{inner}", "**/*.py")):
            [folder] = sys.modules[name].__path__
            for path in sorted(Path(folder).glob(pattern)):
                archive.write(path, os.path.join(name, path.relative_to(folder)))
    return content.getvalue()
