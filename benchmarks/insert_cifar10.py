"""Top-1 of a trained MobileNetV2, fine-tuned as it is and with SE put in by `keras_se.insert`, over seeds.

    python benchmarks/insert_cifar10.py --data cifar10/

Trains `keras.applications.MobileNetV2` of width 0.35 from random weights for --epochs, and a copy of it for
--fine-tuning-epochs more, with SE behind every residual branch and without, on the same flipped batches in the same
order and at the same rates: Adam, a cosine to zero. As the training is short, the moving averages of batch
normalisation have a momentum of 0.9 in place of 0.999.

Behind each seed's gain stands the 95 % interval over the pairs of the same test images; behind the mean gain that over
the seeds, by Student's t. Each seed is a line of JSON in --out, and one that stands there is not trained again. Exit
status 1 if the interval over the seeds lies below zero.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_se

SIDE = 32  # pixels
BATCH = 128
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # the 97.5 % quantile of t, for so many seeds

Labelled = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Print one row of Markdown a seed."""
    options = _options()
    settings = {name: value for name, value in vars(options).items() if name not in ("data", "out", "seeds")}
    done = [row for row in _lines(options.out) if row["settings"] == settings]
    rows = {row["seed"]: row for row in done if row["seed"] in options.seeds}
    missing = [seed for seed in options.seeds if seed not in rows]
    if missing:
        train, test = (read_images(options.data / part) for part in ("train", "test"))
        for seed in missing:
            rows[seed] = measure(train, test, seed, options) | {"settings": settings}
            with options.out.open("a") as file:
                file.write(json.dumps(rows[seed]) + "\n")
    sys.exit(print_table([rows[seed] for seed in options.seeds]))


def read_images(folder: Path) -> Labelled:
    """Images of class folders, float32 `(n, SIDE, SIDE, 3)` in -1..1, and the number of each one's class."""
    batches = keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), shuffle=False, batch_size=1000)
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images) / np.float32(127.5) - 1, np.concatenate(labels)


def measure(train: Labelled, test: Labelled, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train the three networks of a seed; return their top-1 in per cent, their parameters and what SE gains."""
    keras.utils.set_random_seed(seed)
    plain = mobilenet_v2(int(train[1].max()) + 1)
    fit(plain, train, options.epochs, options.learning_rate, seed)
    inserted = keras_se.insert(plain, after="residual", r=options.r, identity=True)
    before, unmoved = (model.predict(test[0], batch_size=BATCH, verbose=0) for model in (plain, inserted))
    right = {"before": before.argmax(1) == test[1]}
    for name, model in (("without SE", plain), ("with SE", inserted)):
        fit(model, train, options.fine_tuning_epochs, options.fine_tuning_rate, seed + 1000)
        right[name] = model.predict(test[0], batch_size=BATCH, verbose=0).argmax(1) == test[1]
    difference = 100 * (right["with SE"].astype(float) - right["without SE"])
    return {
        "seed": seed,
        "top-1": {name: 100 * each.mean() for name, each in right.items()},
        "gain": difference.mean(),
        "half": 1.96 * difference.std() / np.sqrt(len(difference)),
        "images": len(difference),
        "moved by insertion": float(abs(unmoved - before).max()),
        "parameters": [plain.count_params(), inserted.count_params()],
    }


def mobilenet_v2(classes: int) -> keras.Model:
    """Build the plain network from random weights."""
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, weights=None, classes=classes)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    return model


def fit(model: keras.Model, train: Labelled, epochs: int, rate: float, seed: int) -> None:
    """Train on batches that the seed alone decides."""
    steps = len(train[1]) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * steps)
    # XLA's depthwise convolutions take several times as long on a processor.
    model.compile(
        keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    model.fit(_batches(*train, epochs, seed), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)


def _batches(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> Iterator[Labelled]:
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(labels))
        for start in range(0, len(labels) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            flipped = rng.random((BATCH, 1, 1, 1)) < 0.5
            yield np.where(flipped, images[chosen, :, ::-1], images[chosen]), labels[chosen]


def print_table(rows: list[dict[str, Any]]) -> bool:
    """Print a row a seed and their mean; return whether the gain over the seeds is below zero by more than chance."""
    plain, inserted = rows[0]["parameters"]
    print(f"{rows[0]['images']} test images; {plain:,} parameters without SE, {inserted:,} with it")
    print(f"putting SE in moves no output by more than {max(row['moved by insertion'] for row in rows):.1e}")
    names = list(rows[0]["top-1"])
    print(f"| seed | {' | '.join(names)} | SE gains |\n|{'---|' * (len(names) + 2)}")
    for row in rows:
        figures = [f"{value:.2f}" for value in row["top-1"].values()]
        print(f"| {row['seed']} | {' | '.join(figures)} | {row['gain']:+.2f} ± {row['half']:.2f} |")
    if len(rows) < 2:
        return False
    gains = np.array([row["gain"] for row in rows])
    half = STUDENT[len(rows)] * gains.std(ddof=1) / np.sqrt(len(rows))
    means = [f"{np.mean([row['top-1'][name] for row in rows]):.2f}" for name in names]
    print(f"| mean | {' | '.join(means)} | {gains.mean():+.2f} ± {half:.2f} |")
    return bool(gains.mean() + half < 0)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the seeds that are finished; a line is written whole or, when the run is cut within it, without its end."""
    content = path.read_text() if path.exists() else ""
    if content and not content.endswith("\n"):
        content = content[: content.rfind("\n") + 1]
        path.write_text(content)
    return [json.loads(line) for line in content.splitlines()]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of train/CLASS/*.jpg and test/CLASS/*.jpg of 32 pixels"
    )
    parser.add_argument("--out", type=Path, default=Path("insert_cifar10.jsonl"), help="file of the seeds' figures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="up to 5")
    parser.add_argument("--epochs", type=int, default=3, help="of training before SE is put in")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="of that training")
    parser.add_argument("--fine-tuning-epochs", type=int, default=2, help="of fine-tuning, with SE and without")
    parser.add_argument("--fine-tuning-rate", type=float, default=1e-3, help="of that fine-tuning")
    parser.add_argument("--r", type=int, default=4, help="reduction ratio of SE")
    options = parser.parse_args()
    if len(set(options.seeds)) != len(options.seeds) or len(options.seeds) > max(STUDENT):
        parser.error(f"--seeds takes 1 to {max(STUDENT)} different seeds; got {options.seeds}")
    return options


if __name__ == "__main__":
    main()
