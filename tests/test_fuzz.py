"""Every reader of a file, on good files with random bytes flipped, cut out or put in.

It reads what is there, or one line says why it cannot; nothing else is raised, and no process ends, waits or fills the
memory. The fast tests try 50 of each, the slow ones 1,000. Long, as a table of the formats with the maker and the
reader of each.
"""

import faulthandler
import io
import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from keras_se import registry
from keras_se.errors import InputError
from keras_se.export.artifacts import check_replaceable
from keras_se.export.conversion.converter import load_model, to_tflite
from keras_se.export.evaluation.memory import peak_bytes, resident_bytes
from keras_se.export.evaluation.profile import operations
from keras_se.export.manifest import lowering_of, preprocessing_of_file, preprocessing_of_manifest
from keras_se.export.quantization.recipe_detection import recipe_of
from keras_se.export.runtimes.registry import run_file
from keras_se.export.targets.edgetpu_rules import lint
from keras_se.export.tflite.constants import weight_error
from keras_se.export.tflite.model import TFLiteModel
from keras_se.inference import labels_of
from keras_se.models.resnet import ResNet
from keras_se.preprocessing import Preprocessing, find_preprocessing, save_record
from keras_se.registry import create_model, find
from keras_se.training import Recipe
from keras_se.training.data.image_files import FORMATS, read_image
from keras_se.training.data.sources import Source, Split
from keras_se.training.distribution.cluster import TF_CONFIG, find_cluster
from keras_se.training.run import run_folder
from keras_se.training.run.checkpoint import Checkpoints, Progress, read_state, write_state
from keras_se.training.run.inventory import Inventory, check_own, read_inventory
from keras_se.weights.loading import find_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns of what it then refuses

FEW, MANY = 50, 1000
SECONDS = 60  # for one file; the slowest takes a tenth of one
SIDE = 16
GOLDEN = Path(__file__).parent / "golden"
ROW = ResNet(bottleneck=False, depths=(2, 1, 1, 1), group_width=2)

IMAGES = np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)

Damage = Callable[[bytes, np.random.Generator], bytes]


# Damage.


def bytes_damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, and overwrite, cut out or put in bytes, half of the time near the content's beginning."""
    if rng.random() < 0.1:
        return content[: rng.integers(len(content))]
    damaged = bytearray(content)
    if rng.random() < 0.4:
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        return bytes(damaged)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(min(len(damaged), 512) if rng.random() < 0.5 else len(damaged)))
        count = int(rng.integers(1, 9))
        kind = rng.integers(8)
        if kind < 5:
            damaged[place] ^= 1 << int(rng.integers(8))
        elif kind == 5:
            damaged[place : place + count] = rng.bytes(count)
        elif kind == 6:
            del damaged[place : place + count]
        else:
            damaged[place:place] = rng.bytes(count)
        if not damaged:
            break
    return bytes(damaged)


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 1e300, float("nan"), "", "../../x", "\ud800", "\n", [], {}, [[]], {"a": 1}, "a" * 5000,
)  # fmt: skip


