"""The command `keras-se train`: a data set, a model and a preset in, the folder of a run out."""

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_se.cli.command import Command
from keras_se.cli.tables import Rows
from keras_se.errors import InputError

if TYPE_CHECKING:
    from keras_se.training import Recipe


@dataclass(frozen=True)
class Train(Command):
    """Train a model into a run folder: model.keras, run.json, history.csv; tensorboard/ with that extra."""

    data: str
    """digits, fashion_mnist, mnist, cifar10, cifar100, or a folder of class folders."""
    out: Path
    """The run's folder."""
    model: str | None = None
    """A name from `keras-se models`; not needed where the weights are a run's or one of timm's."""
    weights: str | None = None
    """What to start from: the folder of a run or its model.keras, a .weights.h5 or .safetensors file, imagenet, or
    timm/NAME with or without @COMMIT. The weights bring the arguments of their model, and a run its image size."""
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

    def run(self) -> Rows:
        from keras_se.training import PRESETS, train

        if self.recipe not in PRESETS:
            raise InputError(f"recipe must be one of {', '.join(PRESETS)}; got {self.recipe!r}")
        preset = self._preset(PRESETS[self.recipe])
        names = {field.name for field in dataclasses.fields(preset)} - {"model_arguments"}
        changes = {name: value for name, value in vars(self).items() if name in names and value is not None}
        recipe = dataclasses.replace(
            preset,
            **{**changes, "out": str(self.out)},
            model_arguments={**preset.model_arguments, **_pairs(self.set)},
        )
        run = train(recipe, overwrite=self.overwrite, resume=self.resume)
        return Rows(
            document={"model": str(run.folder / "model.keras"), "folder": str(run.folder), "accuracy": run.accuracy},
            columns=("file", "test accuracy"),
            cells=[(str(run.folder / "model.keras"), f"{run.accuracy:.4f}")],
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
