"""Report and model card: what they say of a run and its files, and what they refuse."""

import dataclasses
import html.parser
import json
import re
import shutil
from pathlib import Path

import pytest

from keras_se.cli import main
from keras_se.cli.report import render
from keras_se.cli.report_facts import Facts, find_files, read_facts
from keras_se.cli.report_figures import measure_files
from keras_se.export import compare_all


@pytest.fixture(scope="module")
def reported(golden, tmp_path_factory):
    """A folder with the trained network's run and files, after `report`."""
    folder = tmp_path_factory.mktemp("report") / "out"
    shutil.copytree(golden, folder)
    rows = ("epoch,accuracy,loss,val_accuracy,val_loss", "0,0.5,1.5,0.6,1.25", "1,0.9,0.5,0.97,0.5", "")
    (folder / "history.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch, folder.with_name("printed").open("w+") as printed:
        patch.setattr("sys.stdout", printed)
        assert main.run(["report", str(folder), "--images", "60"]) == 0
    return folder


class Page(html.parser.HTMLParser):
    """Text of a page, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href", "data", "action")]
        if tag != "meta":  # which is never closed
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # each is closed where it was opened

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_loads_nothing(reported):
    text = (reported / "report.html").read_text()
    page = Page(text)
    assert (page.loads, page.open) == ([], [])
    assert not re.search(r"https?://|@import|url\(", text)
    assert "<script" not in text


def test_the_page_has_what_was_measured(reported):
    facts = json.loads((reported / "report.json").read_text())
    text = Page((reported / "report.html").read_text()).text
    assert {file["name"] for file in facts["files"]} == {
        "se_mobilenet.float32.tflite",
        "se_mobilenet.static_wi8_ai8.tflite",
    }
    for file in facts["files"]:
        assert file["accuracy"] > 0.9
        assert file["milliseconds"] > 0
        assert f"{file['accuracy']:.4f}" in text
        assert f"{file['milliseconds']:.3f}" in text
    assert len(facts["parity"]) >= 6  # two files on three engines
    assert {row["verdict"] for row in facts["parity"]} == {"pass"}
    assert any(row["milliseconds"] for row in facts["layers"])
    for command in ("keras-se train --model se_mobilenet --data digits", "--recipes static_wi8_ai8"):
        assert command in text
    for section in ("Accuracy, latency, size", "Parity with Keras", "Layers of the int8 file", "Training", "Records"):
        assert section in text


@pytest.mark.slow
def test_files_of_one_name_in_two_folders_keep_their_own_figures(golden, trained, tmp_path):
    recipes = {"left": "float32", "right": "static_wi8_ai8"}
    for folder, recipe in recipes.items():
        (tmp_path / folder).mkdir()
        for ending in ("tflite", "tflite.json"):
            shutil.copy(golden / f"se_mobilenet.{recipe}.{ending}", tmp_path / folder / f"net.{ending}")
    reported = find_files(tmp_path)
    labels = trained.model.predict(trained.images, verbose=0).argmax(1)
    rows = compare_all(trained.model, reported.files, trained.images, engines=["litert"], labels=labels)
    right = {Path(row.file).parent.name: dataclasses.replace(row, accuracy=len(row.recipe) / 100) for row in rows}
    facts = measure_files(read_facts(reported), reported, list(right.values()), None, runs=1)
    assert {row["file"]: row["recipe"] for row in facts.parity} == {
        f"{folder}/net.tflite": recipe for folder, recipe in recipes.items()
    }
    assert {file["name"]: file["accuracy"] for file in facts.files} == {
        f"{folder}/net.tflite": len(recipe) / 100 for folder, recipe in recipes.items()
    }


def test_what_a_name_says_is_text(reported):
    """A class may be called anything."""
    record = {"recipe": {"model": "m"}, "classes": ["<b>bold</b>"], "test_accuracy": 0.5, "parameters": 1}
    page = render(Facts("<script>alert(1)</script>", record))
    assert "<script>" not in page
    assert "<b>bold" not in page


def test_a_second_report_replaces_the_first_and_nothing_else(reported, tmp_path, capsys):
    folder = tmp_path / "out"
    shutil.copytree(reported, folder)
    (folder / "report.html").write_text("somebody's page")
    assert main.run(["report", str(folder)]) == 2
    assert "report.html is not a report of keras-se; move it away" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == "somebody's page"


def test_a_folder_without_a_run_and_without_files_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "nowhere", "there is no folder"), (tmp_path / "empty", "holds neither a run")):
        assert main.run(["report", str(folder)]) == 2
        assert message in capsys.readouterr().err
    assert list((tmp_path / "empty").iterdir()) == []


def test_two_runs_are_refused_by_name(golden, tmp_path, capsys):
    for name in ("one", "two"):
        shutil.copytree(golden, tmp_path / name)
    assert main.run(["report", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert str(tmp_path / "one") in line
    assert str(tmp_path / "two") in line


def test_a_damaged_manifest_is_one_line(golden, tmp_path, capsys):
    shutil.copytree(golden, tmp_path / "out")
    (tmp_path / "out" / "se_mobilenet.float32.tflite.json").write_text("{}")
    assert main.run(["report", str(tmp_path / "out")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "se_mobilenet.float32.tflite.json is not a manifest (it has no model)" in line
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_figure_that_is_no_number_is_refused_by_name(golden, tmp_path, capsys):
    folder = tmp_path / "out"
    shutil.copytree(golden, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "test_accuracy": float("nan")}))
    for command in ("report", "card"):
        assert main.run([command, str(folder)]) == 2
        assert "has a figure that is no number (test_accuracy: nan)" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


# The card.


@pytest.fixture(scope="module")
def card(reported):
    hub = pytest.importorskip("huggingface_hub")
    assert main.run(["card", str(reported), "--license", "apache-2.0"]) == 0
    return hub.ModelCard.load(reported / "README.md")


def test_the_hub_reads_the_metadata(card, reported):
    record = json.loads((reported / "run.json").read_text())
    assert card.data.library_name == "keras"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    [result] = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("accuracy", record["test_accuracy"])
    assert result.dataset_name == "digits"


def test_the_card_has_the_reports_figures(card, reported):
    facts = json.loads((reported / "report.json").read_text())
    for file in facts["files"]:
        assert f"| {file['name']} |" in card.text
        assert f"{file['accuracy']:.4f}" in card.text


def test_somebodys_readme_stays(golden, tmp_path, capsys):
    pytest.importorskip("huggingface_hub")
    shutil.copytree(golden, tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("mine")
    assert main.run(["card", str(tmp_path / "out")]) == 2
    assert "README.md is no card of keras-se" in capsys.readouterr().err


def test_the_card_is_pushed_by_the_hubs_own_library(golden, tmp_path, monkeypatch, capsys):
    hub = pytest.importorskip("huggingface_hub")
    shutil.copytree(golden, tmp_path / "out")
    pushed = []
    monkeypatch.setattr(hub.ModelCard, "push_to_hub", lambda self, name: pushed.append((name, str(self))))
    assert main.run(["card", str(tmp_path / "out"), "--push", "me/net"]) == 0
    assert pushed == [("me/net", (tmp_path / "out" / "README.md").read_text())]

    def refuse(self, name):
        raise OSError("no network")

    monkeypatch.setattr(hub.ModelCard, "push_to_hub", refuse)
    assert main.run(["card", str(tmp_path / "out"), "--push", "me/net"]) == 2
    assert "me/net does not take the card (OSError: no network)" in capsys.readouterr().err
