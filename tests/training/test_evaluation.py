"""Figures of a classifier on labelled images, held to scikit-learn's; and what it says of single images."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

import keras_se
from keras_se.classifier import Classifier, classifier_of, probabilities
from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing
from keras_se.training import evaluate, predict
from keras_se.training.data.sources import Source, Split
from keras_se.training.evaluation import calibration_error, measure
from keras_se.training.prediction import images_in

NAMES = tuple("abcdefg")
FLOAT64 = 1e-12


@pytest.fixture(scope="module")
def figures():
    """Evaluation of 400 random scores; most images have the greatest on their own class, and none on class g."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 400)
    logits = rng.normal(size=(400, 7)) + 1.5 * np.eye(7)[labels]
    logits[:, 6] = -20.0
    return measure(probabilities(logits), labels, NAMES, name="random")


def test_the_confusion_matrix_is_scikit_learns(figures):
    expected = metrics.confusion_matrix(figures.labels, figures.scores.argmax(1), labels=range(7))
    assert (figures.confusion == expected).all()


def test_top_1_and_top_5_are_scikit_learns(figures):
    assert figures.top1 == metrics.top_k_accuracy_score(figures.labels, figures.scores, k=1, labels=range(7))
    assert figures.top5 == metrics.top_k_accuracy_score(figures.labels, figures.scores, k=5, labels=range(7))


def test_precision_and_recall_of_each_class_are_scikit_learns(figures):
    best = figures.scores.argmax(1)
    precision, recall, _, images = metrics.precision_recall_fscore_support(figures.labels, best, labels=range(6))
    for row, *expected in zip(figures.per_class, precision, recall, images, strict=False):
        assert [row.precision, row.recall, row.images] == pytest.approx(expected, rel=FLOAT64)


def test_a_class_that_never_occurs_has_no_precision_and_no_recall(figures):
    assert (figures.per_class[6].precision, figures.per_class[6].recall) == (None, None)
    assert "g" not in [row.name for row in figures.worst_classes(7)]


def test_five_classes_have_no_top_5():
    assert measure(np.eye(5), np.arange(5), NAMES[:5], name="all right").top5 is None


def test_the_worst_classes_and_the_pairs_most_confused_are_those_of_the_matrix(figures):
    recalls = [row.recall for row in figures.worst_classes(6)]
    assert recalls == sorted(recalls)
    (true, taken, count), *_ = figures.most_confused(3)
    wrong = figures.confusion * (1 - np.eye(7, dtype=int))
    assert count == wrong.max() == wrong[NAMES.index(true), NAMES.index(taken)]


def test_a_classifier_that_is_always_right_has_neither_worst_nor_confused():
    perfect = measure(np.eye(7), np.arange(7), NAMES, name="perfect")
    assert (perfect.worst_classes(), perfect.most_confused(), perfect.top1) == ([], [], 1.0)


def test_the_calibration_error_is_equation_5_of_guo_et_al():
    """Bin by bin, as written: sum over bins of |B| / n · |acc(B) - conf(B)|."""
    rng = np.random.default_rng(1)
    confidences = rng.uniform(0.1, 1, 500)
    right = rng.random(500) < confidences**2  # too sure
    expected = 0.0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidences[inside].mean())
    assert calibration_error(confidences, right) == pytest.approx(expected, rel=FLOAT64)
    assert expected > 0.05  # so that zero would be seen


def test_a_sure_and_right_classifier_is_calibrated():
    assert calibration_error(np.ones(8), np.ones(8, bool)) == 0.0


# Outputs as probabilities.


def test_logits_go_through_a_softmax_and_shares_stay():
    logits = np.array([[1.0, 2.0, 4.0], [-3.0, 0.0, 800.0]])
    shares = probabilities(logits)
    exact = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert shares[0] == pytest.approx(exact, rel=FLOAT64)
    assert (probabilities(shares) == shares).all()


def test_one_output_is_the_probability_of_the_second_class():
    assert probabilities(np.array([[0.25]])) == pytest.approx(np.array([[0.75, 0.25]]))
    assert probabilities(np.array([[3.0]]))[0, 1] == pytest.approx(1 / (1 + np.exp(-3.0)), rel=FLOAT64)


def test_outputs_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="no numbers"):
        probabilities(np.array([[np.nan, 1.0]]))


# A run, a model, and what is not a model.


def test_the_accuracy_of_a_run_is_that_of_its_record(golden):
    """Written when it was trained, by Keras's own metric in float32."""
    record = json.loads((golden / "run.json").read_text())
    figures = evaluate(golden, "digits")
    assert figures.top1 == pytest.approx(record["test_accuracy"], abs=1e-6)
    assert figures.classes == tuple(record["classes"])
    assert figures.images == record["images"]["test"]


