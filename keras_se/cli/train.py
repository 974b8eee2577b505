"""Command `keras-se train`: a data set, a model and a preset in, the folder of a run out.

Notes go to standard error while it begins: which preset was chosen, and why. At the end stand the run's figures, where
its files are and what comes next.
"""

import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import arg

from keras_se.cli.command import Command, Group, left_out
from keras_se.cli.tables import Rows
from keras_se.cli.train_result import finish_run, plan_rows, result_rows
from keras_se.errors import InputError, find_named

if TYPE_CHECKING:
    from keras_se.training import Recipe


_OPTIMIZERS = left_out("the preset's", metavar="sgd|adamw|lamb|rmsprop")
_CLASS_WEIGHTS = left_out("the preset's", metavar="none|balanced")
_FREEZE = left_out("the preset's", metavar="none|backbone")
_OF_PRESET_NAME = left_out("the preset's", metavar="NAME")
_OF_PRESET_INT = left_out("the preset's", metavar="INT")
_OF_PRESET_FLOAT = left_out("the preset's", metavar="FLOAT")


_PRESET = Group("values of the preset that are changed")
_FINE_TUNING = Group("fine-tuning")
_PLACE = Group("where and how it runs")


@dataclass(frozen=True)
class Train(Command):
    """Train a model into a run folder: model.keras, run.json, history.csv, report.png."""

    example: ClassVar[str] = "keras-se train --model se_resnet50 --weights imagenet --data photos/ --out run"

    data: Annotated[str, arg(metavar="SOURCE")]
    """digits, fashion_mnist, mnist, cifar10, cifar100, or a folder of class folders."""
    out: Path
    """Folder of the run."""
    model: Annotated[str | None, left_out("that of the weights", metavar="NAME")] = None
    """A name from `keras-se models`; not needed where the weights are a run's or one of timm's."""
    weights: Annotated[str | None, left_out("none", metavar="WEIGHTS")] = None
    """Initial weights: the folder of a run or its model.keras, a .weights.h5 or .safetensors file, imagenet, or
    timm/NAME with or without @COMMIT; `keras-se models NAME` lists those of a network. The weights bring the arguments
    of their model, and a run its image size."""
    recipe: Annotated[
        str | None,
        left_out(
            "small_images or photographs, by the size of the images; fine_tune with weights of ImageNet",
            metavar="PRESET",
        ),
    ] = None
    """Preset that the other options change: paper_resnet, paper_mobile, small_images, photographs, fine_tune or
    digits."""
    epochs: Annotated[int | None, _OF_PRESET_INT, _PRESET] = None
    """Passes over the training images; the preset's warm-up and steps are scaled with it."""
    batch_size: Annotated[int | None, _OF_PRESET_INT, _PRESET] = None
    """Global batch: images an update, over all devices. The learning rate follows it."""
    image_size: Annotated[int | None, _OF_PRESET_INT, _PRESET] = None
    """Height and width of the network's input, in pixels."""
    learning_rate: Annotated[float | None, _OF_PRESET_FLOAT, _PRESET] = None
    """Peak, for 256 images of the global batch."""
    warmup_epochs: Annotated[float | None, _OF_PRESET_FLOAT, _PRESET] = None
    """Epochs of linear rise of the learning rate; below `epochs`."""
    optimizer: Annotated[Literal["sgd", "adamw", "lamb", "rmsprop"] | None, _OPTIMIZERS, _PRESET] = None
    """Optimizer: sgd in every preset."""
    weight_decay: Annotated[float | None, _OF_PRESET_FLOAT, _PRESET] = None
    """Decay of convolution and dense kernels: L2 with sgd and rmsprop, decoupled with adamw and lamb."""
    label_smoothing: Annotated[float | None, _OF_PRESET_FLOAT, _PRESET] = None
    """Share of the target spread over all classes."""
    augmentation: Annotated[str | None, _OF_PRESET_NAME, _PRESET] = None
    """none, shift, shift_flip or resized_crop_flip."""
    class_weights: Annotated[Literal["none", "balanced"] | None, _CLASS_WEIGHTS, _PRESET] = None
    """balanced: each class weighs as much in the loss as another, whatever its number of images."""
    freeze: Annotated[Literal["none", "backbone"] | None, _FREEZE, _FINE_TUNING] = None
    """backbone, as fine_tune has it: train the classifier alone at first."""
    unfreeze_at: Annotated[float | None, _OF_PRESET_FLOAT, _FINE_TUNING] = None
    """Share of the epochs after which all is trained."""
    unfrozen_rate: Annotated[float | None, _OF_PRESET_FLOAT, _FINE_TUNING] = None
    """Factor of the learning rate from then on."""
    binary: bool = False
    """Two classes by one output and a sigmoid."""
    set: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE …")] = ()
    """Arguments of the model, as r=8 placement=pre alpha=0.5; they are added to the preset's."""
    seed: int = 0
    """Seed of all random numbers: the same one gives the same weights on the same machine."""
    strategy: Annotated[str, _PLACE] = "auto"
    """auto (every GPU), none (one device), mirrored (every GPU, or every logical CPU), multi_worker (the processes of
    TF_CONFIG or of a SLURM step) or tpu."""
    skip_corrupt: Annotated[bool, _PLACE] = False
    """Leave out the images that cannot be decoded, instead of stopping."""
    micro_batches: Annotated[int, _PLACE] = 1
    """Passes over a device's share of a batch, for one update: less memory."""
    checkpoint_steps: Annotated[int, _PLACE] = 0
    """Updates between checkpoints; 0 for one at the end of each epoch only."""
    resume: Annotated[bool, _PLACE] = False
    """Go on with the unfinished run that the folder holds; begin it if there is none."""
    overwrite: Annotated[bool, _PLACE] = False
    """Replace a run that the folder holds already."""
    dry_run: Annotated[bool, _PLACE] = False
    """Write nothing; say what would happen: the images, the network, updates and learning rates, memory, and the time
    as three real updates tell it."""

    def run(self) -> Rows:
        from keras_se.training import PRESETS, train
        from keras_se.training.data.sources import load_source
        from keras_se.training.distribution.strategy import make_devices
        from keras_se.training.network import check_images, check_recipe
        from keras_se.training.preset_choice import choose_preset, unequal_classes
        from keras_se.training.run.run_folder import open_folder

        recipe = self._recipe(find_named("recipe", PRESETS, self.recipe or "small_images"))
        check_recipe(recipe)
        if not self.dry_run:
            open_folder(recipe, overwrite=self.overwrite, resume=self.resume)  # before the images are read
        if self.strategy != "multi_worker":  # whose processes meet in `train`
            make_devices(self.strategy)
        source = load_source(self.data, skip_corrupt=self.skip_corrupt)
        notes = []
        if self.recipe is None:
            choice = choose_preset(self.data, source, self.weights)
            recipe = self._recipe(choice.recipe)
            size = f"{recipe.image_size} pixels"
            notes.append(f"preset {choice.name}, at {size}, as {choice.reason}; --recipe and --image-size change it")
        unequal = unequal_classes(source)
        if unequal and recipe.class_weights == "none":
            notes.append(unequal)
        check_images(recipe, source)
        for note in notes:
            print(f"keras-se: {note}", file=sys.stderr)
        if self.dry_run:
            from keras_se.training.dry_run import plan

            return plan_rows(plan(recipe, source))
        run = train(recipe, overwrite=self.overwrite, resume=self.resume, source=source)
        if self.strategy == "multi_worker":  # the others have ended, and evaluation is for one process
            return result_rows(run, None, ())
        evaluation, lines = finish_run(run, source, self.data)
        return result_rows(run, evaluation, lines)

    def _recipe(self, preset: "Recipe") -> "Recipe":
        """Return the preset with the changes of the options."""
        preset = self._preset(preset)
        if self.epochs is not None:
            preset = preset.with_epochs(self.epochs)
        names = {field.name for field in dataclasses.fields(preset)} - {"model_arguments", "epochs"}
        changes = {name: value for name, value in vars(self).items() if name in names and value is not None}
        return dataclasses.replace(
            preset,
            **{**changes, "out": str(self.out)},
            model_arguments={**preset.model_arguments, **_pairs(self.set)},
        )

    def _preset(self, preset: "Recipe") -> "Recipe":
        """Return the preset with the model and the weights of the options.

        The preset's arguments are those of its own model, and are left out for another one.
        """
        from keras_se.preprocessing import recorded_preprocessing
        from keras_se.weights.keras_weights import run_file
        from keras_se.weights.loading import model_of_weights

        if self.weights is None:
            if self.model is None:
                raise InputError("train needs --model, or --weights of a run or of timm's; got neither")
            arguments = preset.model_arguments if preset.model == self.model else {}
            return dataclasses.replace(preset, model=self.model, model_arguments=arguments)
        model = self.model or model_of_weights(self.weights)
        if model is None:
            raise InputError(f"train needs --model: {self.weights} does not say what model it is of")
        path = run_file(self.weights)
        recorded = None if path is None else recorded_preprocessing(path)
        size = preset.image_size if recorded is None else max(recorded.size)
        return dataclasses.replace(preset, model=model, model_arguments={"weights": self.weights}, image_size=size)


def _pairs(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Return `("r=8", "placement=pre")` as `{"r": 8, "placement": "pre"}`."""
    pairs = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals):
            raise InputError(f"--set takes NAME=VALUE, as r=8; got {argument!r}")
        if name in pairs:
            raise InputError(f"--set takes each name once; got {name} twice")
        pairs[name] = _value(value)
    return pairs


_WORDS = {"True": True, "False": False, "None": None}  # as Python writes them; JSON's are read too


def _value(text: str) -> Any:
    """Read a value as Python's or JSON's constant or as a number; any other is text."""
    if text in _WORDS:
        return _WORDS[text]
    for read in (json.loads, float):  # JSON has no .5
        with contextlib.suppress(ValueError, RecursionError):
            return read(text)
    return text
