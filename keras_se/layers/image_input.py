"""Find the range of pixels that a network takes from its own layers.

Three things tell: an `ImageInput`, with which our networks begin whose weights brought a preprocessing; layers at the
input that scale, as Rescaling and Normalization; and the names of the layers of `keras.applications`, whose networks
each take pixels as they were trained. The network may stand inside others, behind augmentation and other scaling.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from keras_se.cloning import is_graph
from keras_se.errors import InputError

_SIDE = 8  # of the images that are sent through scaling layers
_SCALING = (layers.Rescaling, layers.Normalization, layers.BatchNormalization)
_SCALING_OPERATIONS = ("Add", "Cast", "Divide", "GetItem", "Multiply", "Negative", "Stack", "Subtract", "TrueDivide")
"""Operations of keras.ops, by their class: `x / 255.0`, or `preprocess_input` in a network."""
_PASSING = ("CenterCrop", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "Resizing", "ZeroPadding2D")
"""Layers that leave the range of pixels as it is; so do those whose names begin with Random."""
_USUAL_RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@keras.saving.register_keras_serializable("keras_se")
class ImageInput(layers.InputLayer):
    """Input layer of a network, with the preprocessing that its weights want, and where they are from.

    Args:
        preprocessing: the fields of a `Preprocessing`, as `to_dict` gives them.
        initial_weights: what the network started from: `weights`, as `create_model` takes them, with the hub's commit;
            `sha256`, of the file; `arguments`, of `create_model`, that came with them. None if it is not known.
        **arguments: of `keras.layers.InputLayer`.
    """

    def __init__(self, preprocessing: Mapping[str, Any], initial_weights: Mapping[str, Any] | None = None, **arguments):
        super().__init__(**arguments)
        # As JSON has them, so that the same come back from a file.
        self.preprocessing: dict[str, Any] = as_json(dict(preprocessing))
        self.initial_weights: dict[str, Any] | None = as_json(initial_weights)

    def get_config(self) -> dict[str, Any]:
        brought = {"preprocessing": self.preprocessing, "initial_weights": self.initial_weights}
        return {**super().get_config(), **copy.deepcopy(brought)}


def as_json(value: Any) -> Any:
    """Return a value as a file of JSON gives it back: collections become lists."""
    return json.loads(json.dumps(value, default=list))


class WantedPixels(NamedTuple):
    """Pixels that a network takes, and the part of it that tells."""

    fields: dict[str, Any]
    """Fields of a `Preprocessing`, but for its height and width."""
    reason: str


class _Known(NamedTuple):
    """Networks of `keras.applications`: some layers' names that they have, and what they take."""

    name: str
    layers: frozenset[str]
    mean: tuple[float, ...] | None
    """None for what is no preprocessing of ours: each channel less its mean, in the order blue, green, red."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


def _known(name: str, names: str, *normalisation: Any) -> _Known:
    return _Known(name, frozenset(names.split()), *normalisation)


_HALF = (0.5, 0.5, 0.5)

# In what does without layers that scale: those of MobileNetV3, EfficientNet and ConvNeXt tell of themselves.
# Source: the docstring of each network's `preprocess_input`, and keras.applications.imagenet_utils.
_APPLICATIONS = (
    _known("MobileNet", "conv1 conv1_bn conv_dw_1 conv_pw_1", _HALF, _HALF),
    _known("MobileNetV2", "Conv1 bn_Conv1 expanded_conv_depthwise", _HALF, _HALF),
    _known("MobileNetV3", "conv conv_bn expanded_conv_depthwise expanded_conv_project", _HALF, _HALF),
    _known("EfficientNetV2", "stem_conv stem_bn block1a_project_conv", _HALF, _HALF),
    _known("Xception", "block1_conv1 block1_conv1_bn block2_sepconv1", _HALF, _HALF),
    _known("InceptionV3", "mixed0 mixed9_1", _HALF, _HALF),
    _known("InceptionResNetV2", "mixed_5b block35_1_conv", _HALF, _HALF),
    _known("NASNet", "stem_conv1 stem_bn1 reduction_conv_1_stem_1", _HALF, _HALF),
    _known("ResNetV2", "conv1_conv conv2_block1_preact_bn", _HALF, _HALF),
    _known("DenseNet", "conv1_conv conv2_block1_0_bn pool2_bn", _IMAGENET_MEAN, _IMAGENET_STD),
    _known("ResNet", "conv1_conv conv1_bn conv2_block1_0_conv", None),
    _known("VGG", "block1_conv1 block1_conv2 block1_pool block5_conv3", None),
)


def wanted_pixels(model: keras.Model) -> WantedPixels | None:
    """Return the pixels that a model takes, as its layers tell; None where none of them does.

    Raises:
        InputError: it takes what no preprocessing of ours gives.
    """
    begin = _Beginning(model)
    if begin.brought is not None:
        fields = begin.brought.preprocessing
        reason = f"the weights behind the input {begin.brought.name}"
        return WantedPixels({**fields, **begin.before_scaling(fields)}, reason)
    if begin.scaling:
        return WantedPixels(begin.usual_range(), f"the model's {' and '.join(begin.scaling)}")
    known = next((row for row in _APPLICATIONS if any(row.layers <= names for names in begin.names)), None)
    if known is None:
        return None
    if known.mean is None:
        raise InputError(
            f"{model.name} has the layers of keras.applications' {known.name}, which takes blue, green and red less "
            "their means, and no preprocessing here gives that; build preprocess_input into the model, or, if it was "
            "trained otherwise, say what it takes: --input-range, or preprocessing="
        )
    fields = {"mean": known.mean, "std": known.std}
    return WantedPixels(fields, f"the model's layers, which are those of keras.applications' {known.name}")


def initial_weights_of(model: keras.Model) -> dict[str, Any] | None:
    """Return what a model started from, as the `ImageInput` of its network has it; None where nothing tells."""
    brought = _Beginning(model).brought
    return None if brought is None else brought.initial_weights


def fields_before(beginning: keras.Model, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what layers take from images so that they give what `fields` ask for; None if they do not just scale.

    Args:
        beginning: the layers, as a model from an image to an image.
        fields: the mean and std of a `Preprocessing`, among others.
    """
    begin = _Beginning(beginning)
    return {**fields, **begin.before_scaling(fields)} if begin.scales_only else None


