"""Program of a Python elsewhere that runs files there: `keras_se.export.sandbox.remote` sends this text over.

It needs NumPy and ai-edge-litert there, and none of this package: it says what the machine is, gets the modules that
import no Keras, as a zip archive, and then answers requests, each in a process forked for it, whose crash it survives.
Frames go both ways: `MAGIC`, a byte of kind, eight bytes of length, and so many bytes.
"""

import importlib
import importlib.metadata
import io
import json
import os
import platform
import struct
import sys
import tempfile
import zipfile

MAGIC = b"kse1"
HELLO, PACKAGES, REQUEST, ITEM, ANSWER, DIED = (b"h", b"p", b"r", b"i", b"a", b"d")
NEEDED = ("ai-edge-litert", "numpy")
_HEAD = struct.Struct(">4scQ")
_ARM_CORES = {  # by the part that /proc/cpuinfo tells, of Arm's own cores: Main ID Register, Arm's reference manuals
    "0xd03": "Cortex-A53",
    "0xd05": "Cortex-A55",
    "0xd08": "Cortex-A72",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
}


def write_frame(stream, kind, payload=b""):
    """Send a frame."""
    stream.write(_HEAD.pack(MAGIC, kind, len(payload)) + payload)
    stream.flush()


def read_frame(stream):
    """Return kind and payload of the next frame, or None at the end; a ValueError tells what is there instead."""
    head = stream.read(_HEAD.size)
    if head and not head.startswith(MAGIC):
        raise ValueError(ascii(head)[:60])
    if len(head) < _HEAD.size:
        return None
    _, kind, size = _HEAD.unpack(head)
    payload = stream.read(size)
    return (kind, payload) if len(payload) == size else None


def description():
    """Return what JSON can say of this machine: its processor, and the versions of what runs here."""
    facts = {}
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                facts.setdefault(name.strip(), value.strip())
    except OSError:
        pass  # no Linux
    arm = facts.get("CPU implementer") == "0x41" and _ARM_CORES.get(facts.get("CPU part", ""))
    return {
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "processor": facts.get("model name") or arm or platform.processor() or "unknown processor",
        "processors": os.cpu_count() or 1,
        "features": (facts.get("flags") or facts.get("Features") or "").split(),
        "versions": {name: _version(name) for name in NEEDED},
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def main():
    """Answer until standard input ends, and end the process: else the prompt would go on."""
    status = 1
    try:
        serve()
        status = 0
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def serve():
    """Say what this machine is, get the modules, and answer requests."""
    requests, frames = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no frame
    write_frame(frames, HELLO, json.dumps(description()).encode())
    sent = read_frame(requests)
    if sent is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(sent[1])) as archive:
            archive.extractall(folder)
        packages = {name: [os.path.join(folder, name)] for name in os.listdir(folder)}
        sys.path.insert(0, os.path.join(folder, "keras_se.export", "sandbox"))
        worker = importlib.import_module("worker")
        answer = worker.answers(packages, lambda: write_frame(frames, ITEM))
        exchange = importlib.import_module("keras_se.export.sandbox.exchange")
        while (request := read_frame(requests)) is not None:
            child = os.fork()
            if child == 0:
                values = exchange.unpacked(request[1])
                write_frame(frames, ANSWER, exchange.packed(answer(values.pop("function"), values.copy)))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if status:
                write_frame(frames, DIED, str(os.waitstatus_to_exitcode(status)).encode())