def test_classes_are_told_by_their_names_and_not_by_their_places(golden, digits):
    """A folder's classes may be fewer and in another order than the model's."""
    keep = np.isin(digits.test.labels, (3, 7))
    labels = np.where(digits.test.labels[keep] == 7, 0, 1)
    few = Source(("7", "3"), digits.train, Split(digits.test.images[keep], labels))
    figures = evaluate(golden, few)
    assert figures.top1 > 0.9
    assert figures.confusion.sum(1).nonzero()[0].tolist() == [3, 7]


def test_a_class_that_the_model_has_not_is_refused_with_both_lists(golden, digits):
    other = dataclasses.replace(digits, classes=(*digits.classes[:9], "ant"))
    with pytest.raises(InputError, match=r"0, 1, 2, .*9.*; the images are of 0, 1, .*ant"):
        evaluate(golden, other)


def test_a_model_without_names_must_have_as_many_classes(digits):
    model = keras_se.create_model("se_mobilenet", input_shape=(32, 32, 3), classes=7, alpha=0.125)
    with pytest.raises(InputError, match=r"gives 7 scores, .* the images have 10: 0, 1"):
        evaluate(model, dataclasses.replace(digits, test=Split(digits.test.images[:2], digits.test.labels[:2])))


def test_batches_give_what_one_batch_gives(golden, digits, monkeypatch):
    few = dataclasses.replace(digits, test=Split(digits.test.images[:20], digits.test.labels[:20]))
    at_once = evaluate(golden, few)
    monkeypatch.setattr("keras_se.training.prediction._PIXELS", 8 * 32 * 32)
    in_three = evaluate(golden, few)
    # float32 sums in another order: 24 bits, over 27 layers
    assert in_three.scores == pytest.approx(at_once.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nowhere", "a model is a .keras file or the folder of a run; got 'nowhere'"),
        ("file.tflite", "pass keras_se.export.load_classifier"),
    ],
)
def test_what_is_no_model_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, "digits")


def test_a_part_that_there_is_not_is_refused(golden):
    with pytest.raises(InputError, match="part must be test, train or all; got 'some'"):
        evaluate(golden, "digits", part="some")


def test_a_record_of_other_classes_than_the_model_gives_is_refused(golden, tmp_path):
    shutil.copytree(golden, tmp_path / "run")
    record = json.loads((golden / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**record, "classes": ["ant", "bee"]}))
    with pytest.raises(InputError, match="names 2 classes, and the model gives 10"):
        classifier_of(tmp_path / "run")


# Single images.


@pytest.fixture
def seven(digits, tmp_path):
    """Digits that are sevens, as files: grey, palette, and turned as EXIF says."""
    array = digits.test.images[digits.test.labels == 7][0]
    image = Image.fromarray(array).resize((64, 64), Image.Resampling.BILINEAR)
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    exif = Image.Exif()
    exif[274] = 6  # the top is on the right: a viewer turns it clockwise by 90 degrees
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    return [tmp_path / name for name in ("grey.png", "palette.png", "turned.jpg")]


def test_an_image_of_any_form_gets_its_class(golden, seven):
    for best, *_ in predict(golden, seven, top=3):
        assert best[0] == "7"
        assert best[1] > 0.5


def test_as_many_classes_as_there_are_at_most_the_best_first(golden, seven):
    [rows] = predict(golden, seven[:1], top=99)
    scores = [score for _, score in rows]
    assert len(rows) == 10
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_classes_without_names_are_numbers(seven):
    keras.utils.set_random_seed(0)
    constant = Classifier("constant", Preprocessing(8, 8), None, lambda images: np.eye(3)[[1] * len(images)])
    assert predict(constant, seven[:1], top=1) == [[("1", 1.0)]]


@pytest.mark.parametrize("content", [b"no image", b""])
def test_what_is_no_image_is_named(golden, tmp_path, content):
    (tmp_path / "text.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"text\.jpg is no image that can be read"):
        predict(golden, [tmp_path / "text.jpg"])


def test_a_folder_stands_for_the_images_in_it(seven, tmp_path):
    assert images_in([tmp_path]) == sorted(seven)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image"):
        images_in([tmp_path / "empty"])
    with pytest.raises(InputError, match="there is no image nowhere"):
        images_in([Path("nowhere")])


def test_no_image_and_no_class_are_refused(golden, seven):
    with pytest.raises(InputError, match="at least one image; got none"):
        predict(golden, [])
    with pytest.raises(InputError, match="top must be at least 1; got 0"):
        predict(golden, seven, top=0)
