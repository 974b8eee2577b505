"""Time the export of SE-MobileNet at 224 pixels in five formats, over that of its one conversion to float.

    python benchmarks/five_formats.py [--rounds 3] [--images 8]

In turn, in one process: the float conversion alone; all five formats by `export`, with the calibration; and five runs
of the converter's own route, which converts the model anew for each. Ratios of medians to the first.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_se
from keras_se.export import export
from keras_se.export.conversion.converter import to_tflite

RECIPES = ("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")


def main() -> None:
    """Print the seconds of each round and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=8, help="images to calibrate on, in both routes")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = keras_se.create_model("se_mobilenet")
    images = np.random.default_rng(0).random((options.images, 224, 224, 3)).astype("float32")
    routes: dict[str, Callable[[], object]] = {
        "one float conversion": lambda: to_tflite(model),
        "five formats by export": lambda: exported(model, images),
        "five runs of the converter": lambda: converted(model, images),
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for number in range(options.rounds):
        for name, route in routes.items():
            start = time.perf_counter()
            route()
            seconds[name].append(time.perf_counter() - start)
            print(f"round {number + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
    base, *others = (np.median(values) for values in seconds.values())
    for name, value in zip(list(routes)[1:], others, strict=True):
        print(f"{name}: {value / base:.2f} times one float conversion")


def exported(model: keras.Model, images: np.ndarray) -> None:
    """Export by our route: the files and their manifests."""
    with tempfile.TemporaryDirectory() as folder:
        export(model, folder, recipes=RECIPES, calibration=images)


def converted(model: keras.Model, images: np.ndarray) -> None:
    """Convert with TensorFlow's own converter, from a saved model, as `TFLiteConverter` asks for."""
    built_in, eight, sixteen = (
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    )
    with tempfile.TemporaryDirectory() as folder:
        saved = str(Path(folder) / "saved")
        model.export(saved, verbose=False, input_signature=[keras.InputSpec(dtype="float32", shape=(1, 224, 224, 3))])
        for recipe in RECIPES:
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            if recipe != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if recipe == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if recipe.startswith("static"):
                converter.representative_dataset = lambda: ([image[None]] for image in images)
                converter.target_spec.supported_ops = [sixteen if recipe.endswith("16") else eight]
            else:
                converter.target_spec.supported_ops = [built_in]
            converter.convert()


if __name__ == "__main__":
    main()
