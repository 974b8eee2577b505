"""One inference of TFLite Micro in an arena of a given size: `python -P tflite_micro_trial.py FILE BYTES`.

A process of its own: an arena that is too small ends it by a segmentation fault more often than by an error. It is run
by its path, without the package, whose import takes longer than the inference. What the arena holds is printed on
standard error.
"""

import sys

import numpy as np
from tflite_micro.python.tflite_micro import runtime  # pyright: ignore[reportMissingImports]


def main(file: str, arena_bytes: int) -> None:
    """Run the file on an input of zeros, and print what it allocated."""
    interpreter = runtime.Interpreter.from_file(file, arena_size=arena_bytes)
    taken = interpreter.get_input_details(0)
    interpreter.set_input(np.zeros(taken["shape"], taken["dtype"]), 0)
    interpreter.invoke()
    interpreter.print_allocations()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
