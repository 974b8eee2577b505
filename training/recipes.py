"""Training runs as data; the paper's recipes as named presets."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from keras_se.errors import InputError

Augmentation = Literal["none", "shift", "shift_flip", "resized_crop_flip"]
Schedule = Literal["cosine", "step"]
Strategy = Literal["auto", "none", "mirrored", "multi_worker", "tpu"]
Optimizer = Literal["sgd", "adamw", "lamb", "rmsprop"]
ClassWeights = Literal["none", "balanced"]
Freeze = Literal["none", "backbone"]

_LEAST = {
    "epochs": 1,
    "batch_size": 1,
    "image_size": 1,
    "step_epochs": 1,
    "micro_batches": 1,
    "checkpoint_steps": 0,
    "seed": 0,
}
_MOST = {"epochs": 1_000_000, "image_size": 65_535, "step_epochs": 1_000_000}


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Raises:
        InputError: a value is out of its range, or warm-up is asked of a step schedule.
    Example:
        >>> recipe = Recipe(model="se_resnet18", data="photos/", out="run", batch_size=512)
        >>> recipe.peak_learning_rate
        0.2
    """

    model: str = "se_mobilenet"
    """A name from `keras-se models`."""
    data: str = "digits"
    """digits, fashion_mnist, mnist, cifar10, cifar100, or a folder of class folders."""
    out: str = "run"
    """Folder of the run."""
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `create_model`, as r or placement."""
    epochs: int = 100
    """Passes over the training images."""
    batch_size: int = 256
    """Global batch: images an update, over all devices."""
    image_size: int = 224
    """Height and width of the network's input, in pixels."""
    crop: float = 0.875
    """Side of the central crop over that of the resized image, in evaluation; weights that the model starts from bring
    their own, and their mean, standard deviation and interpolation."""
    learning_rate: float = 0.1
    """Peak, for 256 images of the global batch; scaled linearly with the batch."""
    schedule: Schedule = "cosine"
    """cosine, to zero; or step, divided by 10 every `step_epochs`."""
    warmup_epochs: float = 0.0
    """Epochs of linear rise from zero to the peak; with cosine only."""
    step_epochs: int = 30
    """Epochs between the divisions of a step schedule."""
    optimizer: Optimizer = "sgd"
    """sgd, with plain momentum as in the paper; adamw; lamb, for large batches; or rmsprop."""
    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""
    weight_decay: float = 1e-4
    """Decay of convolution and dense kernels only: L2, coupled, with sgd and rmsprop; decoupled with adamw and lamb."""
    label_smoothing: float = 0.0
    augmentation: Augmentation = "resized_crop_flip"
    class_weights: ClassWeights = "none"
    """balanced: an image weighs in the loss as the mean class has images over its own class has."""
    freeze: Freeze = "none"
    """backbone: train the classifier alone at first, on features whose batch normalisation is in inference."""
    unfreeze_at: float = 0.5
    """Share of the epochs after which all is trained, with `freeze`; 1 for never."""
    unfrozen_rate: float = 0.1
    """Factor of the learning rate from then on."""
    binary: bool = False
    """Two classes by one output and a sigmoid, in place of two and a softmax."""
    strategy: Strategy = "auto"
    seed: int = 0
    """Seed of all random numbers: the same one gives the same weights on the same machine."""
    skip_corrupt: bool = False
    """Train without the images that cannot be decoded, instead of stopping."""
    micro_batches: int = 1
    """Passes over a device's share of a batch, for one update: less memory. Batch normalisation sees one pass."""
    checkpoint_steps: int = 0
    """Updates between checkpoints; 0 for one at the end of each epoch only."""

    def __post_init__(self):
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"{name} must be one of {', '.join(get_args(kind))}; got {getattr(self, name)!r}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}; got {name}={getattr(self, name)}")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise InputError(f"{name} must be at most {most}; got {name}={getattr(self, name)}")
        for name in ("learning_rate", "warmup_epochs", "weight_decay"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} must be finite; got {name}={getattr(self, name)}")
        if self.seed >= 2**32:
            raise InputError(f"seed must be below 2^32; got seed={self.seed}")
        for name in ("learning_rate", "warmup_epochs", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative; got {name}={getattr(self, name)}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1); got {name}={getattr(self, name)}")
        if self.schedule == "step" and self.warmup_epochs:
            raise InputError(f"warm-up goes with the cosine schedule; got step and {self.warmup_epochs} epochs of it")
        if self.warmup_epochs >= self.epochs:
            raise InputError(
                f"warm-up must be shorter than the run; got {self.warmup_epochs} of {self.epochs} epochs: with_epochs "
                "scales it, or give warmup_epochs"
            )
        for name in ("unfreeze_at", "unfrozen_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be above 0 and at most 1; got {name}={getattr(self, name)}")
        if self.freeze == "backbone" and self.schedule != "cosine":
            raise InputError(f"freeze goes with the cosine schedule; got {self.schedule}")
        if self.freeze == "backbone" and self.warmup_epochs >= self.frozen_epochs:
            raise InputError(
                f"warm-up must be shorter than the epochs before unfreeze_at; got {self.warmup_epochs} of "
                f"{self.frozen_epochs}"
            )

    @property
    def peak_learning_rate(self) -> float:
        """Learning rate of the optimizer, at this run's global batch."""
        return self.learning_rate * self.batch_size / 256

    @property
    def frozen_epochs(self) -> int:
        """Epochs in which the classifier alone is trained: at least one where `freeze` asks for it."""
        return max(1, round(self.unfreeze_at * self.epochs)) if self.freeze == "backbone" else 0

    def with_epochs(self, epochs: int) -> "Recipe":
        """Return the recipe for another number of epochs, its warm-up and the steps of its schedule scaled alike.

        Raises:
            InputError: `epochs` is below 1.
        """
        scale = epochs / self.epochs
        return dataclasses.replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * scale,
            step_epochs=max(1, round(self.step_epochs * scale)),
        )


