"""Files for a browser: against LiteRT's own reading here, against LiteRT.js in Chromium in the slow tier."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from keras_se.errors import InputError
from keras_se.export import RECIPES, export
from keras_se.export.targets.base import QuantizedModel
from keras_se.export.targets.browser import INTERPOLATIONS
from keras_se.export.targets.registry import TARGETS
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import Split, load_source


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """Folder of the trained network's files as the browser takes them, and of images to classify."""
    folder = tmp_path_factory.mktemp("browser")
    source = load_source("digits")
    for recipe in RECIPES:
        content = QuantizedModel(
            TFLiteModel(trained.files[recipe].read_bytes()),
            RECIPES[recipe],
            "se_mobilenet",
            Preprocessing(32, 32),
            source.classes,
        )
        deliverable = TARGETS["browser"].package_for_target(content)
        (folder / f"se_mobilenet.{recipe}.tflite").write_bytes(deliverable.file.content)
        (folder / f"se_mobilenet.{recipe}.html").write_bytes(deliverable.files[".html"])
    for number, image in enumerate(source.test.images[:8]):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_both_ends_are_float_and_the_batch_is_static(folder, recipe):
    interpreter = Interpreter(model_path=str(folder / f"se_mobilenet.{recipe}.tflite"))
    [input_details], [output_details] = interpreter.get_input_details(), interpreter.get_output_details()
    assert input_details["dtype"] == output_details["dtype"] == np.float32
    assert input_details["shape_signature"].tolist() == [1, 32, 32, 3]
    assert output_details["shape_signature"].tolist() == [1, 10]


