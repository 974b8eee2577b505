"""SE put into a model that has none there.

In: a built functional or sequential model, and the layers behind which SE is to stand. Out: a new model, with copies of
the weights.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.surgery.graphs import Call, Rewriter, Tensor, calls_of, check_graph
from keras_se.surgery.places import Place, find_places
from keras_se.surgery.se_blocks import blocks_of

IDENTITY_GATE = "double_sigmoid"


def insert(
    model: keras.Model,
    *,
    after: Place | Sequence[Place],
    r: int = 16,
    identity: bool = False,
    hidden: int | None = None,
    squeeze: Literal["avg", "max", "none"] = "avg",
    activation: str = "relu",
    gate: str | None = None,
    use_bias: bool = True,
) -> keras.Model:
    """Put SE behind layers of a model.

    Every layer keeps its name, its weights and its training flag; inputs, outputs, layers that are called more than
    once, and models inside stay what they are. The block behind a layer is called as the layer, with `_se` at the end.
    A layer with weights that is called more than once has one block for all its calls, any other layer one for each.

    Args:
        model: a built functional or sequential model; it stays as it is.
        after: what chooses the layers: the name of one, or within another model MODEL/NAME; a pattern, as "block?_*"; a
            class of layers; a function that says True of a layer; "residual", for the end of the branch that each Add
            takes, where the paper places SE; or a list of these.
        r: the reduction ratio, channels / hidden units.
        identity: begin with gates of 1, so that the model computes what it did; its first training step moves them.
            The second dense layer begins at zero, the bias of the first at one, and the gate is "double_sigmoid".
        hidden: hidden units, instead of `r`.
        squeeze: what each channel is reduced to, as of `SqueezeExcite`.
        activation: between the two dense layers.
        gate: as of `SqueezeExcite`; None for "sigmoid", or with `identity` for "double_sigmoid".
        use_bias: whether the two dense layers have biases.
    Returns:
        A new model, not compiled, which shares no weight with `model`.
    Raises:
        InputError: the model was never built or is of a class of its own, nothing is chosen, or a chosen layer gives no
            feature map, has fewer channels than `r`, or has SE behind it already.
    Example:
        >>> plain = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10)
        >>> model = keras_se.insert(plain, after="residual", identity=True)
        >>> len(model.layers) - len(plain.layers)
        10
    Source: arXiv 1709.01507, sections 3 and 6.5.
    """
    check_graph(model, "insert")
    if identity and gate not in (None, IDENTITY_GATE):
        raise InputError(f"identity=True takes gate={IDENTITY_GATE!r}, which is 1 at the beginning; got gate={gate!r}")
    options = {"r": r, "hidden": hidden, "squeeze": squeeze, "activation": activation, "use_bias": use_bias}
    options["gate"] = gate or (IDENTITY_GATE if identity else "sigmoid")
    try:
        SqueezeExcite(**options)
    except ValueError as error:
        raise InputError(str(error)) from None
    places = find_places(model, after)
    has_se = set().union(*({id(block.map), id(block.scaled), *block.inside} for block in blocks_of(model)))
    formats = {id(call.operation): _data_format(call, model) for call in places}
    for call in places:
        _check_place(call, formats[id(call.operation)], r if hidden is None else 1, has_se)
    inserter = _Inserter(places, options, formats, {layer.name for layer in model._flatten_layers()})
    new = inserter.rewrite(model)
    for block in inserter.blocks if identity else ():
        block.expand.set_weights([np.zeros(weight.shape) for weight in block.expand.weights])
        bias: Any = block.reduce.bias
        if use_bias:  # so that hidden units are not below their ReLU's bend for every image, where nothing moves them
            bias.assign(np.ones(bias.shape))
    return new


class _Inserter(Rewriter):
    """Rewriter that puts a block behind each call of the chosen layers."""

    def __init__(
        self,
        places: Sequence[Call],
        options: Mapping[str, Any],
        formats: Mapping[int, str],
        names: Collection[str],
    ):
        super().__init__()
        self._options, self._formats = options, formats
        self._chosen = {id(call.operation) for call in places}
        self._names = set(names)
        self._shared: dict[int, SqueezeExcite] = {}
        self.blocks: list[SqueezeExcite] = []

    def call(self, operation: Any, args: Any, kwargs: Any) -> Tensor:
        output = super().call(operation, args, kwargs)
        return self._block(operation)(output) if id(operation) in self._chosen else output

    def in_line(self, layer: Any) -> list[Any]:
        return [*super().in_line(layer), *([self._block(layer)] if id(layer) in self._chosen else [])]

    def _block(self, layer: Any) -> SqueezeExcite:
        if id(layer) in self._shared:
            return self._shared[id(layer)]
        name, number = f"{layer.name}_se", 1
        while name in self._names:
            number += 1
            name = f"{layer.name}_se_{number}"
        self._names.add(name)
        block = SqueezeExcite(
            **self._options, data_format=self._formats[id(layer)], dtype=layer.dtype_policy, name=name
        )
        self.blocks.append(block)
        if layer.weights:
            self._shared[id(layer)] = block
        return block


def _data_format(call: Call, model: keras.Model) -> str:
    """Return where a layer's output has its channels, as the layer tells, else all those that do."""
    own = getattr(call.operation, "data_format", None)
    if own is not None:
        return own
    told: set[Any] = {getattr(other.operation, "data_format", None) for other in calls_of(model)} - {None}
    return told.pop() if len(told) == 1 else keras.config.image_data_format()


def _check_place(call: Call, data_format: str, least: int, has_se: Collection[int]) -> None:
    shape = call.outputs[0].shape
    if len(call.outputs) != 1 or len(shape) not in (3, 4, 5):
        shapes = ", ".join(str(tuple(output.shape)) for output in call.outputs)
        raise InputError(
            f"SE takes a feature map, (batch, height, width, channels); the layer {call.path} gives {shapes}: choose "
            "one before the pooling"
        )
    channels = shape[-1 if data_format == "channels_last" else 1]
    if channels is None:
        raise InputError(f"SE must know its number of channels; the layer {call.path} gives {shape}")
    if channels < least:
        raise InputError(f"SE takes at least r={least} channels; the layer {call.path} gives {channels}: lower r")
    if id(call.outputs[0]) in has_se:
        raise InputError(f"SE stands at the layer {call.path} already; choose others, or remove it first")
