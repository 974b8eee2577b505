"""No file goes but those that a run's own list or record names."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import pytest

from keras_se.atomic_files import replacing
from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.training import train, trainer
from keras_se.training.distribution.cluster import TF_CONFIG, Cluster
from keras_se.training.distribution.strategy import Devices
from keras_se.training.run import inventory, run_folder

MINE = ("checkpoints/mine.pt", "checkpoints/step-000000001.safetensors", "tensorboard/mine.log", "history.csv")
MINE += ("best.safetensors", "model.keras", "run.json", "unfinished.json")


OPTIONS = {"plain": {}, "resume": {"resume": True}, "overwrite": {"overwrite": True}}


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("names", [*((name,) for name in MINE), MINE[::2]], ids=str)
def test_a_folder_that_was_never_a_run_is_refused_by_name_and_stays(names, options, tiny_recipe, tmp_path, contents):
    put(tmp_path, *names)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=str(tmp_path)) as refused:
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path)), **options)
    assert any(name.split("/")[0] in str(refused.value) for name in names)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
def test_the_command_says_so_in_one_line(option, tmp_path, capsys, contents):
    put(tmp_path, "checkpoints/mine.pt", "tensorboard/mine.log", "history.csv")
    before = contents(tmp_path)
    status = main.run(["train", "--model", "se_mobilenet", "--data", "digits", "--out", str(tmp_path), option])
    assert status == 2
    assert capsys.readouterr().err == (
        f"keras-se: {tmp_path} holds history.csv, which no record of a run lists; choose another folder with --out, or "
        "move it away\n"
    )
    assert contents(tmp_path) == before


def test_the_quickstart_does_not_replace_what_it_has_not_written(tmp_path, capsys, contents):
    put(tmp_path, "run/checkpoints/mine.pt")
    before = contents(tmp_path)
    assert main.run(["quickstart", "--out", str(tmp_path)]) == 2
    assert "holds checkpoints, which no record of a run lists" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["report.html", "se_mobilenet.float32.tflite", "se_mobilenet.float32.tflite.json"])
def test_the_quickstart_keeps_a_file_of_a_name_of_its_own(name, tmp_path, capsys):
    put(tmp_path, name)
    assert main.run(["quickstart", "--out", str(tmp_path)]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_replacing_a_run_leaves_what_is_not_its_own(copied):
    folder, recipe = copied
    others = ("notes.txt", "checkpoints/mine.pt", "checkpoints/step-mine.safetensors", "tensorboard/mine.log")
    others += ("tensorboard/train/events.out.tfevents.1.mine", ".unfinished-thesis.txt", ".workers")
    put(folder, *others)
    run = train(recipe, overwrite=True)
    assert all((folder / name).read_text() == "mine" for name in others)
    assert run.accuracy == json.loads((folder / "run.json").read_text())["test_accuracy"]
    assert len(list((folder / "tensorboard" / "train").iterdir())) == 2  # its own, and the other


def test_the_record_of_a_finished_run_lists_all_of_it_and_nothing_else(finished):
    files = json.loads((finished / "run.json").read_text())["files"]
    assert sorted(files) == sorted(str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file())
    assert {"model.keras", "run.json", "history.csv"} < set(files)


@pytest.mark.parametrize("name", ["../mine.txt", "/etc/passwd", "notes.txt", "checkpoints/mine.pt", "a/../run.json", 3])
def test_a_record_that_lists_what_no_run_writes_is_not_believed(name, copied, contents):
    folder, recipe = copied
    put(folder, "notes.txt", "../mine.txt", "checkpoints/mine.pt")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "files": [*record["files"], name]}))
    before = contents(folder.parent)
    with pytest.raises(InputError, match="which no record of a run lists"):
        train(recipe, overwrite=True)
    assert contents(folder.parent) == before


def test_a_damaged_list_is_named_and_nothing_goes(tiny_recipe, tmp_path, contents):
    put(tmp_path, "unfinished.json", "checkpoints/step-000000001.safetensors")
    with pytest.raises(InputError, match=r"unfinished\.json is not the list of a run's files \(no JSON"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path)), overwrite=True)
    assert len(contents(tmp_path)) == 2


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_a_linked_folder_is_refused_and_what_it_leads_to_stays(name, options, tiny_recipe, tmp_path):
    put(tmp_path, "elsewhere/mine.pt")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{name} is a symbolic link"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run")), **options)
    assert (tmp_path / "run" / name / "mine.pt").read_text() == "mine"


@pytest.mark.parametrize("target", ["elsewhere.csv", "nowhere"])
def test_a_link_of_a_run_s_file_name_is_another_s(target, tiny_recipe, tmp_path):
    put(tmp_path, "elsewhere.csv")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.csv").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match=r"holds history\.csv"):
        train(dataclasses.replace(tiny_recipe, out=str(tmp_path / "run")), overwrite=True)
    assert (tmp_path / "run" / "history.csv").is_symlink()
    assert (tmp_path / "elsewhere.csv").read_text() == "mine"


def test_a_linked_file_of_a_run_goes_and_what_it_leads_to_stays(copied):
    folder, _ = copied
    (folder / "history.csv").rename(folder.parent / "moved.csv")
    (folder / "history.csv").symlink_to(folder.parent / "moved.csv")
    inventory.clear(folder)
    assert not (folder / "history.csv").is_symlink()
    assert (folder.parent / "moved.csv").is_file()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "tensorboard/train"])
def test_nothing_is_removed_through_a_link_in_a_finished_run(name, copied):
    folder, recipe = copied
    elsewhere = {
        "checkpoints": "step-000000001.safetensors",
        "tensorboard": "train/events.out.tfevents.1.a",
        "tensorboard/train": "events.out.tfevents.1.a",
    }[name]
    put(folder.parent / "elsewhere", elsewhere)
    if (folder / name).exists():
        shutil.rmtree(folder / name)
    (folder / name).symlink_to(folder.parent / "elsewhere")
    (folder / "unfinished.json").write_text(json.dumps({"files": ["best.safetensors", f"{name}/{elsewhere}"]}))
    train(recipe, resume=True)
    inventory.clear(folder)
    assert (folder.parent / "elsewhere" / elsewhere).read_text() == "mine"
    assert (folder / name).is_symlink()


class Fall(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise MemoryError


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_an_unfinished_run_lists_its_files_and_leaves_the_others(option, tiny_recipe, tmp_path, monkeypatch):
    recipe, folder = dataclasses.replace(tiny_recipe, out=str(tmp_path), checkpoint_steps=1), tmp_path
    callbacks = trainer._callbacks
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_callbacks", lambda callback: [*callbacks(callback), Fall()])
        with pytest.raises(MemoryError):
            train(recipe)
    listed = json.loads((folder / "unfinished.json").read_text())["files"]
    assert "checkpoints/step-000000001.safetensors" in listed
    others = ("checkpoints/mine.pt", "checkpoints/step-000000000.safetensors", ".unfinished-mine.txt")
    cut_short = folder / "checkpoints" / ".unfinished-step-000000001-abcdefgh.safetensors"
    put(folder, *others, str(cut_short.relative_to(folder)))
    train(recipe, **{option: True})
    assert all((folder / name).read_text() == "mine" for name in others)
    assert not cut_short.exists()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["mine.pt", "step-000000000.safetensors"]
    assert not (folder / "unfinished.json").exists()


def test_a_file_that_was_cut_short_is_removed_by_its_own_name_alone(tmp_path):
    with replacing(tmp_path / "history.csv") as temporary:
        shutil.copy(temporary, tmp_path / "kept")
        left = tmp_path / temporary.name
    left.write_text("cut short")
    put(tmp_path, ".unfinished-history.csv", ".unfinished-other-abcdefgh.csv")
    inventory.remove_cut_short(inventory.Inventory(tmp_path, ["history.csv"]))
    assert {path.name for path in tmp_path.iterdir()} == {
        "history.csv", "kept", ".unfinished-history.csv", ".unfinished-other-abcdefgh.csv"
    }  # fmt: skip


def test_a_worker_that_is_not_the_chief_removes_nothing(copied, monkeypatch):
    folder, recipe = copied
    put(folder, "best.safetensors")
    (folder / "unfinished.json").write_text(json.dumps({"files": ["best.safetensors"]}))
    recipe = dataclasses.replace(recipe, strategy="multi_worker")
    for index, left in ((1, True), (0, False)):
        cluster = Cluster(("127.0.0.1:1", "127.0.0.1:2"), index, TF_CONFIG)
        monkeypatch.setenv(TF_CONFIG, cluster.tf_config())
        train(recipe, resume=True)
        assert (folder / "best.safetensors").exists() == (folder / "unfinished.json").exists() == left


def test_the_chief_s_token_is_no_file_that_was_there(tmp_path, monkeypatch):
    put(tmp_path, ".workers")
    devices = Devices(2, lambda: None, worker=0, workers=2)
    seen = []
    monkeypatch.setattr(Devices, "_of_every_worker", lambda self, number: [number, number])
    monkeypatch.setattr(Devices, "wait_for_all", lambda self: seen.extend(path.name for path in tmp_path.iterdir()))
    run_folder.check_shared(tmp_path, devices)
    assert len(seen) == 2
    assert [path.name for path in Path(tmp_path).iterdir()] == [".workers"]