def json_damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Damaged bytes or, every other time, JSON with another value in one place."""
    if rng.random() < 0.5:
        return bytes_damaged(content, rng)
    document = json.loads(content)
    places = list(_places(document))
    holder, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = ODD[rng.integers(len(ODD))]
    return json.dumps(document).encode()


def _places(document: Any):
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(items):
        yield document, key
        if isinstance(value, dict | list):
            yield from _places(value)


def archive_damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Damaged bytes or, every other time, an archive that is whole with one damaged member."""
    if rng.random() < 0.5:
        return bytes_damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[rng.integers(len(members))]
    members[name] = (json_damaged if name.endswith(".json") else bytes_damaged)(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, part in members.items():
            archive.writestr(member, part)
    return packed.getvalue()


# Good files.


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", name="logits")(x), name="small")


def compiled() -> keras.Model:
    model = network()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def run_in(folder: Path) -> Path:
    """A finished run that was never trained."""
    split = Split(np.zeros((4, SIDE, SIDE, 3), np.uint8), np.arange(4) % 3)
    history = {"loss": [1.0, 0.5], "val_accuracy": [0.25, 0.5], "val_loss": [1.0, 0.75]}
    rows = [",".join(("epoch", *history)), *(f"{n},{','.join(str(v[n]) for v in history.values())}" for n in (0, 1))]
    (folder / "history.csv").write_text("\n".join(rows))
    run = run_folder.Run(network(), history, folder, 0.5)
    files = Inventory(folder, ("model.keras", "run.json", "history.csv"))
    run_folder.write_run(run, recipe_of_run(folder), Source(tuple("abc"), split, split), Preprocessing(16, 16), files)
    return folder


def recipe_of_run(folder: Path) -> Recipe:
    return Recipe(out=str(folder), model_arguments={"alpha": 0.25})


def read_run(path: Path) -> None:
    recipe = recipe_of_run(path.parent)
    run_folder.open_folder(recipe, overwrite=False, resume=True)
    run_folder.read_finished(path.parent, recipe)


def overwritten(path: Path) -> None:
    """Read what `--overwrite` reads before it removes anything."""
    check_own(path.parent)
    for name in read_inventory(path.parent).names:
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts


def tflite_in(folder: Path) -> Path:
    path = folder / "small.float32.tflite"
    path.write_bytes(to_tflite(network()).content)
    return path


def read_tflite(path: Path) -> None:
    """Everything that the commands do with a file that they have not made."""
    file = TFLiteModel.load(path)
    for name in (
        "custom_operations", "dtype_counts", "io_types", "io_counts", "float_operations", "inlined", "input_name",
        "activation_names", "operation_counts", "io_quantizations", "without_softmax",
    ):  # fmt: skip
        getattr(file, name)
    recipe_of(file), lint(file)
    list(operations(file.content))
    weight_error(file, file)
    preprocessing_of_file(path)
    if file.input_shape[1:] == IMAGES.shape[1:]:  # or parity refuses it
        run_file("litert_reference", file, IMAGES, path)
        run_file("litert", file, IMAGES, path)


def manifest_in(folder: Path) -> Path:
    path = folder / "small.float32.tflite.json"
    path.with_suffix("").write_bytes(b"a file")
    fields = {
        "model": "small",
        "recipe": "float32",
        "target": "phone_cpu",
        "sha256": "00",
        "files": ["small.float32.h"],
    }
    lowering = {"hard_swish": "decomposed", "squeeze": "mean"}
    path.write_text(json.dumps({**fields, "preprocessing": Preprocessing(16, 16).to_dict(), "lowering": lowering}))
    return path


def read_manifest(path: Path) -> None:
    file = path.with_suffix("")
    check_replaceable(path.parent, file.stem, [f"{file.stem}.h"])
    for read in (lowering_of, preprocessing_of_manifest):
        read(file)


def record_in(folder: Path) -> Path:
    return save_record(network(), folder / "model.keras", preprocessing=Preprocessing(16, 16))


def read_record_beside(path: Path) -> None:
    model_file = path.with_name("model.keras")
    labels_of(model_file)
    find_preprocessing(MODEL, model_file)


def list_in(folder: Path) -> Path:
    names = ["run.json", "model.keras", "history.csv", "checkpoints/step-000000001.safetensors"]
    (folder / "unfinished.json").write_text(json.dumps({"files": names}))
    return folder / "unfinished.json"


def weights_in(folder: Path) -> Path:
    MODEL.save_weights(folder / "small.weights.h5")
    return folder / "small.weights.h5"


def read_weights(path: Path) -> None:
    find_weights("se_resnet18", path, {}).load(MODEL, ROW)


def timm_in(folder: Path) -> Path:
    """Copy the state dict of make_timm_golden.py."""
    return Path(shutil.copy(GOLDEN / "seresnet18.safetensors", folder))


def read_timm(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENTRIES, "se_resnet18", find("se_resnet18")._replace(row=ROW))
        weights = find_weights("se_resnet18", path, {})
    weights.load(TIMM, ROW)


def checkpoint_in(folder: Path) -> Path:
    return Checkpoints(folder).save(compiled(), Progress(1, [{"loss": 1.0}], 0.5, {"loss": 2.0}, {"epochs": 1}))


def read_checkpoint(path: Path) -> None:
    Checkpoints(path.parent).restore(COMPILED)


def best_in(folder: Path) -> Path:
    write_state(folder / "best.safetensors", {str(n): variable for n, variable in enumerate(network().variables)})
    return folder / "best.safetensors"


def cluster_in(folder: Path) -> Path:
    document = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    (folder / "tf_config").write_text(json.dumps(document))
    return folder / "tf_config"


def read_cluster(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TF_CONFIG, path.read_bytes().replace(b"\0", b"").decode(errors="surrogateescape"))
        find_cluster()


def image_in(form: str, folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"image.{form.lower()}", format=form)
    return folder / f"image.{form.lower()}"


def read_picture(path: Path) -> None:
    try:
        assert read_image(str(path)).ndim == 3
    except (OSError, ValueError) as error:  # for the loader, which lists the names
        raise InputError(" ".join(str(error).split()) or "no image") from None


@dataclass(frozen=True)
class Reader:
    """A file that is read: how a good one is made in a folder, how it is read, and how it is damaged."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    damaged: Damage = bytes_damaged
    memory: int = 2**30
    """Bytes more than before; a file that is read takes some MB."""


READERS: dict[str, Reader] = {
    "tflite": Reader(tflite_in, read_tflite),
    "manifest": Reader(manifest_in, read_manifest, json_damaged),
    "keras": Reader(lambda folder: run_in(folder) / "model.keras", load_model, archive_damaged),
    "record": Reader(record_in, read_record_beside, json_damaged),
    "weights.h5": Reader(weights_in, read_weights),
    "safetensors": Reader(timm_in, read_timm),
    "run/model.keras": Reader(lambda folder: run_in(folder) / "model.keras", read_run, archive_damaged),
    "run/run.json": Reader(lambda folder: run_in(folder) / "run.json", read_run, json_damaged),
    "run/run.json, overwritten": Reader(lambda folder: run_in(folder) / "run.json", overwritten, json_damaged),
    "run/history.csv": Reader(lambda folder: run_in(folder) / "history.csv", read_run),
    "run/unfinished.json": Reader(list_in, overwritten, json_damaged),
    "run/checkpoint": Reader(checkpoint_in, read_checkpoint),
    "run/best": Reader(best_in, read_state),
    "TF_CONFIG": Reader(cluster_in, read_cluster, json_damaged),
    # A damaged header may tell of 179 million pixels, Pillow's limit: 4 bytes each there, and twice 3 in an array.
    **{
        f"image {form}": Reader(lambda folder, form=form: image_in(form, folder), read_picture, memory=2**31)
        for form in FORMATS
    },
}


@pytest.fixture(scope="module", autouse=True)
def networks():
    """Networks that files are read into."""
    global MODEL, COMPILED, TIMM
    MODEL, COMPILED = network(), compiled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENTRIES, "se_resnet18", find("se_resnet18")._replace(row=ROW))
        TIMM = create_model("se_resnet18", input_shape=(32, 32, 3), weights=GOLDEN / "seresnet18.safetensors")


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    try_damaged(name, tmp_path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_thousand_damaged_files_are_read_or_refused_in_one_line(name, tmp_path):
    try_damaged(name, tmp_path, MANY)


def try_damaged(name: str, folder: Path, count: int) -> None:
    reader, rng = READERS[name], np.random.default_rng(zlib.crc32(name.encode()))
    path = reader.write(folder)
    good = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    reader.read(path)
    before, lines = resident_bytes(), []
    for number in range(count):
        for file, content in good.items():  # a reader may clear up after an unfinished run
            file.write_bytes(content)
        path.write_bytes(reader.damaged(good[path], rng))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            reader.read(path)
        except InputError as error:
            lines.append(str(error))
        except BaseException as error:
            raise AssertionError(f"{name} {number}: {type(error).__name__}: {error}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()
    print(f"{name}: {len(lines)} of {count} refused")
    assert count / 10 < len(lines)
    assert [line for line in lines if len(line.splitlines()) != 1] == []
    if before is not None:
        assert (peak_bytes() or 0) - before < reader.memory