class Reader(HTMLParser):
    """A page's elements, and the text of each of its scripts by id."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.scripts, self.id = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.id = dict(attributes).get("id") if tag == "script" else None

    def handle_data(self, data):
        if self.id is not None:
            self.scripts[self.id] = self.scripts.get(self.id, "") + data


HOSTILE = ["</script><script>alert(1)</script>", "<!--<script>", '"\\', "NETWORK", "Ünïcode 🦆"]


def small(folder, *, channels=3, interpolation="bilinear", labels=HOSTILE, mean=(0, 0, 0), std=(1, 1, 1), crop=1.0):
    """An untrained network of a 40x56 image in a folder, with its record."""
    image = keras.Input((40, 56, channels))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    path = folder / "small.keras"
    keras.Model(image, keras.layers.Dense(len(labels))(features), name="small").save(path)
    preprocessing = Preprocessing(40, 56, crop, interpolation, mean, std)
    path.with_name("run.json").write_text(json.dumps({"preprocessing": preprocessing.to_dict(), "classes": labels}))
    return path, preprocessing


def test_no_label_becomes_markup(folder, tmp_path):
    export(small(tmp_path)[0], tmp_path / "out", recipes=["float32"], target="browser")
    hostile = Reader((tmp_path / "out" / "small.float32.html").read_text())
    network = json.loads(hostile.scripts["network"])
    assert network["labels"] == HOSTILE
    assert network["file"] == "small.float32.tflite"
    assert network["logits"]
    harmless = Reader((folder / "se_mobilenet.float32.html").read_text())
    assert hostile.tags == harmless.tags
    assert not json.loads(harmless.scripts["network"])["logits"], "it ends in a softmax"


def test_the_page_names_no_other_host(folder):
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", (folder / "se_mobilenet.float32.html").read_text())


@pytest.mark.parametrize(
    ("unfit", "message"),
    [({"channels": 1}, r"\(1, 40, 56, 3\); got \(1, 40, 56, 1\)"), ({"interpolation": "area"}, "bilinear.*got 'area'")],
)
def test_what_the_page_cannot_feed_is_refused(tmp_path, unfit, message):
    with pytest.raises(InputError, match=f"^browser .*{message}"):
        export(small(tmp_path, **unfit)[0], tmp_path / "out", recipes=["float32"], target="browser")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def open_pages(tmp_path_factory):
    """Opens pages of a folder in Chromium: from `(page, images)` to what each showed."""
    tools = {name: shutil.which(name) for name in ("npm", "node", "chromium")}
    missing = [name for name, path in tools.items() if path is None]
    if missing:
        pytest.fail(f"not on PATH: {', '.join(missing)}; apt-get install nodejs npm chromium")
    packages = tmp_path_factory.mktemp("npm")
    installing = [tools["npm"], "install", "--prefix", packages, "@litertjs/core@2.5", "playwright-core@1"]
    installed = subprocess.run(installing, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.fail(f"npm cannot install LiteRT.js and playwright-core: {installed.stderr.strip()}")

    def opened(folder, pages):
        place = folder / "node_modules"
        if not place.exists():
            place.symlink_to(packages / "node_modules")
        handler = functools.partial(Silent, directory=str(folder))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            jobs = [(f"http://127.0.0.1:{server.server_port}/{page}", list(map(str, images))) for page, images in pages]
            script = Path(__file__).with_name("classify_in_browser.mjs")
            command = [tools["node"], script, packages, tools["chromium"], json.dumps(jobs)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            server.shutdown()
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert [answer["foreign"] + answer["wrong"] for answer in shown] == [[]] * len(pages), (
            "no other host, no exception"
        )
        return shown

    return opened


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.slow
def test_the_page_classifies_as_keras_does(folder, trained, open_pages):
    files = [folder / f"{number}.png" for number in range(8)]
    pages = {recipe: f"se_mobilenet.{recipe}.html" for recipe in RECIPES}
    shown = open_pages(folder, [(page, files) for page in pages.values()])
    inputs = images_as_trained(files, Preprocessing(32, 32))
    expected = trained.model.predict(inputs, verbose=0)
    for recipe, page in zip(pages, shown, strict=True):
        assert page["problem"] is None, page["problem"]
        got = np.array([answer["outputs"] for answer in page["results"]])
        assert [answer["names"][0] for answer in page["results"]] == [str(row.argmax()) for row in expected], recipe
        error = np.abs(got - expected).max()
        print(f"{recipe} in the browser: top-1 equal on {len(files)} images, greatest error {error:.2g}")
        # Probabilities; what a recipe's logits may be off, of logits up to some 8, is far more than this.
        assert error < (1e-5 if recipe == "float32" else 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_page_prepares_an_image_as_training_does(interpolation, tmp_path, open_pages):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    path, preprocessing = small(tmp_path, interpolation=interpolation, mean=mean, std=std, crop=0.875)
    export(path, tmp_path, recipes=["float32"], target="browser")
    rng = np.random.default_rng(0)
    files = []
    for number, size in enumerate([(333, 201, 3), (30, 61, 3), (46, 64, 3)]):  # smaller, larger, the same
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(files[-1])
    [page] = open_pages(tmp_path, [("small.float32.html", files)])
    inputs = images_as_trained(files, preprocessing)
    got = np.array([list(answer["input"].values()) for answer in page["results"]]).reshape(inputs.shape)
    error = np.abs(got - inputs).max() * 0.229 * 255
    print(f"{interpolation}: greatest error {error:.2g} of 255")
    assert error < 1e-2  # sums in float32 and in float64
    assert all(set(answer["names"]) == set(HOSTILE) for answer in page["results"])


@pytest.mark.slow
def test_the_page_classifies_what_a_camera_sees(folder, open_pages):
    [shown] = open_pages(folder, [("se_mobilenet.static_wi8_ai8.html", ["camera", folder / "0.png"])])
    camera, image = shown["results"]
    assert len(camera["names"]) == len(image["names"]) == 5
    assert camera["outputs"] != image["outputs"]
    assert re.search(r"\(median of [1-3]\d\)$", camera["inference"])


@pytest.mark.slow
def test_the_page_says_what_is_missing(folder, tmp_path, open_pages):
    page = tmp_path / "se_mobilenet.float32.html"
    shutil.copy(folder / page.name, page)
    [shown] = open_pages(tmp_path, [(page.name, [])])
    assert shown["problem"] == "se_mobilenet.float32.tflite is not beside this page: copy it there"
    (tmp_path / "bare").mkdir()
    shutil.copy(page, tmp_path / "bare")
    [shown] = open_pages(tmp_path, [(f"bare/{page.name}", [])])
    assert "npm install --prefix . @litertjs/core@2.5" in shown["problem"]


def images_as_trained(files, preprocessing):
    split = Split(np.array(list(map(str, files))), np.zeros(len(files), "int32"))
    return sample(split, preprocessing, len(files))[0]
