"""Train the network of the tests: an SE-MobileNet an eighth as wide, on scikit-learn's digits, and two of its files.

Run where keras-se[edge] is installed; two minutes on two cores:

    python tests/golden/make_trained.py

Writes into trained/ beside itself the network (model.keras and run.json, as `keras-se train` does) and, as
`keras-se export` does, its float file and its int8 file with their manifests. Other files the tests export from the
network. Another processor trains another network: what the tests read is the one that stands there, and a new one must
keep what `check` asks of it.
"""

import dataclasses
import shutil
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_se import SqueezeExcite
from keras_se.export import export
from keras_se.preprocessing import preprocessing_of
from keras_se.training import PRESETS, train
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import Split, load_source

FOLDER = Path(__file__).with_name("trained")
CALIBRATION = 200  # of the training images, drawn with seed 0
LEAST_ACCURACY = 0.97
LEAST_RANGE = 5 / 256  # of the gate of the steadiest channel: five steps of an 8-bit gate

RECIPE = dataclasses.replace(
    PRESETS["digits"],
    # With r=4 the two hidden units of block 1 die.
    model_arguments={"alpha": 0.125, "r": 2},
    epochs=40,
    learning_rate=0.2,
    weight_decay=1e-4,
)


def check(model: keras.Model, accuracy: float, test: Split) -> None:
    """Print how far each SE block's gates go over the test images; refuse a network with a dead one."""
    print(f"{model.count_params():,} parameters, {accuracy:.4f} of {len(test)} test digits right")
    assert accuracy >= LEAST_ACCURACY
    images, _ = sample(test, preprocessing_of(model), len(test))
    blocks = [layer for layer in model.layers if isinstance(layer, SqueezeExcite)]
    ends = keras.Model(model.input, [[block.input, block.output] for block in blocks])
    print("range of a channel's gate over the images: least, median and greatest of the channels")
    for block, (before, after) in zip(blocks, ends.predict(images, verbose=0), strict=True):
        before, after = before.sum((1, 2)), after.sum((1, 2))
        gates = np.divide(after, before, out=np.full_like(after, np.nan), where=before > 1e-3)
        ranges = np.nanmax(gates, 0) - np.nanmin(gates, 0)
        print(f"{block.name:12}{ranges.min():7.3f}{np.median(ranges):7.3f}{ranges.max():7.3f}")
        assert ranges.min() >= LEAST_RANGE


def deflate(path: Path) -> None:
    """Compress a .keras file, which Keras stores as it is."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def main() -> None:
    source = load_source(RECIPE.data)
    with tempfile.TemporaryDirectory() as folder:
        run = train(dataclasses.replace(RECIPE, out=f"{folder}/run"))
        check(run.model, run.accuracy, source.test)
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        for name in ("model.keras", "run.json"):
            shutil.copy(run.folder / name, FOLDER / name)
    record = FOLDER / "run.json"
    record.write_text(record.read_text().replace(f"{folder}/run", "trained"))
    model = FOLDER / "model.keras"
    deflate(model)
    calibration, _ = sample(source.train, preprocessing_of(run.model, model), CALIBRATION)
    export(model, FOLDER, calibration=calibration)


if __name__ == "__main__":
    main()
