"""Export replaces the files of an earlier export, and no others."""

import json

import keras
import pytest

from keras_se.errors import InputError
from keras_se.export import export

FILE, MANIFEST = "net.float32.tflite", "net.float32.tflite.json"


@pytest.fixture(scope="module")
def network():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="net")


def test_an_earlier_export_is_replaced(network, tmp_path):
    export(network, tmp_path, recipes=["float32"])
    (tmp_path / FILE).write_text("older")
    export(network, tmp_path, recipes=["float32"])
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert (tmp_path / FILE).stat().st_size == manifest["bytes"]
    assert {path.name for path in tmp_path.iterdir()} == {FILE, MANIFEST}


@pytest.mark.parametrize("name", [FILE, MANIFEST])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "broken link"])
def test_another_s_file_of_the_name_is_refused_and_stays(name, kind, network, tmp_path):
    place = tmp_path / name
    (tmp_path / "elsewhere").write_text("{}")
    if kind == "file":
        place.write_text('{"not": "ours"}')
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="is in the way, and no manifest says that an export wrote it") as refused:
        export(network, tmp_path, recipes=["float32"])
    assert str(place) in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_a_further_file_is_another_s_unless_the_manifest_lists_it(network, tmp_path):
    """So it is with the browser's page beside a file that was exported for the phone."""
    export(network, tmp_path, recipes=["float32"])
    page = tmp_path / "net.float32.html"
    page.write_text("mine")
    with pytest.raises(InputError, match=r"net\.float32\.html is in the way"):
        export(network, tmp_path, recipes=["float32"], target="browser")
    assert page.read_text() == "mine"
    assert json.loads((tmp_path / MANIFEST).read_text())["target"] == "phone_cpu"
    page.unlink()
    for _ in range(2):
        export(network, tmp_path, recipes=["float32"], target="browser")
    assert json.loads((tmp_path / MANIFEST).read_text())["files"] == ["net.float32.html"]
