"""Every kind of bad input through the command line: one line that names it, status 2, and nothing left behind.

Long, as a table of cases with the function that makes each.
"""

import dataclasses
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import export
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.tflite import flatbuffer

SIDE = 16
STATIC = ("--recipes", "static_wi8_ai8")


class Place(NamedTuple):
    """Where a case writes its input, and what it has of good files."""

    root: Path
    model: Path
    tflite: Path
    out: Path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A model of one convolution as .keras and as .tflite."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("good")
    model = network(SIDE)
    model.save(folder / "good.keras")
    (folder / "good.tflite").write_bytes(to_tflite(model).content)
    return folder


@pytest.fixture
def place(good, tmp_path):
    return Place(tmp_path, good / "good.keras", good / "good.tflite", tmp_path / "out")


def network(side):
    image = keras.Input((side, side, 3), name="image")
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3)(image))
    return keras.Model(image, keras.layers.Dense(10, name="logits")(features), name="small")


def images(folder, counts):
    """Class folders of random PNGs."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, count in counts.items():
        (folder / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def text(path):
    path.write_text("not what its name says")
    return path


def train(place, data, *options):
    return ["train", "--model", "se_mobilenet", "--data", str(data), "--out", str(place.out), *options]


def export_of(place, model, *options):
    return ["export", str(model), "--out", str(place.out), *options]


def parity(place, file, *options):
    return ["parity", str(place.model), str(file), "--data", "digits", "--images", "2", *options]


# Data.


def missing_folder(place):
    return train(place, place.root / "nowhere")


def empty_class_folder(place):
    return train(place, images(place.root / "data", {"ant": 3, "bee": 0}))


def one_class(place):
    return train(place, images(place.root / "data", {"ant": 3}))


def class_of_one_image(place):
    return train(place, images(place.root / "data", {"ant": 3, "bee": 1}))


def photographs_in_no_class_folders(place):
    return train(place, images(place.root / "data", {"ant": 3}) / "ant")


def truncated_jpeg(place):
    data = images(place.root / "data", {"ant": 3, "bee": 3})
    whole = place.root / "whole.jpg"
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(whole)
    content = whole.read_bytes()
    whole.unlink()
    (data / "ant" / "cut.jpg").write_bytes(content[: len(content) // 2])
    return train(place, data)


def text_named_jpg(place):
    data = images(place.root / "data", {"ant": 3, "bee": 3})
    text(data / "bee" / "text.jpg")
    return train(place, data)


def corrupt_calibration_image(place):
    data = images(place.root / "data", {"ant": 3, "bee": 3})
    text(data / "bee" / "text.jpg")
    return export_of(place, place.model, "--data", str(data), *STATIC)


def batch_larger_than_the_data(place):
    return train(place, images(place.root / "data", {"ant": 3, "bee": 3}), "--batch-size", "64")


def strategy_without_devices_before_missing_data(place):
    return train(place, place.root / "nowhere", "--strategy", "tpu")


# Models and files.


def missing_model(place):
    return export_of(place, place.root / "nowhere.keras")


def text_named_keras(place):
    return export_of(place, text(place.root / "text.keras"))


def other_zip_named_keras(place):
    path = place.root / "zip.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not a model")
    return export_of(place, path)


def truncated_keras(place):
    path = place.root / "half.keras"
    path.write_bytes(place.model.read_bytes()[: place.model.stat().st_size // 2])
    return export_of(place, path)


def folder_for_a_model(place):
    return export_of(place, place.root)


def keras_of_arrays_that_are_not_there(place):
    path = place.root / "declared.keras"
    with zipfile.ZipFile(place.model) as good:
        parts = {name: good.read(name) for name in good.namelist()}
    parts["model.weights.h5"] = declared(parts["model.weights.h5"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return export_of(place, path)


def weights_of_arrays_that_are_not_there(place):
    path = place.root / "declared.weights.h5"
    with zipfile.ZipFile(place.model) as good:
        path.write_bytes(declared(good.read("model.weights.h5")))
    return train(place, "digits", "--set", f"weights={path}")


def declared(content):
    """Weights of which one array says that it has 1.6 GB, and stores none of them."""
    file = io.BytesIO(content)
    with h5py.File(file, "a") as weights:
        del weights["layers/conv2d/vars/0"]
        weights.create_dataset("layers/conv2d/vars/0", (20_000, 20_000), "float32", chunks=(1000, 1000), fillvalue=1)
    return file.getvalue()


def keras_that_unpacks_to_much_more(place):
    path = place.root / "bomb.keras"
    with zipfile.ZipFile(place.model) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "config.json"):
            archive.writestr(name, good.read(name))
        archive.writestr("model.weights.h5", bytes(2**27 + 1))
    return export_of(place, path)


@keras.saving.register_keras_serializable("own")
class Own(keras.layers.Layer):
    def call(self, x):
        return x


def layer_of_an_unknown_class(place):
    arguments = model_with(place, Own(), "--recipes", "float32")
    archive = Path(arguments[1])
    with zipfile.ZipFile(archive) as good:
        parts = {name: good.read(name).replace(b'"Own"', b'"A\\nB"').replace(b"own>Own", b"own>A\\nB")
                 for name in good.namelist()}  # fmt: skip
    with zipfile.ZipFile(archive, "w") as changed:
        for name, content in parts.items():
            changed.writestr(name, content)
    return arguments


def layer_of_python_code(place):
    return model_with(place, keras.layers.Lambda(lambda x: x + 1), "--recipes", "float32")


def layer_without_8_bits(place):
    return model_with(
        place, keras.layers.ELU(name="curved"), "--target", "edgetpu", "--data", "digits", "--images", "2", *STATIC
    )


def model_that_keras_quantized(place):
    path = place.root / "quantized.keras"
    model = network(SIDE)
    with pytest.warns(UserWarning, match="does not have a `quantize` method"):
        model.quantize("int8")
    model.save(path)
    return export_of(place, path, "--recipes", "float32")


def tflite_changed(place, change):
    model = flatbuffer.unpack(place.tflite.read_bytes())
    change(model.subgraphs[0])
    path = place.root / "changed.tflite"
    path.write_bytes(flatbuffer.pack(model))
    return parity(place, path)


def tflite_name_that_is_not_utf8(place):
    return tflite_changed(place, lambda graph: setattr(graph.tensors[1], "name", b"conv\xff\xfe"))


def tflite_operation_without_outputs(place):
    return tflite_changed(place, lambda graph: setattr(graph.operators[0], "outputs", np.array([], np.int32)))


def model_of_unknown_size(place):
    path = place.root / "any_size.keras"
    network(None).save(path)
    return export_of(place, path, "--recipes", "float32")


def model_of_two_outputs(place):
    path = place.root / "two.keras"
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(image)
    keras.Model(image, [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)]).save(path)
    return export_of(place, path, "--recipes", "float32")


def model_of_vectors(place):
    path = place.root / "vectors.keras"
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(path)
    return export_of(place, path, "--data", "digits", *STATIC)


def model_that_was_never_built(place):
    path = place.root / "unbuilt.keras"
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Dense(2)]).save(path)
    return export_of(place, path, "--recipes", "float32")


def model_of_a_batch(place):
    path = place.root / "batch.keras"
    inputs = keras.Input(batch_shape=(8, SIDE, SIDE, 3))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)
    return export_of(place, path, "--target", "ethos_u55_128", "--data", "digits", *STATIC)


def model_too_large_for_the_arena(place):
    path = place.root / "large.keras"
    network(8192).save(path)
    return export_of(place, path, "--target", "tflite_micro", "--data", "digits", *STATIC)


def model_with(place, layer, *options):
    path = place.root / "odd.keras"
    inputs = keras.Input((SIDE, SIDE, 3))
    keras.Model(inputs, keras.layers.Flatten()(layer(inputs))).save(path)
    return export_of(place, path, *options)


def layer_without_an_operation(place):
    layer = keras.layers.Resizing(8, 8, interpolation="bicubic", name="shrink")
    return model_with(place, layer, "--recipes", "float32")


def layer_that_the_target_lacks(place):
    layer = keras.layers.ELU(name="curved")
    return model_with(place, layer, "--recipes", "float32", "--target", "phone_gpu")


def loop_in_integers(place):
    def layer(x):
        return keras.layers.LSTM(2)(keras.layers.Reshape((SIDE, 3 * SIDE))(x))

    return model_with(place, layer, "--data", "digits", "--images", "2", *STATIC)


def damaged_record(place):
    path = place.root / "model.keras"
    path.write_bytes(place.model.read_bytes())
    (place.root / "run.json").write_text("{")
    return export_of(place, path, "--recipes", "float32")


def missing_tflite(place):
    return parity(place, place.root / "nowhere.tflite")


def tflite_cut_in_half(place):
    path = place.root / "half.tflite"
    content = place.tflite.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return parity(place, path)


def text_named_tflite(place):
    return parity(place, text(place.root / "text.tflite"))


def tflite_of_another_size(place):
    path = place.root / "larger.keras"
    network(2 * SIDE).save(path)
    return ["parity", str(path), str(place.tflite), "--data", "digits", "--images", "2"]


def tflite_of_other_operations(place):
    model = flatbuffer.unpack(place.tflite.read_bytes())
    operation = model.subgraphs[0].operators[0]
    operation.builtinOptions, operation.builtinOptionsType = None, 0
    code = model.operatorCodes[operation.opcodeIndex]
    code.builtinCode, code.customCode = flatbuffer.schema.BuiltinOperator.CUSTOM, b"OwnConvolution"
    path = place.root / "other.tflite"
    path.write_bytes(flatbuffer.pack(model))
    return path


def parity_of_other_operations(place):
    return parity(place, tflite_of_other_operations(place))


def bench_of_other_operations(place):
    return ["bench", str(tflite_of_other_operations(place))]


def diagnosis_of_other_operations(place):
    return ["diagnose", str(place.tflite), str(tflite_of_other_operations(place)), "--data", "digits", "--images", "2"]


def no_files(place):
    return ["parity", str(place.model), "--data", "digits"]


# Folders.


def below_a_file(place):
    """`out` below a regular file: root may write anywhere else."""
    return place._replace(out=text(place.root / "file") / "out")


def train_where_nothing_can_be_written(place):
    return train(below_a_file(place), "digits")


def export_where_nothing_can_be_written(place):
    return export_of(below_a_file(place), place.model, "--recipes", "float32")


def excite_where_nothing_can_be_written(place):
    """Said before the model is read, which has no SE."""
    return ["excite", str(place.model), "--data", "digits", "--out", str(below_a_file(place).out)]


def quickstart_where_nothing_can_be_written(place):
    return ["quickstart", "--out", str(below_a_file(place).out)]


FILES: dict[Callable[[Place], list[str]], tuple[str, ...]] = {
    missing_folder: ("nowhere", "folder of class folders"),
    empty_class_folder: ("data/bee", "holds no image"),
    one_class: ("/data", "at least 2 classes; it has 1"),
    class_of_one_image: ("class bee must have at least 2 images, to train and to test on; it has 1",),
    photographs_in_no_class_folders: ("data/ant must hold a folder for each of at least 2 classes; it has 0",),
    truncated_jpeg: ("1 of 7 images", "ant/cut.jpg", "--skip-corrupt"),
    text_named_jpg: ("1 of 7 images", "bee/text.jpg", "--skip-corrupt"),
    corrupt_calibration_image: ("1 of 7 images", "bee/text.jpg", "--skip-corrupt"),
    batch_larger_than_the_data: ("batch_size must be at most the 4 training images; got 64",),
    strategy_without_devices_before_missing_data: ("this machine is attached to no TPU",),
    missing_model: ("no model file", "nowhere.keras"),
    text_named_keras: ("text.keras is not a model that Keras can load",),
    other_zip_named_keras: ("zip.keras is not a model that Keras can load",),
    truncated_keras: ("half.keras is not a model that Keras can load",),
    keras_that_unpacks_to_much_more: ("bomb.keras must unpack to at most 20 times", "says 134,2"),
    keras_of_arrays_that_are_not_there: ("declared.keras must unpack to at most 20 times", "it says 1,600,00"),
    weights_of_arrays_that_are_not_there: ("declared.weights.h5 must unpack to at most 20 times", "it says 1,600,00"),
    layer_of_an_unknown_class: ("a class that is not Keras's, 'A\\nB'", "--import MODULE"),
    layer_of_python_code: ("holds Python code, as a Lambda layer does", "--import MODULE"),
    model_that_keras_quantized: ("the model must be in float", "changed by model.quantize"),
    tflite_name_that_is_not_utf8: ("changed.tflite is damaged", "the name of tensor 1 is no text"),
    tflite_operation_without_outputs: ("changed.tflite is damaged",),
    folder_for_a_model: ("no model file",),
    model_of_unknown_size: ("known size", "None", "--image-size"),
    model_of_two_outputs: ("must give one output; it gives 2", "keras.Model(model.input, model.outputs[0])"),
    model_of_vectors: ("the model must take one image", "(None, 4)"),
    model_that_was_never_built: ("was never built and has no weights", "call it on an image"),
    model_of_a_batch: ("one image at a time; got a batch of 8", "keras.Input((16, 16, 3))"),
    model_too_large_for_the_arena: ("an arena of at most 64 MiB", "conv2d", "smaller input than (8192, 8192, 3)"),
    layer_without_an_operation: ("no operation for ResizeBicubic of the layer shrink",),
    layer_that_the_target_lacks: ("phone_gpu runs", "ELU curved", "build and train it with relu"),
    layer_without_8_bits: ("edgetpu computes in 8-bit integers alone", "none of for ELU", "ELU curved"),
    loop_in_integers: ("a static recipe takes no loop", "unroll=True"),
    damaged_record: ("run.json is not the record of a run",),
    missing_tflite: ("cannot read", "nowhere.tflite"),
    tflite_cut_in_half: ("half.tflite is damaged or cut short",),
    text_named_tflite: ("text.tflite is not a .tflite file",),
    tflite_of_another_size: ("good.tflite", "(n, 16, 16, 3)", "(2, 32, 32, 3)"),
    **dict.fromkeys(
        (parity_of_other_operations, bench_of_other_operations, diagnosis_of_other_operations),
        ("other.tflite", "OwnConvolution"),
    ),
    no_files: ("at least one .tflite file",),
    train_where_nothing_can_be_written: ("cannot write in", "file/out", "--out"),
    export_where_nothing_can_be_written: ("cannot write in", "file/out", "--out"),
    excite_where_nothing_can_be_written: ("cannot write in", "file/out", "--out"),
    quickstart_where_nothing_can_be_written: ("cannot write in", "file/out", "--out"),
}

# Names and numbers, after arguments that are good.

GOOD: dict[str, Callable[[Place], list[str]]] = {
    "train": lambda place: train(place, "digits"),
    "export": lambda place: export_of(place, place.model),
    "parity": lambda place: parity(place, place.tflite),
}


def with_options(command, *options):
    return lambda place: [*GOOD[command](place), *options]


UNFIT_OPTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("train", "--model", "se_mobilenet9"): ("model must be one of", "se_mobilenet9"),
    ("train", "--recipe", "paper_vgg"): ("recipe must be one of", "paper_vgg"),
    ("train", "--augmentation", "rotate"): ("augmentation must be one of", "rotate"),
    ("train", "--strategy", "horovod"): ("strategy must be one of auto, none, mirrored, multi_worker, tpu", "horovod"),
    ("train", "--strategy", "tpu"): ("this machine is attached to no TPU", "use auto, none or mirrored"),
    ("train", "--set", "r=0"): ("r must be an integer of at least 1; got r=0",),
    ("train", "--set", "alpha=1e9"): ("alpha must be a number above 0 and at most 10; got alpha=1000000000.0",),
    ("train", "--set", "alpha=inf"): ("alpha must be a finite number; got alpha=inf",),
    ("train", "--set", "use_bias=maybe"): ("use_bias must be True, False or None; got use_bias='maybe'",),
    ("train", "--set", "use_bias=1"): ("use_bias must be True, False or None; got use_bias=1",),
    ("train", "--set", "alpha=wide"): ("alpha must be a finite number; got alpha='wide'",),
    ("train", "--set", "alpha=true"): ("alpha must be a finite number; got alpha=True",),
    ("train", "--set", "r=8.0"): ("r must be an integer or None; got r=8.0",),
    ("train", "--set", "placement=3"): ("placement must be text or None; got placement=3",),
    ("train", "--set", "se_stages=[2, 'a']"): ("se_stages must be a list of integers or None; got",),
    ("train", "--set", "se_stages=2"): ("se_stages must be a list of integers or None; got se_stages=2",),
    ("train", "--set", "alhpa=0.5"): ("must be among activation, alpha, ", ", use_bias, weights; got alhpa=0.5"),
    ("train", "--set", "classes=3"): ("must be among activation, alpha, ", "got classes=3"),
    ("train", "--set", "name=x"): ("must be among activation, alpha, ", "got name='x'"),
    ("train", "--set", "r=4", "r=8"): ("--set takes each name once; got r twice",),
    ("train", "--set", "alpha=" + "[" * 5000): ("alpha must be a finite number; got alpha='[[[",),
    ("train", "--set", "include_top=False"): ("include_top",),
    ("train", "--epochs", str(10**20)): ("epochs must be at most 1000000; got epochs=1" + 20 * "0",),
    ("train", "--learning-rate", "nan"): ("learning_rate must be finite; got learning_rate=nan",),
    ("train", "--set", "alpha"): ("NAME=VALUE", "'alpha'"),
    ("train", "--epochs", "3", "--set", "include_top=false"): ("include_top",),
    ("train", "--seed", str(2**32)): ("seed must be", "4294967296"),
    ("export", "--recipes"): ("recipes must name at least one",),
    ("export", "--recipes", "static_wi4_ai8"): ("recipe must be one of", "static_wi4_ai8"),
    ("export", "--recipes", "float32", "--target", "toaster"): ("target must be one of", "toaster"),
    ("export", "--recipes", "float16", "--target", "tflite_micro"): ("tflite_micro cannot run float16",),
    ("export", "--recipes", "float32", "--target", "tflite_micro"): ("tflite_micro cannot run float32",),
    ("export", "--recipes", "float32", "--target", "ethos_u55_128"): ("ethos_u55_128 cannot run float32",),
    ("export", "--recipes", "static_wi8_ai8_se_ai16", "--data", "digits", "--images", "2"): (
        "static_wi8_ai8_se_ai16 does not fit: the network has no SE",
    ),
    ("export", "--search", "--data", "digits", *STATIC): ("leave out --recipes", "static_wi8_ai8"),
    ("export", "--search"): ("--search needs images", "--data"),
    ("export", "--search", "--data", "digits", "--max-drop", "-1"): (
        "max_drop must be at least 0 percentage points; got -1.0",
    ),
    ("export", "--search", "--data", "digits", "--higher-precision", "bf16", "--images", "2", "--test-images", "2"): (
        "higher_precision must be one of fp32, ai16; got 'bf16'",
    ),
    ("export", "--search", "--data", "digits", "--bias-correction"): ("leave out --bias-correction",),
    ("export", "--search", "--data", "digits", "--calibrate-scores"): ("leave out", "--calibrate-scores"),
    ("export", "--image-size", "16", "--input-shape", "16", "16", "3"): ("--input-shape", "give it alone"),
    ("export", "--image-size", "16", "16", "3"): ("one side, or height and width; got 3 numbers",),
    ("export", "--image-size", "8"): ("must be what the model takes, (None, 16, 16, 3); got (8, 8, 3)",),
    ("export", "--search", "--data", "digits", "--io", "uint8"): ("leave out", "--io and --batch"),
    ("export", "--recipes", "float32", "--io", "uint8"): ("io is for the target edgetpu (int8, uint8)", "phone_cpu"),
    ("export", "--recipes", "float32", "--batch", "0"): ("batch must be at least 1; got 0",),
    ("export", "--target", "mediapipe", "--batch", "2"): ("mediapipe takes one image at a time", "batch of 2"),
    ("export", "--calibrate-scores", "--data", "digits"): ("is for --target mediapipe", "phone_cpu"),
    ("export", "--calibrate-scores", "--target", "mediapipe", *STATIC): ("needs labelled images", "no --data"),
    ("export", "--recipes", "float32", "--calibration-method", "entropy"): (
        "calibration_method must be one of min_max, percentile",
        "entropy",
    ),
    ("export", *STATIC): ("calibration images", "--data"),
    ("export", "--data", "digits", "--images", "0", *STATIC): ("images must be at least 1; got 0",),
    ("parity", "--engines"): ("engines must name at least one of litert, litert_reference, tflm",),
    ("parity", "--engines", "onnx"): ("engine must be one of", "onnx"),
}

CASES = [
    *(pytest.param(case, named, id=case.__name__) for case, named in FILES.items()),
    *(pytest.param(with_options(*line), named, id=" ".join(line)) for line, named in UNFIT_OPTIONS.items()),
]

COMMANDS = {"quickstart": main.Quickstart, "train": main.Train, "export": main.Export, "parity": main.Parity}
COMMANDS |= {"bench": main.Bench, "diagnose": main.Diagnose, "excite": main.Excite}
OPTIONS = {
    name: {"--import", *(f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(command))}
    for name, command in COMMANDS.items()
}


@pytest.mark.parametrize(("case", "named"), CASES)
def test_bad_input_is_named_in_one_line_and_leaves_nothing_behind(case, named, place, capsys):
    arguments = case(place)
    before = set(place.root.rglob("*"))
    status = main.run(arguments)
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    *before_it, line = printed.err.splitlines()
    assert all(told.startswith("keras-se: preset ") for told in before_it)  # which the images have chosen
    assert line.startswith("keras-se: ")
    for part in named:
        assert part in line
    options = set(re.findall(r"--[a-z-]+", line))
    assert options <= OPTIONS[arguments[0]]  # a remedy is one that the command knows
    assert set(place.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "needs calibration images, and there are none"),
        (np.zeros((0, SIDE, SIDE, 3), np.float32), "needs calibration images, and there are none"),
        (np.zeros((4, SIDE, SIDE, 1), np.float32), r"shape \(n, 16, 16, 3\); got \(4, 16, 16, 1\)"),
        (np.zeros((4, 8, 8, 3), np.float32), r"shape \(n, 16, 16, 3\); got \(4, 8, 8, 3\)"),
        (np.zeros((SIDE, SIDE, 3), np.float32), r"shape \(n, 16, 16, 3\); got \(16, 16, 3\)"),
        (np.zeros((4, SIDE, SIDE, 3), np.uint8), "must be floats.*got uint8"),
        (np.full((4, SIDE, SIDE, 3), np.nan, np.float32), "finite"),
    ],
    ids=["none", "zero", "grey", "small", "no batch", "integers", "nan"],
)
def test_unfit_calibration_images_are_refused_and_nothing_is_written(calibration, message, place):
    with pytest.raises(InputError, match=message):
        export(place.model, place.out, recipes=["float32", "static_wi8_ai8"], calibration=calibration)
    assert not list(place.out.glob("*"))
