"""The command line: arguments in, a table or one JSON document out, and the exit status.

0: done, and every verdict passed. 1: a verdict failed. 2: the arguments or the input are wrong, with one line on
standard error that says what and where. 3: another worker was lost. 143: SIGTERM, and the run can be resumed.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from keras_se.errors import ClusterError, InputError
from keras_se.tables import Rows, parity_rows

Json = Annotated[bool, arg(help="One JSON document on standard output, and nothing else there.")]


@dataclass(frozen=True)
class Models:
    """List the models: trainable parameters, multiply-accumulates of one image, published error, published weights."""

    pattern: Positional[str] = "*"
    """Shell-style pattern of names, as 'se_resnet*'."""
    markdown: bool = False
    """The table as Markdown."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.progress import track
        from keras_se.registry import find, size_of
        from keras_se.timm_names import list_weights

        names = _known(self.pattern)
        found = []
        for name in track(names, f"Building {len(names)} models", total=len(names)):
            parameters, macs = size_of(name)
            sizes = {"name": name, "parameters": parameters, "macs": macs}
            found.append({**sizes, "error": find(name).error, "weights": list_weights(name)})
        return Rows(
            document=found,
            columns=("model", "parameters", "MACs", "top-1 error %", "weights"),
            cells=[_model_cells(one, every_weight=self.markdown) for one in found],
        )


@dataclass(frozen=True)
class Train:
    """Train a model into a run folder: model.keras, run.json, history.csv, tensorboard/."""

    model: str
    """A name from `keras-se models`."""
    data: str
    """digits, fashion_mnist, mnist, cifar10, cifar100, or a folder of class folders."""
    out: Path
    """The run's folder."""
    recipe: str = "small_images"
    """The preset that the other options change: paper_resnet, paper_mobile, small_images or digits."""
    strategy: str = "auto"
    """auto (every GPU), none (one device), mirrored (every GPU, or every logical CPU), multi_worker (the processes of
    TF_CONFIG or of a SLURM step) or tpu."""
    epochs: int | None = None
    """Passes over the training images."""
    batch_size: int | None = None
    """The global batch: images an update, over all devices. The learning rate follows it."""
    image_size: int | None = None
    """Height and width of the network's input, in pixels."""
    learning_rate: float | None = None
    """Peak, for 256 images of the global batch."""
    warmup_epochs: float | None = None
    """Epochs of linear rise of the learning rate; below `epochs`."""
    weight_decay: float | None = None
    """L2 decay of convolution and dense kernels."""
    label_smoothing: float | None = None
    """Share of the target spread over all classes."""
    augmentation: str | None = None
    """none, shift, shift_flip or resized_crop_flip."""
    set: tuple[str, ...] = ()
    """Arguments of the model, as r=8 placement=pre alpha=0.5; they are added to the preset's."""
    seed: int = 0
    """The same seed gives the same weights on the same machine."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""
    micro_batches: int = 1
    """Passes over a device's share of a batch, for one update: less memory."""
    checkpoint_steps: int = 0
    """Updates between checkpoints; 0 for one at the end of each epoch only."""
    resume: bool = False
    """Go on with the unfinished run that the folder holds; begin it if there is none."""
    overwrite: bool = False
    """Replace a run that the folder holds already."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.training import PRESETS, train

        if self.recipe not in PRESETS:
            raise InputError(f"recipe must be one of {', '.join(PRESETS)}; got {self.recipe!r}")
        preset = PRESETS[self.recipe]
        names = {field.name for field in dataclasses.fields(preset)} - {"model_arguments"}
        given = {name: value for name, value in vars(self).items() if name in names and value is not None}
        recipe = dataclasses.replace(
            preset,
            **{**given, "out": str(self.out)},
            # A preset's arguments are those of its own model.
            model_arguments={**(preset.model_arguments if preset.model == self.model else {}), **_pairs(self.set)},
        )
        run = train(recipe, overwrite=self.overwrite, resume=self.resume)
        return Rows(
            document={"model": str(run.folder / "model.keras"), "folder": str(run.folder), "accuracy": run.accuracy},
            columns=("file", "test accuracy"),
            cells=[(str(run.folder / "model.keras"), f"{run.accuracy:.4f}")],
        )


@dataclass(frozen=True)
class Launch:
    """Run a `train` command in several processes on this machine that train together, as on a cluster."""

    command: Positional[tuple[str, ...]]
    """After --, the command: keras-se launch --workers 2 -- train --model …"""
    workers: int = 2
    """How many processes."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.training.launch import launch

        if self.workers < 1:
            raise InputError(f"workers must be at least 1; got {self.workers}")
        if self.command[:1] != ("train",):
            raise InputError(f"launch runs train: keras-se launch --workers 2 -- train …; got {list(self.command)}")
        status = launch([*self.command, "--strategy", "multi_worker"], self.workers)
        return Rows(document={"workers": self.workers, "status": status}, columns=(), cells=[], status=status)


