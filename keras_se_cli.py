"""The command `keras-se`, quiet from before TensorFlow is loaded.

TensorFlow and LiteRT write to the process's standard error while they are imported and as they run. No module of
the package can come before that, since importing it imports Keras: so this one stands outside.
"""

import faulthandler
import io
import os
import sys
import tempfile


def main() -> int:
    """Run the command line; native code's chatter goes to a temporary file, Python's messages to standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Names of files need not be text, and text need not be in the terminal's alphabet.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may be closed
        sys.stdout.reconfigure(errors="backslashreplace")
    faulthandler.enable(sys.stderr)
    try:
        with tempfile.TemporaryFile() as chatter:
            os.dup2(chatter.fileno(), 2)
            from keras_se.cli import run

            return run(sys.argv[1:])
    except KeyboardInterrupt:  # while TensorFlow is loaded
        print("keras-se: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"keras-se: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
