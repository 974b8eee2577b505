"""Place SE in the blocks of a network."""

from collections.abc import Collection
from dataclasses import dataclass

from keras_se.layers.checks import at_least_one
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.models.blocks import CHANNELS_LAST, Tensor, divisible

PLACEMENTS = ("standard", "pre", "post", "identity", "3x3", "none")


@dataclass(frozen=True)
class SE:
    """Placement of SE in a network: the arguments of `create_model` with the same names.

    Placements in a residual block `x -> x + F(x)` (arXiv 1709.01507, section 6.5 and figure 5):
    standard `x + SE(F(x))`; pre `x + F(SE(x))`; post `SE(relu(x + F(x)))`; identity `SE(x) + F(x)`;
    3x3, inside F, after its 3x3 convolution; none, the plain network.

    `divisor`: hidden units are rounded to a multiple of it, by `divisible`; `max(1, channels // r)` when None.
    `activation`: between SE's dense layers; no argument of `create_model`, but the family's own.
    """

    placement: str = "standard"
    r: int = 16
    squeeze: str = "avg"
    gate: str = "sigmoid"
    use_bias: bool = True
    stages: Collection[int] | None = None
    divisor: int | None = None
    activation: str = "relu"

    def __post_init__(self):
        at_least_one("r", self.r)
        if self.divisor is not None:
            at_least_one("se_divisor", self.divisor)
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

    def at(self, placement: str, x: Tensor, stage: int, name: str, *, channels: int | None = None) -> Tensor:
        """Rescale `x` if this is where SE sits and the stage has it; else return `x` itself.

        `channels`: those that the hidden units are the r-th part of; those of `x` when None.
        """
        if placement != self.placement or (self.stages is not None and stage not in self.stages):
            return x
        return SqueezeExcite(
            self.r,
            hidden=self._hidden(x.shape[-1], channels),
            squeeze=self.squeeze,
            activation=self.activation,
            gate=self.gate,
            use_bias=self.use_bias,
            data_format=CHANNELS_LAST,
            name=f"{name}_se",
        )(x)

    def _hidden(self, scaled: int, channels: int | None) -> int | None:
        """Return the hidden units, or None for the layer's own number of them."""
        if self.divisor is not None:
            return divisible((channels or scaled) / self.r, self.divisor)
        return None if channels is None else max(1, channels // self.r)
