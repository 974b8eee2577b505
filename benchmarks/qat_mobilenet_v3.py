"""Top-1 of a MobileNetV3-Small before and after some batches of quantization-aware training, on held-out images.

    python benchmarks/qat_mobilenet_v3.py

Trains the network (nine SE blocks, half as wide) on letters that it draws with Pillow's own font, light on dark,
turned, moved, of several sizes and under noise; quantizes it after training; and trains it on, once in float and once
by `quantize_aware`, for the same batches at the same rate, by plain SGD and with momentum 0.9. Int8 is the file on
LiteRT. Beside each figure stand the percentage points that it lies above the post-training int8 file, with a 95 %
interval over the pairs of the same images. Exit status 1 if an aware file is below the file of the same training in
float by more than chance, or that of plain SGD below the post-training one.
"""

import argparse
import string
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import keras_se
from keras_se.export import export, quantize_aware
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.tflite.model import TFLiteModel

LETTERS = string.ascii_uppercase
SIDE = 32  # pixels
BATCH = 64
OPTIMIZERS = {"SGD": 0.0, "momentum": 0.9}


def main() -> None:
    """Print one row of Markdown a network."""
    options = _options()
    keras.utils.set_random_seed(options.seed)
    train, test = (draw_letters(number, seed) for seed, number in enumerate((options.training, options.images)))
    model = trained(*train, options.epochs)
    rows = list(_rows(model, train, test[0], options))
    right = {name: classes == test[1] for name, classes in rows}
    post_training = right["post-training int8"]
    print(f"{len(test[1])} images, {options.batches} batches of {BATCH} at {options.learning_rate:g}")
    print("| network | top-1 in % | above post-training int8 |\n|---|---|---|")
    for name, each in right.items():
        difference, half = paired_difference(each, post_training)
        print(f"| {name} | {100 * each.mean():.2f} | {difference:+.2f} ± {half:.2f} |")
    references = {f"aware, {name}": f"the same, then int8, {name}" for name in OPTIMIZERS}
    pairs = [*references.items(), ("aware, SGD", "post-training int8")]
    below = [f"{name} below {other}" for name, other in pairs if sum(paired_difference(right[name], right[other])) < 0]
    print("surely " + ("; ".join(below) or "none below"))
    sys.exit(bool(below))


def paired_difference(right: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return by how many percentage points more images are right, and the half of the 95 % interval of that."""
    difference = 100 * (right.astype(float) - reference)
    return difference.mean(), 1.96 * difference.std() / np.sqrt(len(difference))


def draw_letters(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 `(number, SIDE, SIDE, 3)` in 0..1, and which of LETTERS each shows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(LETTERS), size=number)
    fonts = {size: ImageFont.load_default(size) for size in range(18, 27)}
    images = np.empty((number, SIDE, SIDE, 3), "float32")
    for image, label in zip(images, labels, strict=True):
        mask = Image.new("L", (SIDE, SIDE))
        place = tuple(SIDE / 2 + rng.uniform(-2, 2, 2))
        font = fonts[rng.integers(18, 27)]
        ImageDraw.Draw(mask).text(place, LETTERS[label], fill=255, font=font, anchor="mm")
        shape = np.asarray(mask.rotate(rng.uniform(-25, 25), Image.Resampling.BILINEAR))[..., None] / 255
        paper, ink = rng.uniform([[0.0], [0.4]], [[0.4], [1.0]], (2, 3))
        image[:] = paper + shape * (ink - paper) + rng.normal(0, 0.15, image.shape)
    return images.clip(0, 1), labels


def trained(images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """Train the network from random weights."""
    shape, classes = (SIDE, SIDE, 3), len(LETTERS)
    model = keras_se.create_model("mobilenet_v3_small", input_shape=shape, classes=classes, alpha=0.5)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * (len(images) // BATCH))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, verbose=2)
    return model


def _rows(model, train, images, options) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each network's name and the classes that it gives."""
    calibration = train[0][:500]
    yield "float", _classes(model, images)
    yield "post-training int8", _int8_classes(model, images, calibration)
    for name, momentum in OPTIMIZERS.items():
        further = _trained_on(keras.models.clone_model(model), train, momentum, options, weights=model.get_weights())
        yield f"float, trained on, {name}", _classes(further, images)
        yield f"the same, then int8, {name}", _int8_classes(further, images, calibration)
        aware = _trained_on(quantize_aware(model, calibration=calibration), train, momentum, options)
        yield f"aware, {name}", _int8_classes(aware, images, calibration)


def _trained_on(model, train, momentum, options, weights=None):
    if weights is not None:
        model.set_weights(weights)
    optimizer = keras.optimizers.SGD(options.learning_rate, momentum=momentum)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    images, labels = (part[: options.batches * BATCH] for part in train)
    model.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
    return model


def _classes(model, images):
    return model.predict(images, verbose=0).argmax(1)


def _int8_classes(model, images, calibration):
    with tempfile.TemporaryDirectory() as folder:
        [artifact] = export(model, Path(folder), recipes=("static_wi8_ai8",), calibration=calibration)
        return (
            find_engine("litert").run(TFLiteModel.load(artifact.path).without_softmax.content, images).values.argmax(1)
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=int, default=16000, help="images that are drawn to train on")
    parser.add_argument("--images", type=int, default=4000, help="and others, to measure on")
    parser.add_argument("--epochs", type=int, default=8, help="of training before quantization")
    parser.add_argument("--batches", type=int, default=100, help=f"of {BATCH} images, to train on with")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the training on")
    parser.add_argument("--seed", type=int, default=0, help="of the weights")
    return parser.parse_args()


if __name__ == "__main__":
    main()