_CHOICES = {
    "augmentation": Augmentation,
    "schedule": Schedule,
    "optimizer": Optimizer,
    "class_weights": ClassWeights,
    "freeze": Freeze,
}


PRESETS: dict[str, Recipe] = {
    # Hu et al., arXiv 1709.01507, section 5: SGD, momentum 0.9, lr 0.6 at a batch of 1024, a tenth every 30 epochs
    # of 100; scale and aspect crop, flip; evaluation 256 -> 224.
    "paper_resnet": Recipe(batch_size=1024, learning_rate=0.6 * 256 / 1024, schedule="step"),
    # The same, section 5.1, and Zhang et al., arXiv 1707.01083, for the networks of mobile size: batch 256, lr 0.1,
    # weight decay 4e-5, about 400 epochs.
    "paper_mobile": Recipe(epochs=400, weight_decay=4e-5, warmup_epochs=5, label_smoothing=0.1),
    # Small images, as CIFAR and Fashion-MNIST: no crop in evaluation, shifts and flips in training.
    "small_images": Recipe(
        epochs=60,
        batch_size=128,
        image_size=32,
        crop=1.0,
        weight_decay=5e-4,
        warmup_epochs=2,
        augmentation="shift_flip",
    ),
    # Some hundred photographs a class: the paper's augmentation, with a batch that leaves updates enough.
    "photographs": Recipe(batch_size=32, warmup_epochs=5, label_smoothing=0.1),
    # Weights of many images to start from: the classifier first, then all at a tenth of the rate, as Howard and Ruder,
    # arXiv 1801.06146, section 3.3, unfreeze, in two steps; a weight decay and crops as for photographs.
    "fine_tune": Recipe(batch_size=32, epochs=20, warmup_epochs=1, label_smoothing=0.1, freeze="backbone"),
    # 8x8 digits enlarged: 1,442 of them teach a quarter-width SE-MobileNet in a minute on two cores. No flips.
    "digits": Recipe(
        model_arguments={"alpha": 0.25, "r": 4},
        epochs=20,
        batch_size=64,
        image_size=32,
        crop=1.0,
        learning_rate=0.4,
        warmup_epochs=2,
        weight_decay=5e-4,
        label_smoothing=0.1,
        augmentation="none",
    ),
}
