"""`keras-se excite`: what it prints is what the library measures, and its pictures are there."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_se
from command_answers import document, refusal
from keras_se.preprocessing import Preprocessing
from keras_se.training.data.input_pipeline import sample
from keras_se.training.data.sources import load_source

LAYERS = keras.layers


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras_se.SqueezeExcite(4, name="first_se")(LAYERS.Conv2D(16, 3, name="first")(image))
    x = keras_se.SqueezeExcite(4, name="second_se")(LAYERS.Conv2D(8, 3, name="second")(x))
    model = keras.Model(image, LAYERS.Dense(10, activation="softmax")(LAYERS.GlobalAveragePooling2D()(x)))
    path = tmp_path_factory.mktemp("excite") / "net.keras"
    model.save(path)
    return model, path


def test_figures_and_pictures_of_each_block(network, capsys, tmp_path):
    model, path = network
    out = tmp_path / "new" / "excite"
    printed = document(
        capsys, "excite", str(path), "--data", "digits", "--out", str(out), "--images", "30", "--runs", "2"
    )
    images, labels = sample(load_source("digits").test, Preprocessing(8, 8), 30)
    gates = keras_se.excitations(model, images)
    assert printed["images"] == 30
    assert printed["accuracy"] == np.mean(model.predict_on_batch(images).argmax(1) == labels)
    assert [(block["name"], block["channels"]) for block in printed["blocks"]] == [("first_se", 16), ("second_se", 8)]
    for block in printed["blocks"]:
        assert block["mean"] == pytest.approx(gates[block["name"]].mean(), rel=1e-5)
        assert block["spread"] == pytest.approx(gates[block["name"]].std(0).mean(), rel=1e-4)
        assert block["ms"] > 0
    assert printed["plots"] == [str(out / "by_class.png"), str(out / "by_depth.png")]
    for picture in printed["plots"]:
        with Image.open(picture) as drawn:
            assert min(drawn.size) > 300


def test_it_says_what_folding_constant_blocks_saves_by_target(network, capsys, tmp_path):
    model, path = network
    arguments = ("--data", "digits", "--out", str(tmp_path / "out"), "--images", "10", "--runs", "2")
    printed = document(capsys, "excite", str(path), *arguments, "--fold", "1")
    images, _ = sample(load_source("digits").test, Preprocessing(8, 8), 10)
    folding = keras_se.fold_constant(model, images, tolerance=1)
    fold = printed["fold"]
    assert fold["folded"] == ["first_se", "second_se"]
    assert fold["parameters_saved"] == folding.parameters_saved
    assert fold["output_change"] == pytest.approx(folding.output_change, rel=1e-3)
    assert fold["ms_saved"] == {"phone_cpu": pytest.approx(sum(block["ms"] for block in printed["blocks"]))}
    nothing = document(capsys, "excite", str(path), *arguments, "--fold", "0", "--target")
    assert (nothing["fold"]["folded"], nothing["fold"]["ms_saved"]) == ([], {})


@pytest.mark.slow
def test_vela_says_what_folding_saves_on_a_neural_processor(network, capsys, tmp_path):
    pytest.importorskip("ethosu.vela")
    arguments = ("--data", "digits", "--out", str(tmp_path / "out"), "--images", "10")
    target = "ethos_u55_128"
    printed = document(capsys, "excite", str(network[1]), *arguments, "--target", target, "--fold", "1")
    times = printed["npu_ms"][target]
    # All blocks are folded, which is the network without SE.
    assert printed["fold"]["ms_saved"] == {target: pytest.approx(times["with"] - times["without"], rel=0.05)}
    assert times["with"] > times["without"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fold", "-1"], "fold must be at least 0; got -1.0"),
        (["--target", "edgetpu"], "target must be phone_cpu or ethos_u…, for which times are estimated; got edgetpu"),
        (["--images", "0"], "images must be at least 1; got 0"),
        (["--runs", "0"], "runs must be at least 1; got 0"),
    ],
)
def test_options_that_do_not_hold_are_refused(arguments, message, network, capsys, tmp_path):
    out = tmp_path / "out"
    line = refusal(capsys, "excite", str(network[1]), "--data", "digits", "--out", str(out), *arguments)
    assert message in line
    assert not out.exists()


def test_a_network_without_se_is_refused(network, capsys, tmp_path):
    keras_se.remove(network[0]).save(tmp_path / "plain.keras")
    line = refusal(capsys, "excite", str(tmp_path / "plain.keras"), "--data", "digits", "--out", str(tmp_path / "out"))
    assert "excite takes a network with SE" in line
    assert not (tmp_path / "out").exists()
