"""Record of a preprocessing, read back: each field's type and range."""

import json

import pytest

from keras_se.errors import InputError
from keras_se.export.manifest import preprocessing_of_file
from keras_se.inference import labels_of
from keras_se.preprocessing import LARGEST_SIDE, Preprocessing, preprocessing_of

WHOLE = {
    "height": 40,
    "width": 32,
    "crop": 0.875,
    "interpolation": "bicubic",
    "mean": [0.5, 0.25, 0.125],
    "std": [0.25, 0.5, 1.0],
}
UNFIT = [
    ({"height": 32.5}, "an image size must be an integer; got 32.5"),
    ({"height": True}, "an image size must be an integer; got True"),
    ({"width": "32"}, "an image size must be an integer; got '32'"),
    ({"width": None}, "an image size must be an integer; got None"),
    ({"width": 0}, f"an image size must be at least 1 and at most {LARGEST_SIDE}; got 40x0"),
    ({"height": 10**9}, f"an image size must be at least 1 and at most {LARGEST_SIDE}; got 1000000000x32"),
    ({"crop": "0.5"}, "crop must be above 0 and at most 1; got crop='0.5'"),
    ({"crop": float("nan")}, "crop must be above 0 and at most 1; got crop=nan"),
    ({"crop": 1e-6}, f"crop must leave an image of at most {LARGEST_SIDE} pixels a side; got crop=1e-06 of 40x32"),
    ({"interpolation": "nonsense"}, "interpolation must be one of area, bicubic, bilinear"),
    ({"interpolation": ["bilinear"]}, "interpolation must be one of area, bicubic, bilinear"),
    ({"mean": 0}, "mean must be 3 finite numbers, of red, green and blue; got mean=0"),
    ({"mean": "abc"}, "mean must be 3 finite numbers, of red, green and blue; got mean='abc'"),
    ({"mean": [0.5]}, r"mean must be 3 finite numbers, of red, green and blue; got mean=\[0.5\]"),
    ({"std": [1, 1, 1, 1]}, r"std must be 3 finite numbers, of red, green and blue; got std=\[1, 1, 1, 1\]"),
    ({"std": [1, 1, [1]]}, "std must be 3 finite numbers, of red, green and blue"),
    ({"std": [1, 1, float("inf")]}, "std must be 3 finite numbers, of red, green and blue"),
    ({"mean": [0, 0, 10**400]}, "mean must be 3 finite numbers"),
    ({"std": [0.5, 0.0, 0.5]}, r"std must be above 0; got std=\(0.5, 0.0, 0.5\)"),
    ({"std": [1e-300, 1, 1]}, "mean and std must give finite inputs in float32"),
    ({"scale": 255}, "preprocessing must have no other fields than its own; got 'scale'"),
]


def test_the_dictionary_of_a_preprocessing_gives_it_back():
    read = Preprocessing.from_dict(json.loads(json.dumps(WHOLE)))
    assert read == Preprocessing(40, 32, 0.875, "bicubic", (0.5, 0.25, 0.125), (0.25, 0.5, 1.0))
    assert Preprocessing.from_dict(read.to_dict()) == read


def test_a_mean_and_a_deviation_in_integers_are_the_numbers_that_they_are():
    """JSON has one kind of number: another writer's 0 is our 0.0."""
    read = Preprocessing.from_dict({**WHOLE, "mean": [0, 0, 0], "std": [1, 1, 1]})
    assert read.mean == (0.0, 0.0, 0.0)
    assert all(isinstance(value, float) for value in (*read.mean, *read.std))


@pytest.mark.parametrize(("change", "message"), UNFIT)
def test_a_field_of_another_type_or_range_is_refused_with_the_rule_and_the_value(change, message):
    with pytest.raises(InputError, match=message):
        Preprocessing.from_dict({**WHOLE, **change})


@pytest.mark.parametrize("fields", [None, [], "text", 3])
def test_what_has_no_fields_is_refused(fields):
    with pytest.raises(InputError, match="preprocessing must be an object of fields"):
        Preprocessing.from_dict(fields)


def test_a_missing_size_is_named():
    with pytest.raises(InputError, match="preprocessing must have a height; it has none"):
        Preprocessing.from_dict({"width": 3})


DAMAGED = {
    "cut short": (b'{"preprocessing": {', "no JSON"),
    "nested": (b"[" * 100_000, "it is nested too deep"),
    "a list": (b"[1]", "it must be a JSON object; it is of type list"),
    "other bytes": (b'{"\xff\xfe": 1}', "it is not text in UTF-8"),
    "empty": (b"", "no JSON"),
    "a list for the preprocessing": (b'{"preprocessing": []}', "preprocessing must be an object of fields"),
    "no preprocessing": (b"{}", "preprocessing must have a height"),
    "a size in text": (b'{"preprocessing": {"height": "8", "width": 8}}', "an image size must be an integer; got '8'"),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_named_with_the_reason_in_one_line(content, reason, tmp_path):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError) as refused:
        preprocessing_of(None, tmp_path / "model.keras")  # pyright: ignore[reportArgumentType], no record: no model
    assert str(refused.value).startswith(f"{tmp_path / 'run.json'} is not the record of a run ({reason}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_named(content, reason, tmp_path):
    (tmp_path / "net.tflite.json").write_bytes(content)
    with pytest.raises(InputError, match="is not a manifest") as refused:
        preprocessing_of_file(tmp_path / "net.tflite")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("classes", ['"cat"', "3", "[1, 2]", "{}", "[[]]"])
def test_classes_that_are_no_names_are_refused(classes, tmp_path):
    (tmp_path / "run.json").write_text(f'{{"classes": {classes}}}')
    with pytest.raises(InputError, match="classes must be a list of names"):
        labels_of(tmp_path / "model.keras")
