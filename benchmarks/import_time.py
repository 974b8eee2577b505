"""The time of `import keras_se` over that of `import keras`, from interleaved fresh processes.

    python benchmarks/import_time.py --rounds 20

Both load the backend, which takes most of the time. Prints the ratio of the medians, and of each round's pair.
"""

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="processes of each kind")
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {"keras": [], "keras_se": []}
    for module in taken:  # once unmeasured: the files come into memory
        seconds_to_import(module)
    for _ in range(rounds):
        for module, seconds in taken.items():
            seconds.append(seconds_to_import(module))
    ratios = sorted(ours / theirs for ours, theirs in zip(taken["keras_se"], taken["keras"], strict=True))
    of_medians = statistics.median(taken["keras_se"]) / statistics.median(taken["keras"])
    quarter = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(f"{of_medians:.3f} of the medians; by pairs, the middle half is {quarter[0]:.3f} to {quarter[1]:.3f}")


def seconds_to_import(module: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
