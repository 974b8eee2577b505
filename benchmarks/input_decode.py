"""Time of training's input as it is, and with every file read by Pillow, over that with TensorFlow's own decoders.

    python benchmarks/input_decode.py

Writes images of smooth noise, which compress as photographs do, into a temporary folder, and reads them through
`training_batches`: by `read_pixels`, as it is; by Pillow alone, inside a numpy_function; and by `tf.io.decode_image`
with its defaults. Prints the median of the rounds' ratios to the last, with their quartiles, and the greatest
difference of the pixels of the first and the last, of 255.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_se.preprocessing import Preprocessing
from keras_se.training.data import input_pipeline
from keras_se.training.data.image_files import read_image
from keras_se.training.data.input_pipeline import training_batches
from keras_se.training.data.sources import Split

BATCH, BATCHES = 64, 4  # of a round
# The side of the files, that of the network's input, and the augmentation of the preset for it.
SOURCES = ((32, 32, "shift_flip"), (224, 224, "resized_crop_flip"), (500, 224, "resized_crop_flip"))


def main() -> None:
    """Print a row of Markdown a source."""
    options = _options()
    print("| format | file | input | as it is | Pillow alone | images/s, as it is | greatest difference |")
    print("|---|---|---|---|---|---|---|")
    for ending in options.formats.split(","):
        for side, size, augmentation in SOURCES:
            with tempfile.TemporaryDirectory() as folder:
                paths = _written(Path(folder), side, ending, options.files)
                times = _times(paths, size, augmentation, options.rounds)
                apart = max(_apart(path) for path in paths[:20])
            quartiles = [np.percentile(times[name] / times["tensorflow"], (25, 50, 75)) for name in ("own", "pillow")]
            ratios = " | ".join("{1:.2f} ({0:.2f} to {2:.2f})".format(*ratio) for ratio in quartiles)
            rate = BATCHES * BATCH / np.median(times["own"])
            print(f"| {ending} | {side} | {size}, {augmentation} | {ratios} | {rate:.0f} | {apart} |", flush=True)


def _written(folder: Path, side: int, ending: str, number: int) -> list[str]:
    """Write files of smooth noise with a little fine noise, which compress as photographs do."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((side, side), 3)
        pixels = np.asarray(coarse) + rng.normal(0, 6, (side, side, 3))
        path = folder / f"{index}.{ending}"
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(path, **({"quality": 90} if ending == "jpg" else {}))
        paths.append(str(path))
    return paths


def by_tensorflow(path: Any) -> tf.Tensor:
    """Decode an image with TensorFlow's decoders."""
    return tf.ensure_shape(tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False), (None, None, 3))


def by_pillow(path: Any) -> tf.Tensor:
    """Decode an image with Pillow, one at a time as far as Python's lock says so."""
    pixels = tf.numpy_function(lambda name: read_image(np.asarray(name).item()), [path], tf.uint8, stateful=False)
    return tf.ensure_shape(pixels, (None, None, 3))


READERS = {"own": input_pipeline.read_pixels, "pillow": by_pillow, "tensorflow": by_tensorflow}


def _times(paths: list[str], size: int, augmentation: str, rounds: int) -> dict[str, np.ndarray]:
    """Return the seconds of each round by each reader, in turn."""
    split, preprocessing = Split(np.array(paths), np.zeros(len(paths), "int32")), Preprocessing(size, size)
    streams = {}
    for name, reader in READERS.items():
        input_pipeline.read_pixels = reader  # which is traced as the dataset is made
        further = {"classes": 2, "batch_size": BATCH, "augmentation": augmentation, "seed": 0}
        streams[name] = iter(training_batches(split, preprocessing, **further))
    input_pipeline.read_pixels = READERS["own"]
    times: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(rounds + 2):
        for name, stream in streams.items():
            for _ in range(2):
                next(stream)  # what was made ahead
            start = time.perf_counter()
            for _ in range(BATCHES):
                next(stream)
            times[name].append(time.perf_counter() - start)
    return {name: np.array(each[2:]) for name, each in times.items()}  # the first two warm up


def _apart(path: str) -> int:
    return int(np.abs(READERS["own"](path).numpy().astype(int) - by_tensorflow(path).numpy()).max())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=256, help="of each kind")
    parser.add_argument("--rounds", type=int, default=15, help="of batches by each")
    parser.add_argument("--formats", default="jpg,png", help="endings")
    return parser.parse_args()


if __name__ == "__main__":
    main()
