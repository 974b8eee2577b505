"""Instructions of one inference on emulated Arm cores, and their ratios: what SE, lowering and int8 cost there.

    python benchmarks/arm_root.py arm
    python benchmarks/arm.py arm

Counts by a plugin of qemu, which gcc compiles, on one thread, over 4 inferences behind a first one. That is exact to a
per mille on any host; it is no time. Networks have random weights and the statistics of random images, at 224 pixels;
int8 is `static_wi8_ai8`, calibrated on the same images. Prints one row of Markdown a ratio, with the millions of
instructions; with `--operations NETWORK`, one row an operation of that network in int8, each of which runs as a file of
its own.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import keras
import numpy as np

import keras_se
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.evaluation.profile import operations
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.targets.registry import TARGETS

CORES = ("cortex-a53", "cortex-a76")
SIDE = 224  # pixels
INFERENCES = 4
PROGRAM = f"""
import os
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

for path in sys.argv[1:]:
    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    for taken in interpreter.get_input_details():
        interpreter.set_tensor(taken["index"], np.ones(taken["shape"], taken["dtype"]))
    interpreter.invoke()
    os.getppid()
    for _ in range({INFERENCES}):
        interpreter.invoke()
    os.getppid()
"""

Build = Callable[[], keras.Model]


def ours(name: str, **arguments: object) -> Build:
    """Return a function that builds a network of this package."""
    return lambda: keras_se.create_model(name, input_shape=(SIDE, SIDE, 3), classes=1000, **arguments)


def theirs(name: str) -> Build:
    """Return a function that builds a network of keras.applications."""
    return lambda: getattr(keras.applications, name)(input_shape=(SIDE, SIDE, 3), weights=None)


KERAS = "keras.applications' "
PLAIN, WITH_SE = ("MobileNet", "ResNet-50"), ("SE-MobileNet", "SE-ResNet-50")
NETWORKS: dict[str, Build] = {
    "MobileNetV3-Small": ours("mobilenet_v3_small"),
    "MobileNetV3-Large": ours("mobilenet_v3_large"),
    f"{KERAS}MobileNetV3-Small": theirs("MobileNetV3Small"),
    f"{KERAS}MobileNetV3-Large": theirs("MobileNetV3Large"),
    "SE-MobileNet": ours("se_mobilenet"),
    "MobileNet": ours("se_mobilenet", placement="none"),
    "SE-ResNet-50": ours("se_resnet50"),
    "ResNet-50": ours("se_resnet50", placement="none"),
}
Form = tuple[str, str, bool]
"""Network, recipe, and whether it is in the form of `phone_cpu` or as Keras's converter writes it."""


def _ratios() -> list[tuple[str, Form, Form]]:
    int8 = "static_wi8_ai8"
    small, large = "MobileNetV3-Small", "MobileNetV3-Large"
    return [
        *(
            (f"{name} over keras.applications'", (name, int8, True), (KERAS + name, int8, False))
            for name in (small, large)
        ),
        *((f"SE-{name} over {name}", (f"SE-{name}", int8, True), (name, int8, True)) for name in PLAIN),
        *(
            (f"{name}, lowered over as it is", (name, int8, True), (name, int8, False))
            for name in (small, large, *WITH_SE)
        ),
        *(
            (f"{name}, int8 over float32", (name, int8, True), (name, "float32", True))
            for name in (small, large, WITH_SE[1])
        ),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder that arm_root.py made")
    parser.add_argument("--only", default="", help="ratios whose name has this in it")
    parser.add_argument("--operations", choices=NETWORKS, help="count the operations of this network in int8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        counter = Counter(options.root, Path(name))
        if options.operations:
            print_operations(counter, options.operations)
        else:
            print_ratios(counter, options.only)


def print_ratios(counter: "Counter", only: str) -> None:
    """Print a row a ratio whose label holds the text `only`."""

    @cache
    def millions(form: Form, core: str) -> float:
        [counted] = counter.millions(core, [converted(*form)])
        return counted

    print(f"| ratio | {' | '.join(CORES)} | millions |\n|{'---|' * (len(CORES) + 2)}")
    for label, *forms in _ratios():
        if only in label:
            pairs = [[millions(form, core) for form in forms] for core in CORES]
            ratios = [f"{one / other:.3f}" for one, other in pairs]
            shown = ", ".join(f"{one:.1f}/{other:.1f}" for one, other in pairs)
            print(f"| {label} | {' | '.join(ratios)} | {shown} |", flush=True)


def print_operations(counter: "Counter", name: str) -> None:
    """Print a row an operation, and one for those of a kind together."""
    file = converted(name, "static_wi8_ai8", not name.startswith(KERAS))
    alone = list(operations(file))
    counted = [counter.millions(core, [operation.content for operation in alone]) for core in CORES]
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(CORES))
    print(f"| operation | layer | {' | '.join(CORES)} |\n|{'---|' * (len(CORES) + 2)}")
    for operation, *millions in zip(alone, *counted, strict=True):
        print(f"| {operation.name} | {operation.layer} | {' | '.join(f'{number:.3f}' for number in millions)} |")
        kinds[operation.name] = [sum(pair) for pair in zip(kinds[operation.name], millions, strict=True)]
    for kind, sums in sorted(kinds.items(), key=lambda item: -item[1][-1]):
        number = sum(operation.name == kind for operation in alone)
        print(f"| **{kind}** | {number} in all | {' | '.join(f'{total:.3f}' for total in sums)} |")


@cache
def converted(name: str, recipe: str, lowered: bool) -> bytes:
    """Return a network's file."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    images = np.random.default_rng(0).random((8, SIDE, SIDE, 3), "float32")
    normalise(model, images)
    if lowered:
        model = lower(model, TARGETS["phone_cpu"].lowering(RECIPES[recipe]))
    float_file = to_tflite(model)
    ranges = calibrate(float_file, images, (0.0, 1.0)) if RECIPES[recipe].calibrated else None
    return quantize(float_file, RECIPES[recipe], ranges).content


def normalise(model: keras.Model, images: np.ndarray) -> None:
    """Give each batch normalisation the images' statistics, as training does.

    At its initial ones an untrained network's maps shrink until XNNPACK leaves an ADD of one to LiteRT's slower kernel.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


class Counter:
    """Instructions of files on emulated cores."""

    def __init__(self, root: Path, folder: Path):
        """Compile the plugin into the folder, where the files will lie too."""
        self._root, self._folder = root.absolute(), folder
        self._plugin = folder / "count_instructions.so"
        source = Path(__file__).with_name("count_instructions.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self._plugin, source], check=True)

    def millions(self, core: str, contents: Sequence[bytes]) -> list[float]:
        """Return the millions of instructions of one inference of each file."""
        files = [self._folder / f"{number}.tflite" for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        root = self._root / core
        qemu = ["qemu-aarch64", "-cpu", core, "-L", root, "-plugin", self._plugin, "-d", "plugin"]
        command = [*qemu, root / "usr" / "bin" / "python3.11", "-c", PROGRAM, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        counted = [int(number) for number in re.findall(r"^instructions (\d+)$", done.stderr, re.MULTILINE)]
        if done.returncode or len(counted) != 2 * len(files):
            sys.exit(f"arm.py: a file did not run on {core}: {' '.join(done.stderr.split())[-300:]}")
        return [(after - before) / INFERENCES / 1e6 for before, after in zip(counted[::2], counted[1::2], strict=True)]


if __name__ == "__main__":
    main()
