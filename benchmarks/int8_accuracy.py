"""Top-1 that a trained network loses in each integer format, and what quantization-aware training gives back.

    python benchmarks/int8_accuracy.py run/model.keras --data photos/

All test images, on LiteRT with XNNPACK; calibrated on training images. Quantization-aware training starts from the
network as it is and goes on for --epochs passes; SGD with momentum 0.9, a cosine from --learning-rate to zero.
--outliers makes a network that int8 hurts of one that it does not; --search also measures the file of a search.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_se.export import export, quantize_aware
from keras_se.export.conversion.converter import load_model
from keras_se.export.mixed_precision import export_mixed_precision
from keras_se.export.quantization.observers import METHODS
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.targets.ethos_u import BEFORE
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.training.data.input_pipeline import sample, training_batches
from keras_se.training.data.sources import Source, load_source

BATCH = 64


def main() -> None:
    """Print one line a format, as a row of Markdown."""
    options = _options()
    model = load_model(options.model)
    preprocessing = preprocessing_of(model, options.model)
    if options.outliers != 1:
        print(f"{stretch_channels(model, options.outliers)} channels are {options.outliers:g} times as large")
    source = load_source(options.data)
    images, labels = sample(source.test, preprocessing, options.images or len(source.test))
    calibration, _ = sample(source.train, preprocessing, options.calibration)
    with tempfile.TemporaryDirectory() as folder:
        float_top1 = None
        searched = images[: options.search], labels[: options.search]
        for name, path in _files(model, options, source, preprocessing, calibration, searched, Path(folder)):
            outputs = find_engine("litert").run(TFLiteModel.load(path).without_softmax.content, images).values
            top1 = 100 * float(np.mean(outputs.argmax(1) == labels))
            float_top1 = top1 if float_top1 is None else float_top1
            print(f"| {name} | {top1:.2f} | {float_top1 - top1:+.2f} |", flush=True)


def stretch_channels(model: keras.Model, factor: float) -> int:
    """Make a channel of each ReLU that only a convolution reads `factor` times as large; return how many there are.

    The model computes what it did, to the bit if `factor` is a power of two: the convolution's weights for that channel
    are divided by it, as a ReLU of `factor * x` is `factor` times that of `x`. But all channels share the steps of one
    range, of which the others keep the lowest ones: cross-layer equalisation (arXiv 1906.04721) undone.
    """
    changed = 0
    for layer in model.layers:
        if not (isinstance(layer, keras.layers.Conv2D) and layer.groups == 1):
            continue
        relu = layer.input._keras_history.operation
        if getattr(relu, "activation", None) is not keras.activations.relu or len(relu._outbound_nodes) > 1:
            continue
        norm = relu.input._keras_history.operation
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        scale = np.ones(norm.gamma.shape, "float32")
        scale[np.argmax(np.abs(norm.gamma))] = factor  # not one that is always zero
        norm.gamma.assign(norm.gamma * scale)
        norm.beta.assign(norm.beta * scale)
        layer.kernel.assign(layer.kernel / scale[:, None])
        changed += 1
    return changed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .keras file that keras-se train wrote")
    parser.add_argument("--data", required=True, help="as in keras-se train")
    parser.add_argument("--images", type=int, default=0, help="test images; all by default")
    parser.add_argument("--calibration", type=int, default=500, help="training images for the ranges")
    parser.add_argument("--epochs", type=float, default=1.0, help="of quantization-aware training; 0 for none")
    parser.add_argument("--learning-rate", type=float, default=0.001, help=f"of it, at its start; batches of {BATCH}")
    parser.add_argument("--augmentation", default="shift_flip", help="of it; as in keras-se train")
    parser.add_argument("--search", type=int, default=0, help="test images that a search measures on; 0 for none")
    parser.add_argument("--max-drop", type=float, default=0.5, help="percentage points that the search may lose there")
    parser.add_argument("--outliers", type=float, default=1.0, help="multiply a channel of each ReLU by so much")
    parser.add_argument("--target", default="phone_cpu", help="in whose form")
    parser.add_argument("--methods", default=",".join(METHODS), help="of calibration")
    parser.add_argument("--training", default="learned,frozen", help="ranges of it, or tfmot for that engine")
    return parser.parse_args()


def _files(
    model: keras.Model,
    options: argparse.Namespace,
    source: Source,
    preprocessing: Preprocessing,
    calibration: np.ndarray,
    searched: tuple[np.ndarray, np.ndarray],
    folder: Path,
) -> Iterator[tuple[str, Path]]:
    """Yield each format's name and file, the float one first."""

    def exported(of: keras.Model, recipe: str, method: str = "min_max") -> Path:
        arguments = {"calibration": calibration, "calibration_method": method, "preprocessing": preprocessing}
        target = "phone_cpu" if recipe == "float32" else options.target
        [artifact] = export(of, folder, recipes=(recipe,), target=target, **arguments)
        uncompiled = artifact.path.with_suffix(BEFORE)  # what Vela makes of it runs on the NPU alone
        return uncompiled if uncompiled.exists() else artifact.path

    for recipe in ("float32", "static_wi8_ai16"):
        yield recipe, exported(model, recipe)
    for method in options.methods.split(","):
        yield f"static_wi8_ai8, {method}", exported(model, "static_wi8_ai8", method)
    if options.search:
        images, labels = searched
        further: dict[str, Any] = {"images": images, "labels": labels, "preprocessing": preprocessing}
        further["max_drop"] = options.max_drop
        artifact, search = export_mixed_precision(model, folder, calibration=calibration, **further)
        yield (
            f"search, {len(search.ops_in_higher_precision)} not in int8, {search.drop:.2f} lost on its own images",
            artifact.path,
        )
    steps = round(options.epochs * len(source.train) / BATCH)
    for how in options.training.split(",") if steps else ():
        batches = training_batches(
            source.train,
            preprocessing,
            classes=len(source.classes),
            batch_size=BATCH,
            augmentation=options.augmentation,
            seed=0,
        )
        arguments: dict[str, Any] = {"calibration": calibration, "input_range": preprocessing.input_range}
        if how == "tfmot":
            path = folder / "tfmot.tflite"
            path.write_bytes(_trained_by_tfmot(model, arguments, batches, options.learning_rate, steps))
        else:
            aware = quantize_aware(model, learned=how == "learned", **arguments)
            rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps)
            aware.compile(keras.optimizers.SGD(rate, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
            aware.fit(batches, steps_per_epoch=steps, verbose=2)
            path = exported(aware, "static_wi8_ai8")
        yield f"quantization-aware, {how}", path


def _trained_by_tfmot(model: keras.Model, arguments: dict[str, Any], batches: Any, rate: float, steps: int) -> bytes:
    """Train the network quantization-aware through tf_keras."""
    from keras_se.export.tfmot.legacy_keras import tf_keras
    from keras_se.export.tfmot.quantization import to_int8_tflite

    aware = quantize_aware(model, engine="tfmot", **arguments)
    schedule = tf_keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = tf_keras.optimizers.SGD(schedule, momentum=0.9)
    aware.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    aware.fit(batches, steps_per_epoch=steps, verbose=2)
    return to_int8_tflite(aware)


if __name__ == "__main__":
    main()