def fields_for_range(low: float, high: float) -> dict[str, Any]:
    """Return the fields of a `Preprocessing` that spreads pixels over a range.

    Raises:
        InputError: the range is empty or infinite.
    """
    if not (low < high and np.isfinite([low, high]).all()):
        raise InputError(f"an input range must be a lower and a higher number; got {low:g} and {high:g}")
    return {"mean": (0.0 - low / (high - low),) * 3, "std": (1 / (high - low),) * 3}


class _Beginning:
    """Layers behind a model's input that scale pixels, up to the first that computes something else."""

    def __init__(self, model: keras.Model):
        self.scaling: list[str] = []
        self.brought: ImageInput | None = None
        self.names: list[set[str]] = []
        channels = model.inputs[0].shape[-1]
        self._images = np.stack([np.full((_SIDE, _SIDE, channels), end, "float32") for end in (0, 1)])
        self.scales_only = self._follow(model, self._images) is not None

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Factor that each channel is multiplied by, and the term that is then added."""
        black, white = self._images.mean((1, 2), dtype="float64")
        return white - black, black

    def before_scaling(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the mean and std for images before these layers, given those for images behind them."""
        if not self.scaling:
            return {}
        scale, offset = self.affine
        std = np.array(fields["std"]) * scale
        mean = fields["mean"] + fields["std"] * offset
        for usual in (fields_for_range(*ends) for ends in _USUAL_RANGES):
            if np.allclose(std, usual["std"], rtol=1e-3) and np.allclose(mean, usual["mean"], atol=1e-3):
                return usual
        return self.usual_range()  # it was trained on another preprocessing than its weights'

    def usual_range(self) -> dict[str, Any]:
        """Return the mean and std of the range of pixels that these layers bring nearest to a span of 2 around 0."""
        scale, offset = (float(np.mean(values)) for values in self.affine)
        ranges = list(_USUAL_RANGES[:2])
        if scale > 0:
            low, high = ((end - offset) / scale for end in (0 if offset >= 0 else -1, 1))  # of 0..1, or of -1..1
            near = any(np.allclose((low, high), usual, atol=0.01 * usual[1]) for usual in ranges)
            # As Rescaling(1 / 16) takes 0..16, and Rescaling(0.5, 0.5) takes -1..1.
            if high - low >= 1 and min(abs(low), abs(low + high)) < 0.01 * high and not near:
                ranges.append((low, high))

        def distance(ends: tuple[float, float]) -> float:
            low, high = sorted(scale * end + offset for end in ends)
            span = max(high - low, 1e-9)
            return abs(np.log(span / 2)) + abs(high + low) / span

        return fields_for_range(*min(ranges, key=distance))

    def _follow(self, model: keras.Model, images: np.ndarray) -> np.ndarray | None:
        """Send images through a model as far as it scales; return its output where it does nothing else."""
        graph = keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model
        [tensor], [end] = graph.inputs, graph.outputs
        self.names.append({layer.name for layer in graph.layers})
        source = tensor._keras_history.operation
        if isinstance(source, ImageInput):
            self.brought = source
            return None
        values: dict[int, np.ndarray] = {id(tensor): images}
        for operation in graph.operations:  # pyright: ignore[reportAttributeAccessIssue]
            for node in operation._inbound_nodes:
                if node.input_tensors and all(id(tensor) in values for tensor in node.input_tensors):
                    value = self._scaled(operation, node, values)
                    if value is not None:
                        values[id(node.outputs[0])] = value
        return values.get(id(end))

    def _scaled(self, operation: Any, node: Any, values: Mapping[int, np.ndarray]) -> np.ndarray | None:
        """Apply an operation that scales, or leaves pixels as they are, to values; None for any other."""
        images = values[id(node.input_tensors[0])]
        if isinstance(operation, keras.Model):
            single = is_graph(operation) and len(operation.inputs) == len(operation.outputs) == 1
            return self._follow(operation, images) if single else None
        kind = type(operation).__name__
        if type(operation).__module__.partition(".")[0] != "keras":
            return None
        if kind in _PASSING or kind.startswith("Random"):
            return images
        if not (isinstance(operation, _SCALING) or kind in _SCALING_OPERATIONS):
            return None
        arguments, named = node.arguments.fill_in(values)
        value = np.asarray(operation(*arguments, **named), "float32")
        if value.shape == self._images.shape:
            self._images = value
            self.scaling.append(f"layer {operation.name}" if isinstance(operation, layers.Layer) else operation.name)
        return value
