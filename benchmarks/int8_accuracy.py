"""Top-1 that a trained network loses in each integer format, and what quantization-aware training gives back.

    python benchmarks/int8_accuracy.py run/model.keras --data photos/

All test images, on LiteRT with XNNPACK; calibrated on training images. Quantization-aware training starts from the
network as it is: --epochs passes, without augmentation where that is all that the network still needs.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from keras_se.export import export, quantize_aware
from keras_se.export.convert import load_model
from keras_se.export.engines import find_engine
from keras_se.export.flatbuffer import load, without_softmax
from keras_se.export.ranges import METHODS
from keras_se.preprocessing import Preprocessing, preprocessing_of
from keras_se.training.data import Source, load_source
from keras_se.training.pipeline import sample, training_batches


def main() -> None:
    """Print one line a format, as a row of Markdown."""
    options = _options()
    model = load_model(options.model)
    preprocessing = preprocessing_of(model, options.model)
    source = load_source(options.data)
    images, labels = sample(source.test, preprocessing, options.images or len(source.test))
    calibration, _ = sample(source.train, preprocessing, options.calibration)
    with tempfile.TemporaryDirectory() as folder:
        float_top1 = None
        for name, path in _files(model, options, source, preprocessing, calibration, Path(folder)):
            outputs = find_engine("litert").run(without_softmax(load(path)), images).values
            top1 = 100 * float(np.mean(outputs.argmax(1) == labels))
            float_top1 = top1 if float_top1 is None else float_top1
            print(f"| {name} | {top1:.2f} | {float_top1 - top1:+.2f} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .keras file that keras-se train wrote")
    parser.add_argument("--data", required=True, help="as in keras-se train")
    parser.add_argument("--images", type=int, default=0, help="test images; all by default")
    parser.add_argument("--calibration", type=int, default=500, help="training images for the ranges")
    parser.add_argument("--epochs", type=float, default=1.0, help="of quantization-aware training; 0 for none")
    parser.add_argument("--learning-rate", type=float, default=0.001, help="of it, at its start; batches of 64")
    parser.add_argument("--augmentation", default="shift_flip", help="of it; as in keras-se train")
    parser.add_argument("--ranges", default="learned,frozen", help="of it")
    return parser.parse_args()


def _files(
    model: keras.Model,
    options: argparse.Namespace,
    source: Source,
    preprocessing: Preprocessing,
    calibration: np.ndarray,
    folder: Path,
) -> Iterator[tuple[str, Path]]:
    """Each format's name and file, the float one first."""

    def exported(*recipes: str, method: str = "min_max", of: keras.Model = model) -> Iterator[Path]:
        made = export(
            of,
            folder,
            recipes=recipes,
            calibration=calibration,
            calibration_method=method,
            preprocessing=preprocessing,
        )
        return (artifact.path for artifact in made)

    for recipe, path in zip(("float32", "static_wi8_ai16"), exported("float32", "static_wi8_ai16"), strict=True):
        yield recipe, path
    for method in METHODS:
        for path in exported("static_wi8_ai8", method=method):
            yield f"static_wi8_ai8, {method}", path
    steps = round(options.epochs * len(source.train) / 64)
    if steps:
        for ranges in options.ranges.split(","):
            aware = quantize_aware(
                model,
                calibration=calibration,
                learned=ranges == "learned",
                input_range=preprocessing.input_range,
            )
            batches = training_batches(
                source.train,
                preprocessing,
                classes=len(source.classes),
                batch_size=64,
                augmentation=options.augmentation,
                seed=0,
            )
            rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps)
            aware.compile(keras.optimizers.SGD(rate, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
            aware.fit(batches, steps_per_epoch=steps, verbose=2)
            for path in exported("static_wi8_ai8", of=aware):
                yield f"quantization-aware, {ranges} ranges", path


if __name__ == "__main__":
    main()
