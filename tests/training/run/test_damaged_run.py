"""Damaged files of a finished run are named in one line."""

import json

import pytest

from keras_se.errors import InputError
from keras_se.training import train

DAMAGED = {
    "model.keras": (b"", b"PK\x03\x04 cut short", b"text"),
    "history.csv": (b"", b"epoch,loss\n", b"epoch,val_accuracy\n0,much\n", b"\xff\xfe", b'a,"b\n', b"a\n1,2\n", b"\0"),
    "run.json": (b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"recipe": {"model_arguments": []}}'),
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for name, every in DAMAGED.items() for content in (*every, None)]
)
def test_a_damaged_file_of_a_finished_run_is_named_in_one_line(name, content, copied, contents):
    folder, recipe = copied
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    before = contents(folder)
    if (name, content) == ("run.json", None):
        message = "holds model.keras, which no record of a run lists"
    else:
        message = f"{name} is (damaged or missing|not the record of a finished run)"
    with pytest.raises(InputError, match=message) as refused:
        train(recipe, resume=True)
    assert "\n" not in str(refused.value)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        {"test_accuracy": "high"},
        {"test_accuracy": 3.0},
        {"test_accuracy": None},
        {"recipe": None},
        {"recipe": {"model_arguments": {}, "epochs": "three"}},
        {"recipe": {"model_arguments": {}, "unknown": 1}},
    ],
)
def test_a_record_of_other_types_is_named(change, copied):
    folder, recipe = copied
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, **change}))
    with pytest.raises(InputError, match=r"run\.json is not the record of a finished run"):
        train(recipe, resume=True)
