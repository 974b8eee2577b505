"""What the families are built from: convolution + BN + activation, where SE sits, and the classifier."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from keras import layers

from keras_se.squeeze_excite import SqueezeExcite

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed

PLACEMENTS = ("standard", "pre", "post", "identity", "3x3", "none")
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class SE:
    """How SE sits in a network: the arguments of `create_model` with the same names.

    Placements in a residual block `x -> x + F(x)` (arXiv 1709.01507, section 6.5 and figure 5):
    standard `x + SE(F(x))`; pre `x + F(SE(x))`; post `SE(relu(x + F(x)))`; identity `SE(x) + F(x)`;
    3x3, inside F, after its 3x3 convolution; none, the plain network.
    """

    placement: str = "standard"
    r: int = 16
    squeeze: str = "avg"
    gate: str = "sigmoid"
    use_bias: bool = True
    stages: Collection[int] | None = None

    def __post_init__(self):
        if self.stages is not None and not isinstance(self.stages, Collection):
            raise ValueError(f"se_stages must be None or a collection of stages, as (2, 3); got {self.stages!r}")

    def check(self, placements: Collection[str], stages: Collection[int]) -> None:
        """Refuse what a family has no room for.

        Raises:
            ValueError: the placement is not among `placements`, or a stage not among `stages`.
        """
        if self.placement not in placements:
            raise ValueError(
                f"placement must be one of {', '.join(placements)} in this family; got placement={self.placement!r}"
            )
        if self.stages is not None and not set(self.stages) <= set(stages):
            raise ValueError(
                f"se_stages must be among {', '.join(map(str, stages))}; got se_stages={tuple(self.stages)}"
            )

    def at(self, placement: str, x: Tensor, stage: int, name: str) -> Tensor:
        """`x` rescaled, if this is where SE sits and the stage has it; else `x` itself."""
        if placement != self.placement or (self.stages is not None and stage not in self.stages):
            return x
        return SqueezeExcite(
            self.r,
            squeeze=self.squeeze,
            gate=self.gate,
            use_bias=self.use_bias,
            data_format=CHANNELS_LAST,
            name=f"{name}_se",
        )(x)


@dataclass(frozen=True)
class Head:
    """What follows the last feature map: the arguments of `create_model` with the same names."""

    classes: int = 1000
    include_top: bool = True
    pooling: str | None = None
    classifier_activation: str | None = "softmax"

    def __post_init__(self):
        if self.include_top and self.classes < 1:
            raise ValueError(f"classes must be at least 1; got classes={self.classes}")
        if self.pooling not in (None, "avg", "max"):
            raise ValueError(f"pooling must be None, avg or max; got pooling={self.pooling!r}")

    def __call__(self, x: Tensor, dropout: float = 0.0) -> Tensor:
        if self.include_top or self.pooling == "avg":
            x = layers.GlobalAveragePooling2D(data_format=CHANNELS_LAST, name="avg_pool")(x)
        elif self.pooling == "max":
            x = layers.GlobalMaxPooling2D(data_format=CHANNELS_LAST, name="max_pool")(x)
        if not self.include_top:
            return x
        if dropout:
            x = layers.Dropout(dropout, name="dropout")(x)
        x = layers.Dense(self.classes, name="logits")(x)
        if self.classifier_activation is None:
            return x
        return layers.Activation(self.classifier_activation, name="predictions")(x)


def conv_bn(x: Tensor, filters: int, kernel: int, name: str, *, stride: int = 1, activation: str | None = "relu"):
    """Convolution without bias, batch normalisation and, unless None, an activation.

    `(batch, h, w, c)` to `(batch, ceil(h / stride), ceil(w / stride), filters)`.
    """
    x = layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        data_format=CHANNELS_LAST,
        name=f"{name}_conv",
    )(x)
    return _bn(x, name, activation)


def depthwise_bn(x: Tensor, kernel: int, name: str, *, stride: int = 1, activation: str | None = "relu"):
    """Depthwise convolution without bias, batch normalisation and, unless None, an activation."""
    x = layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        data_format=CHANNELS_LAST,
        name=f"{name}_conv",
    )(x)
    return _bn(x, name, activation)


def _bn(x, name, activation):
    # epsilon 1e-5 as in the released models; momentum 0.9 is torch's 0.1.
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return x if activation is None else layers.Activation(activation, name=f"{name}_act")(x)
