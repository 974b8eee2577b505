"""Published rules of Coral's Edge TPU as a table, and a linter that reads it.

In: a file. Out: the operations that break a rule, and what to do about each.

Source: https://coral.ai/docs/edgetpu/models-intro/#supported-operations, for compiler 16 (runtime 14).
"""

from collections.abc import Callable
from typing import NamedTuple

from keras_se.export.targets.edgetpu_operations import Operation, Tensor, operations_of
from keras_se.export.tflite.model import TFLiteModel


class Rule(NamedTuple):
    """One published requirement."""

    wants: str
    holds: Callable[[Operation], bool]
    rewrite: str
    """Change to make to a network that breaks it."""


class Finding(NamedTuple):
    """An operation that breaks a rule."""

    operation: str
    layer: str
    """Name of the tensor that it writes, which begins with the Keras layer's."""
    wants: str
    rewrite: str


def _eight_bits(op: Operation) -> bool:
    # Biases and axes are int32 constants.
    return all(
        tensor.type in {"INT8", "UINT8"} or (tensor.type == "INT32" and tensor.value is not None)
        for tensor in (*op.inputs, *op.outputs)
    )


def _moving(op: Operation) -> list[Tensor]:
    return [tensor for tensor in (*op.inputs, *op.outputs) if tensor.value is None]


def _row(shape: tuple[int, ...]) -> bool:
    return all(extent == 1 for extent in shape[:-1])


def _axes(op: Operation, tensor: Tensor, at: int) -> set[int]:
    """Return the axes that a constant input names, from 0 on."""
    value = op.inputs[at].value
    return set() if value is None else {int(axis) % len(tensor.shape) for axis in value.ravel()}


def _mean_axes(op: Operation) -> bool:
    [image, *_] = op.inputs
    axes = _axes(op, image, 1)
    depth = len(image.shape) - 1
    return 0 not in axes and (depth not in axes or image.shape[depth] % 4 == 0)


def _joins(op: Operation) -> bool:
    constants = [tensor for tensor in op.inputs if tensor.value is not None]
    zeros = all((tensor.value == tensor.zero_point).all() for tensor in constants)
    return not constants or (len(op.inputs) == 2 and zeros)


def _plain_slice(op: Operation) -> bool:
    steps = op.inputs[3].value
    whole = op.options.ellipsisMask == op.options.newAxisMask == 0
    return whole and steps is not None and bool((steps == 1).all())


EVERYWHERE = (
    Rule("8-bit tensors", _eight_bits, "export with the recipe static_wi8_ai8"),
    Rule(
        "sizes that are known ahead",
        lambda op: all(-1 not in tensor.signature for tensor in _moving(op)),
        "give the model an input of known size and export it for a batch of 1",
    ),
    Rule(
        "an extent of 1 outside the three innermost dimensions",
        lambda op: all(_row(tensor.shape[: len(tensor.shape) - 2]) for tensor in _moving(op)),
        "give it one image at a time, and fold further dimensions into these three",
    ),
)
"""Rules for every operation."""

_NO_ACTIVATION = Rule(
    "no activation fused into it",
    lambda op: op.options.fusedActivationFunction == 0,
    "put the activation before it, into the convolution",
)
_CONSTANT_WEIGHTS = Rule(
    "constant weights",
    lambda op: all(tensor.value is not None for tensor in op.inputs[1:]),
    "compute no weights from the input",
)
_ONE_DILATION = Rule(
    "the same dilation in both directions",
    lambda op: op.options.dilationHFactor == op.options.dilationWFactor,
    "use the same dilation_rate for height and width",
)
_WITHIN_AN_IMAGE = Rule(
    "no reduction over the batch", lambda op: 0 not in _axes(op, op.inputs[0], 1), "leave the first axis out"
)

