"""Command `keras-se card`: a folder with a run and its files in, a model card for the Hugging Face Hub out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import Positional

from keras_se.atomic_files import read_object, write_bytes
from keras_se.cli.command import Command, left_out
from keras_se.cli.report import DOCUMENT
from keras_se.cli.report_facts import Facts, find_files, read_facts
from keras_se.cli.tables import Rows
from keras_se.errors import InputError
from keras_se.optional_packages import import_extra

_MARK = "<!-- keras-se card -->"


@dataclass(frozen=True)
class Card(Command):
    """Write a model card, README.md, from a run and its files; needs the extra [hub]."""

    example: ClassVar[str] = "keras-se card . --license apache-2.0"

    folder: Positional[Path]
    """Folder as `report` takes it, whose figures are used where it has written them."""
    license: Annotated[str | None, left_out("the card names none", metavar="NAME")] = None
    """Licence of the weights, as the Hub writes it: apache-2.0, mit, …"""
    push: Annotated[str | None, left_out("not pushed", metavar="NAME/REPO")] = None
    """Existing repository of the Hub to push the card to, and nothing but the card; the Hub's own login is used."""

    def run(self) -> Rows:
        hub = import_extra("huggingface_hub", "hub")
        page = self.folder / "README.md"
        if page.exists() and _MARK not in page.read_text(encoding="utf-8", errors="replace"):
            raise InputError(f"{page} is no card of keras-se; move it away")
        facts = _measured(self.folder, read_facts(find_files(self.folder)))
        card = hub.ModelCard(content(facts, _metadata(hub, facts, self.license)))
        write_bytes(page, str(card).encode())
        notes = [f"the card is {page}"]
        if self.push is not None:
            try:
                card.push_to_hub(self.push)
            except Exception as error:  # of the network, of the login, of the repository
                raise InputError(f"{self.push} does not take the card ({type(error).__name__}: {error})") from None
            notes.append(f"pushed to {self.push}")
        return Rows(document={"card": str(page), "pushed": self.push}, columns=(), cells=[], notes=tuple(notes))


def content(facts: Facts, metadata: str) -> str:
    """Return the card: the metadata that the Hub reads, and what a reader wants to know."""
    record = facts.record or {}
    lines = ["---", metadata.strip(), "---", _MARK, "", f"# {facts.title}", ""]
    if record:
        images = record.get("images", {})
        classes = record.get("classes") or []
        lines += [
            f"An image classifier of {len(classes)} classes, trained with keras-se on {_data(record)}: "
            f"{images.get('train')} images to train on, {images.get('test')} to test on, of which "
            f"{record.get('test_accuracy', 0):.2%} are right.",
            "",
        ]
        if 0 < len(classes) <= 100:
            lines += [f"Classes: {', '.join(map(str, classes))}.", ""]
        lines += _preprocessing_lines(record.get("preprocessing") or {})
    if facts.files:
        lines += ["| file | target | KiB | accuracy | ms |", "| --- | --- | --- | --- | --- |"]
        for file in facts.files:
            right = "" if file["accuracy"] is None else f"{file['accuracy']:.4f}"
            time = "" if file["milliseconds"] is None else f"{file['milliseconds']:.3f}"
            lines.append(f"| {file['name']} | {file['target']} | {file['bytes'] / 1024:.0f} | {right} | {time} |")
        lines += ["", "Time: LiteRT with one thread, on the machine that wrote the report.", ""]
    lines += ["Made by:", "", "```sh", *(command for _, command in facts.commands), "```", ""]
    return "\n".join(lines)


def _metadata(hub: Any, facts: Facts, licence: str | None) -> str:
    record = facts.record or {}
    accuracy = record.get("test_accuracy")
    results = None
    if accuracy is not None:
        data = _data(record)
        results = [
            hub.EvalResult(
                task_type="image-classification",
                dataset_type=data.replace(" ", "-"),
                dataset_name=data,
                dataset_split="test",
                metric_type="accuracy",
                metric_value=accuracy,
            )
        ]
    kinds = ["keras", *(["tflite", "litert"] if facts.files else []), "squeeze-and-excitation"]
    data = hub.ModelCardData(
        license=licence,
        library_name="keras",
        pipeline_tag="image-classification",
        tags=kinds,
        model_name=facts.title,
        eval_results=results,
    )
    return data.to_yaml()


def _data(record: Mapping[str, Any]) -> str:
    """Return the name of the data; of a folder its own name, for a path tells of the machine."""
    return Path(str((record.get("recipe") or {}).get("data", "images"))).name


def _preprocessing_lines(preprocessing: Mapping[str, Any]) -> list[str]:
    if not preprocessing:
        return []
    return [
        f"Input: RGB of {preprocessing['height']}x{preprocessing['width']} pixels, `(pixel / 255 - mean) / std` with "
        f"mean {preprocessing['mean']} and std {preprocessing['std']}, cut from the centre of an image whose shorter "
        f"side is resized ({preprocessing['interpolation']}; crop {preprocessing['crop']}).",
        "",
    ]


def _measured(folder: Path, facts: Facts) -> Facts:
    """Add what a report in the folder has measured of the same files."""
    path = folder / DOCUMENT
    if not path.is_file():
        return facts
    try:
        measured = {file["name"]: file for file in read_object(path)["files"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what a report wrote ({error!r:.80}); write it again") from None
    for file in facts.files:
        known = measured.get(file["name"])
        if known and known["manifest"].get("sha256") == file["manifest"].get("sha256"):
            file["accuracy"], file["milliseconds"] = known["accuracy"], known["milliseconds"]
    return facts
