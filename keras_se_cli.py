"""Command `keras-se`, quiet from before TensorFlow is loaded.

TensorFlow and LiteRT write to the process's standard error while they are imported and as they run. No module of
the package can come before that, since importing it imports Keras: so this one stands outside.
"""

import faulthandler
import io
import os
import signal
import sys
import tempfile
import threading
from types import FrameType


def main() -> int:
    """Run the command line; native code's chatter goes to a temporary file, Python's messages to standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Names of files need not be text, and text need not be in the terminal's alphabet.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may be closed
        sys.stdout.reconfigure(errors="backslashreplace")
    faulthandler.enable(sys.stderr)
    take_interrupts()
    try:
        with tempfile.TemporaryFile() as chatter:
            os.dup2(chatter.fileno(), 2)
            from keras_se.cli.main import run

            return run(sys.argv[1:])
    except KeyboardInterrupt:  # while TensorFlow is loaded
        print("keras-se: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"keras-se: {error}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and the interpreter's end takes a moment


def take_interrupts() -> None:
    """Have Ctrl-C raise KeyboardInterrupt wherever that works, unless the command was started to ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while (here := frame) is not None:
        if here.f_code.co_filename.startswith("<frozen importlib"):
            # Through the native code of a module that is being imported an exception can end the process by SIGSEGV.
            # Nothing is written meanwhile.
            print("keras-se: interrupted", file=sys.stderr, flush=True)
            os._exit(130)
        if here.f_code.co_name == "_xla_gc_callback":  # of JAX, which Keras imports: an exception there is ignored
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
            return
        frame = here.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