SUPPORTED: dict[str, tuple[Rule, ...]] = {
    "ADD": (),
    "AVERAGE_POOL_2D": (_NO_ACTIVATION,),
    "CONCATENATION": (
        _NO_ACTIVATION,
        Rule("constants only as zeros beside one other input", _joins, "concatenate what the network computes"),
    ),
    "CONV_2D": (_CONSTANT_WEIGHTS, _ONE_DILATION),
    "DEPTHWISE_CONV_2D": (_CONSTANT_WEIGHTS, _ONE_DILATION),
    "EXPAND_DIMS": (),
    "FULLY_CONNECTED": (
        _CONSTANT_WEIGHTS,
        Rule("the default format of weights", lambda op: op.options.weightsFormat == 0, "convert it without shuffling"),
        Rule(
            "one vector as output",
            lambda op: _row(op.outputs[0].shape),
            "use a 1x1 convolution where Dense stands on more than one vector",
        ),
    ),
    "L2_NORMALIZATION": (),
    "LOGISTIC": (),
    "MAXIMUM": (),
    "MAX_POOL_2D": (_NO_ACTIVATION,),
    "MEAN": (
        Rule(
            "no mean over the batch, and one over channels only of a multiple of 4",
            _mean_axes,
            "take the mean over height and width",
        ),
    ),
    "MINIMUM": (),
    "MUL": (),
    "PACK": (Rule("no packing along the batch", lambda op: op.options.axis != 0, "stack along another axis"),),
    "PAD": (
        Rule(
            "no padding of the batch",
            lambda op: op.inputs[1].value is not None and not op.inputs[1].value.reshape(-1, 2)[0].any(),
            "pad height and width",
        ),
    ),
    "PRELU": (Rule("one slope a channel", lambda op: _row(op.inputs[1].shape), "use PReLU(shared_axes=[1, 2])"),),
    "QUANTIZE": (),
    "REDUCE_MAX": (_WITHIN_AN_IMAGE,),
    "REDUCE_MIN": (_WITHIN_AN_IMAGE,),
    "RELU": (),
    "RELU6": (),
    "RELU_N1_TO_1": (),
    "RESHAPE": (),
    "RESIZE_BILINEAR": (),
    "RESIZE_NEAREST_NEIGHBOR": (),
    "RSQRT": (),
    "SLICE": (),
    "SOFTMAX": (
        Rule(
            "one vector of at most 16,000 elements",
            lambda op: _row(op.inputs[0].shape) and op.inputs[0].shape[-1] <= 16_000,
            "end in the logits, and take the softmax outside",
        ),
    ),
    "SPACE_TO_DEPTH": (),
    "SPLIT": (
        Rule("no split of the batch", lambda op: 0 not in _axes(op, op.inputs[1], 0), "split along another axis"),
    ),
    "SQUARED_DIFFERENCE": (),
    "SQUEEZE": (),
    "STRIDED_SLICE": (
        Rule("steps of 1 and no new axis or ellipsis", _plain_slice, "slice without steps, and reshape apart from it"),
    ),
    "SUB": (),
    "SUM": (_WITHIN_AN_IMAGE,),
    "TANH": (),
    "TRANSPOSE": (),
    "TRANSPOSE_CONV": (),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (),
}
"""Operations that the Edge TPU supports, each with its limits."""

_RELU = "build and train it with relu or relu6 there"
_STATIC = "give the model an input of known size and batch"
REWRITES = {
    **dict.fromkeys(("HARD_SWISH", "GELU", "ELU", "LEAKY_RELU"), _RELU),
    **dict.fromkeys(("SHAPE", "GATHER", "REDUCE_PROD"), _STATIC),
    "DEQUANTIZE": "export with the recipe static_wi8_ai8",
    "DIV": "multiply by the reciprocal",
}
"""Changes to make for some operations that the Edge TPU does not support."""


def lint(file: TFLiteModel) -> list[Finding]:
    """Find the operations of a .tflite file that the Edge TPU would not run, each with the first rule it breaks."""
    findings = []
    for op in operations_of(file):
        for rule in (*EVERYWHERE, *_rules(op.name)):
            if not rule.holds(op):
                findings.append(Finding(op.name, op.outputs[0].name.split(";")[0], rule.wants, rule.rewrite))
                break
    return findings


def _rules(name: str) -> tuple[Rule, ...]:
    unsupported = Rule(
        f"an operation other than {name}", lambda op: False, REWRITES.get(name, "build the network without it")
    )
    return SUPPORTED.get(name, (unsupported,))


def summary(findings: list[Finding]) -> str:
    """Write the findings in one line, those of the same rule together."""
    alike: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        alike.setdefault((finding.wants, finding.rewrite), []).append(f"{finding.operation} at {finding.layer}")
    return "; ".join(
        f"{wants} ({places[0]}{f' and {len(places) - 1} more' if places[1:] else ''}): {rewrite}"
        for (wants, rewrite), places in alike.items()
    )
