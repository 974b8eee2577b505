"""Time of `import keras_se` over that of `import keras`.

    python benchmarks/import_time.py --rounds 10

Each round is a process that imports keras and then keras_se, which has nothing left to load but itself: both are of
the same moment on the machine, whatever else it does. Prints the median of the rounds' ratios, and their extremes.
"""

import argparse
import statistics
import subprocess
import sys

SCRIPT = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
import keras_se
end = time.perf_counter()
print((end - start) / (middle - start))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="processes")
    rounds = parser.parse_args().rounds
    ratios = [ratio_in_a_process() for _ in range(rounds + 1)][1:]  # the first brings the files into memory
    print(f"{statistics.median(ratios):.3f}, of {rounds} rounds from {min(ratios):.3f} to {max(ratios):.3f}")


def ratio_in_a_process() -> float:
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
