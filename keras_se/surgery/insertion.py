"""SE, or another layer that gates, put into a model that has none there.

In: a built functional or sequential model, and the layers behind which SE is to stand. Out: a new model, with copies of
the weights.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_se.cloning import made_again
from keras_se.errors import InputError
from keras_se.layers.squeeze_excite import SqueezeExcite
from keras_se.surgery.graphs import Call, Rewriter, Tensor, calls_of, check_graph
from keras_se.surgery.places import Place, find_places
from keras_se.surgery.se_blocks import blocks_of

IDENTITY_GATE = "double_sigmoid"
_DEFAULTS = {"r": 16, "hidden": None, "squeeze": "avg", "activation": "relu", "use_bias": True, "gate": "sigmoid"}


def insert(
    model: keras.Model,
    *,
    after: Place | Sequence[Place],
    layer: keras.layers.Layer | None = None,
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
        layer: a layer to put there instead of SE, as `keras_se.EfficientChannelAttention()`; each block is a new one of
            its configuration, with the class's name at the end of its own. The arguments below are those of SE.
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
            feature map, has fewer channels than `r`, or has SE behind it already; `layer` does not take its map, or
            comes with an argument of SE.
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
    if not isinstance(layer, keras.layers.Layer | None):
        raise InputError(f"layer must be a Keras layer, as keras_se.ChannelAttention(); got {layer!r:.80}")
    if layer is not None and (identity or options != _DEFAULTS):
        raise InputError("layer must come without the arguments of SE (identity, r and the others): give it its own")
    try:
        template = SqueezeExcite(**options) if layer is None else layer
    except ValueError as error:
        raise InputError(str(error)) from None
    places = find_places(model, after)
    has_se = set().union(
        *(
            {id(block.map), id(block.scaled), *block.inside}
            for block in blocks_of(model)
            if block.kind is type(template)
        )
    )
    formats = {id(call.operation): _data_format(call, model) for call in places}
    for call in places:
        least = r if layer is None and hidden is None else 1
        _check_place(call, formats[id(call.operation)], least, has_se, type(template).__name__)
        if layer is not None:
            _check_layer(layer, call, formats[id(call.operation)])
    inserter = _Inserter(places, template, formats, {layer.name for layer in model._flatten_layers()})
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
        template: keras.layers.Layer,
        formats: Mapping[int, str],
        names: Collection[str],
    ):
        super().__init__()
        self._template, self._formats = template, formats
        self._chosen = {id(call.operation) for call in places}
        self._names = set(names)
        self._shared: dict[int, Any] = {}
        self.blocks: list[Any] = []

    def call(self, operation: Any, args: Any, kwargs: Any) -> Tensor:
        output = super().call(operation, args, kwargs)
        return self._block(operation)(output) if id(operation) in self._chosen else output

    def in_line(self, layer: Any) -> list[Any]:
        return [*super().in_line(layer), *([self._block(layer)] if id(layer) in self._chosen else [])]

    def _block(self, layer: Any) -> Any:
        if id(layer) in self._shared:
            return self._shared[id(layer)]
        base = name = f"{layer.name}_{_suffix(self._template)}"
        number = 1
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        block = _of_configuration(self._template, self._formats[id(layer)], dtype=layer.dtype_policy, name=name)
        self.blocks.append(block)
        if layer.weights:
            self._shared[id(layer)] = block
        return block


def _suffix(template: keras.layers.Layer) -> str:
    if isinstance(template, SqueezeExcite):
        return "se"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(template).__name__).lower()


def _of_configuration(template: keras.layers.Layer, data_format: str, **changes: Any) -> Any:
    if "data_format" in template.get_config():
        changes["data_format"] = data_format
    return made_again(template, **changes)


def _check_layer(template: keras.layers.Layer, call: Call, data_format: str) -> None:
    kind, shape = type(template).__name__, tuple(call.outputs[0].shape)
    try:
        output = _of_configuration(template, data_format)(keras.KerasTensor(shape, dtype=call.outputs[0].dtype))
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{kind} cannot stand behind the layer {call.path}: {reason}") from None
    if tuple(getattr(output, "shape", ())) != shape:
        raise InputError(f"layer must keep the shape of a map; {kind} does not that of {call.path}, {shape}")


def _data_format(call: Call, model: keras.Model) -> str:
    """Return where a layer's output has its channels, as the layer tells, else all those that do."""
    own = getattr(call.operation, "data_format", None)
    if own is not None:
        return own
    told: set[Any] = {getattr(other.operation, "data_format", None) for other in calls_of(model)} - {None}
    return told.pop() if len(told) == 1 else keras.config.image_data_format()


def _check_place(call: Call, data_format: str, least: int, has_se: Collection[int], kind: str) -> None:
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
        name = "SE" if kind == "SqueezeExcite" else kind
        raise InputError(f"{name} stands at the layer {call.path} already; choose others, or remove it first")