@dataclass(frozen=True)
class Export:
    """Convert a trained model to .tflite files, with a manifest beside each."""

    model: Positional[Path]
    """The .keras file; its run.json is read where there is one."""
    out: Path
    """The folder for the files."""
    data: str | None = None
    """Where calibration images come from, as in `train`; static recipes need it."""
    recipes: tuple[str, ...] = ("float32", "float16", "dynamic_wi8_afp32", "static_wi8_ai8", "static_wi8_ai16")
    """Number formats."""
    target: str = "phone_cpu"
    """The device."""
    images: int = 200
    """Training images to calibrate on."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.export import export

        calibration = None if self.data is None else _images(self, self.model, "train")[0]
        artifacts = export(self.model, self.out, recipes=self.recipes, target=self.target, calibration=calibration)
        found = [{**_where(artifact), **_size(artifact)} for artifact in artifacts]
        return Rows(
            document=found,
            columns=("file", "recipe", "bytes"),
            cells=[(one["path"], one["recipe"], f"{one['bytes']:,}") for one in found],
        )


@dataclass(frozen=True)
class Parity:
    """Run the same images through a Keras model and .tflite files, and say whether they agree."""

    reference: Positional[Path]
    """The .keras file."""
    files: Positional[tuple[Path, ...]]
    """The .tflite files."""
    data: str
    """Where the images come from, as in `train`; the test images are taken."""
    engines: tuple[str, ...] = ()
    """litert (XNNPACK), litert_reference, tflm; by default each that can run the file."""
    images: int = 200
    """How many images."""
    skip_corrupt: bool = False
    """Leave out the images that cannot be decoded, instead of stopping."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.export.parity import compare_all

        if not self.files:
            raise InputError("parity needs at least one .tflite file; got none")
        images, labels = _images(self, self.reference, "test")
        rows = compare_all(self.reference, self.files, images, engines=self.engines or None, labels=labels)
        return parity_rows(rows)


@dataclass(frozen=True)
class Quickstart:
    """Train a small SE-MobileNet on real digits, export it in every format, and prove that the files agree."""

    out: Path = Path("keras-se-quickstart")
    """The folder for the model, the files and the report; an earlier quickstart there is replaced."""
    json: Json = False

    def run(self) -> Rows:
        from keras_se.quickstart import quickstart

        return quickstart(self.out)


Command = (
    Annotated[Quickstart, subcommand("quickstart")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Launch, subcommand("launch")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Parity, subcommand("parity")]
)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    try:
        command = _parse(arguments)
        # Whatever a library prints is not the document.
        with contextlib.redirect_stdout(sys.stderr if command.json else sys.stdout):
            result = command.run()
    except (InputError, OSError, ClusterError) as error:
        print(f"keras-se: {' '.join(str(error).split())}", file=sys.stderr)
        return 3 if isinstance(error, ClusterError) else 2
    if command.json:
        print(json.dumps(result.document, indent=2))
    elif getattr(command, "markdown", False):
        print(result.markdown())
    else:
        result.show(Console())
    return result.status


def _parse(arguments: list[str]) -> Any:
    """The command, as its dataclass.

    Raises:
        InputError: the arguments are wrong, with the first paragraph of what the parser says.
        SystemExit: help was asked for.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                Command,
                prog="keras-se",
                description="Squeeze-and-Excitation networks: trained, quantized, and proved on the engines of phones.",
                args=arguments,
                config=(FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(f"{_first_words(printed.getvalue())}; see keras-se --help") from None


def _first_words(box: str) -> str:
    """The first paragraph below the title of the box that the parser draws, in box characters or in ASCII."""
    lines = [line.strip("╭╮╰╯│|+ ") for line in box.splitlines()]
    drawn = [not line.strip("─-") for line in lines]  # rules, and empty lines
    below = list(zip(lines, drawn, strict=True))[drawn.index(False) + 1 :]
    words = itertools.takewhile(lambda row: not row[1], itertools.dropwhile(lambda row: row[1], below))
    return " ".join(line for line, _ in words)


def _known(pattern: str) -> list[str]:
    from keras_se.registry import list_models

    names = list_models(pattern)
    if not names:
        raise InputError(f"no model matches {pattern!r}; there are {', '.join(list_models())}")
    return names


def _model_cells(model: dict[str, Any], *, every_weight: bool) -> tuple[str, ...]:
    weights = [name.removeprefix("timm/") for name in model["weights"]]
    return (
        model["name"],
        f"{model['parameters']:,}",
        f"{model['macs'] / 1e9:.3f} G",
        "" if model["error"] is None else f"{model['error']:.2f}",
        ", ".join(weights) if every_weight else str(len(weights) or ""),
    )


def _pairs(arguments: tuple[str, ...]) -> dict[str, Any]:
    """`("r=8", "placement=pre")` as `{"r": 8, "placement": "pre"}`: JSON or a number where it is one, else text."""
    pairs = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals):
            raise InputError(f"--set takes NAME=VALUE, as r=8; got {argument!r}")
        pairs[name] = _value(value)
    return pairs


def _value(text: str) -> Any:
    for read in (json.loads, float):  # JSON has no .5
        with contextlib.suppress(ValueError):
            return read(text)
    return text


def _images(command: Any, model_file: Path, split: str):
    """Images of a command's data as the model in the file sees them, and their labels."""
    from keras_se.export.convert import load_model
    from keras_se.preprocessing import preprocessing_of
    from keras_se.training.data import load_source
    from keras_se.training.pipeline import sample

    if command.images < 1:
        raise InputError(f"images must be at least 1; got {command.images}")
    preprocessing = preprocessing_of(load_model(model_file), model_file)
    source = load_source(command.data, skip_corrupt=command.skip_corrupt)
    return sample(getattr(source, split), preprocessing, command.images)


def _where(artifact) -> dict[str, Any]:
    return {"path": str(artifact.path), "recipe": artifact.recipe, "target": artifact.target}


def _size(artifact) -> dict[str, Any]:
    return {"bytes": artifact.manifest["bytes"], "sha256": artifact.manifest["sha256"]}
