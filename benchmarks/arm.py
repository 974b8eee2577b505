"""Instructions of one inference on emulated Arm cores, and their ratios: what SE, lowering and int8 cost there.

    python benchmarks/arm_root.py arm
    python benchmarks/arm.py arm

Counts by a plugin of qemu, which gcc compiles, on one thread: runs with 1 and with 9 inferences, and an eighth of the
difference. That is exact to a per mille on any host; it is no time. Networks have random weights, at 224 pixels; int8
is `static_wi8_ai8`, calibrated on random images. Prints one row of Markdown a ratio, with the millions of instructions.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np

import keras_se
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.targets.registry import TARGETS

CORES = ("cortex-a53", "cortex-a76")
SIDE = 224  # pixels
INFERENCES = (1, 9)
PROGRAM = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
[taken] = interpreter.get_input_details()
interpreter.set_tensor(taken["index"], np.ones(taken["shape"], taken["dtype"]))
for _ in range(int(sys.argv[2])):
    interpreter.invoke()
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = compiled(folder)

        @cache
        def file(form: Form) -> Path:
            path = folder / f"{len(list(folder.iterdir()))}.tflite"
            path.write_bytes(converted(*form))
            return path

        @cache
        def millions(form: Form, core: str) -> float:
            counts = [count(options.root / core, core, plugin, file(form), number) for number in INFERENCES]
            return (counts[1] - counts[0]) / (INFERENCES[1] - INFERENCES[0]) / 1e6

        print(f"| ratio | {' | '.join(CORES)} | millions |\n|{'---|' * (len(CORES) + 2)}")
        for label, *forms in _ratios():
            if options.only in label:
                pairs = [[millions(form, core) for form in forms] for core in CORES]
                ratios = [f"{one / other:.3f}" for one, other in pairs]
                shown = ", ".join(f"{one:.1f}/{other:.1f}" for one, other in pairs)
                print(f"| {label} | {' | '.join(ratios)} | {shown} |", flush=True)


def converted(name: str, recipe: str, lowered: bool) -> bytes:
    """Return a network's file."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    if lowered:
        model = lower(model, TARGETS["phone_cpu"].lowering(RECIPES[recipe]))
    float_file = to_tflite(model)
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 3), "float32")
    ranges = calibrate(float_file, images, (0.0, 1.0)) if RECIPES[recipe].calibrated else None
    return quantize(float_file, RECIPES[recipe], ranges).content


def compiled(folder: Path) -> Path:
    """Compile the plugin."""
    plugin = folder / "count_instructions.so"
    source = Path(__file__).with_name("count_instructions.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", plugin, source], check=True)
    return plugin


def count(root: Path, core: str, plugin: Path, file: Path, inferences: int) -> int:
    """Return the instructions of Python's whole run with so many inferences."""
    python = root.absolute() / "usr" / "bin" / "python3.11"
    command = ["qemu-aarch64", "-cpu", core, "-L", root.absolute(), "-plugin", plugin, "-d", "plugin", python]
    done = subprocess.run([*command, "-c", PROGRAM, file, str(inferences)], capture_output=True, text=True, check=False)
    counted = re.search(r"^instructions (\d+)$", done.stderr, re.MULTILINE)
    if done.returncode or counted is None:
        sys.exit(f"arm.py: {file} did not run on {core}: {' '.join(done.stderr.split())[-300:]}")
    return int(counted[1])


if __name__ == "__main__":
    main()
