"""One runner per runtime: the same images through each, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_se.errors import InputError
from keras_se.export.runtimes import openvino
from keras_se.export.sandbox import runner
from keras_se.export.tflite import flatbuffer
from keras_se.extras import import_extra
from keras_se.progress import track

if TYPE_CHECKING:
    import keras  # which takes seconds, and a process that runs a file needs none


class Outputs(NamedTuple):
    """What an engine computed.

    `values`: float64 `(n, classes)`. `lsb`: the step of an integer output, None for a float one. `note`: how the
    runtime computes otherwise on this processor than on others with int8 activations, and what to do about it.
    """

    values: np.ndarray
    lsb: float | None
    note: str = ""


class Engine(NamedTuple):
    """A runtime, and how its results relate to those of LiteRT's reference kernels on the same file."""

    run: Callable[[bytes, np.ndarray], Outputs]
    steps: Mapping[str, int] = {}
    """Greatest difference from the reference kernels, in steps of the output, by recipe; where a recipe has none,
    its own tolerance between engines holds."""
    reason: str = ""
    refuses: frozenset[str] = frozenset()
    """Recipes whose files it cannot run."""
    extra: str = "edge"
    """What installs it."""


def run_keras(model: keras.Model, images: np.ndarray) -> Outputs:
    """The model's logits, or its outputs where it ends in no softmax.

    Args:
        images: float32 `(n, height, width, channels)`.
    """
    outputs = _logits_model(model).predict(images, batch_size=32, verbose=0)  # pyright: ignore[reportArgumentType]
    return Outputs(np.asarray(outputs, "float64").reshape(len(images), -1), None)


def _logits_model(model: keras.Model) -> keras.Model:
    """The model without the softmax that gives its output, also where that stands in a model within it."""
    import keras

    if len(getattr(model, "outputs", None) or ()) != 1:
        return model
    output: Any = model.outputs[0]
    last, taken = _writer(output)
    while _passes_on(last):
        last, taken = _writer(taken)
    if isinstance(last, keras.Model):
        inner = _logits_model(last)
        return model if inner is last else keras.Model(model.inputs, inner(taken))
    if type(last).__name__ == "Softmax" or getattr(last, "activation", None) is keras.activations.softmax:
        if type(last).__name__ in ("Softmax", "Activation"):  # the operation of keras.ops has the layer's name
            return keras.Model(model.inputs, taken)
        linear = type(last).from_config({**last.get_config(), "activation": "linear"})
        logits = keras.Model(model.inputs, linear(taken))
        linear.set_weights(last.get_weights())
        return logits
    return model


def _writer(tensor: Any) -> tuple[Any, Any]:
    """The layer or operation that gives a symbolic tensor, and the first tensor that it takes."""
    history = tensor._keras_history
    taken = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, taken[0] if taken else None


def _passes_on(layer: Any) -> bool:
    """Whether a layer gives at inference what it takes, so that a file has no operation for it."""
    import keras

    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    noise = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.GaussianNoise)
    return isinstance(layer, (*noise, keras.layers.ActivityRegularization, keras.layers.Identity))


def _litert(content: bytes, images: np.ndarray, *, resolver: str) -> Outputs:
    litert = import_extra("ai_edge_litert.interpreter", "edge")
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType[resolver],
        num_threads=2,
    )
    interpreter.allocate_tensors()
    [taken], [given] = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(image):
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return _each(infer, images, taken["dtype"], taken["quantization"], given["quantization"])


def _tflm(content: bytes, images: np.ndarray) -> Outputs:
    interpreter = micro_interpreter(content)
    taken, given = interpreter.get_input_details(0), interpreter.get_output_details(0)

    def infer(image):
        interpreter.set_input(image, 0)
        interpreter.invoke()
        return interpreter.get_output(0)

    return _each(infer, images, taken["dtype"], _micro_quantization(taken), _micro_quantization(given))


def micro_interpreter(content: bytes) -> Any:
    """TFLite Micro's interpreter of the file."""
    runtime = import_extra("tflite_micro.python.tflite_micro.runtime", "edge")
    return runtime.Interpreter.from_bytes(content, arena_size=ample_arena(content))


MOST_ARENA = 64 << 20
"""Bytes of activations that TFLite Micro is tried with: more than a microcontroller's board has."""


def ample_arena(content: bytes) -> int:
    """Working memory for TFLite Micro, which takes all of it at the start.

    In bytes; it has been enough for every network here at 224 pixels. From 2 GiB on it would crash the process.
    """
    return min(10 * len(content) + MOST_ARENA, 1 << 30)


def _openvino(content: bytes, images: np.ndarray) -> Outputs:
    model = openvino.compiled(openvino.read(content))
    [taken], [given] = flatbuffer.quantizations(content)
    request, dtype = model.create_infer_request(), model.input(0).element_type.to_dtype()
    outputs = _each(lambda image: request.infer([image])[model.output(0)], images, dtype, taken, given)
    return outputs._replace(note=openvino.SATURATES if openvino.saturates() else "")


def _micro_quantization(details: Any) -> tuple[float, int]:
    parameters = details["quantization_parameters"]
    if len(parameters["scales"]) == 0:
        return 0.0, 0
    return float(parameters["scales"][0]), int(parameters["zero_points"][0])


def _each(infer, images, dtype, taken, given) -> Outputs:
    """The images one by one, quantized on the way in and dequantized on the way out; a scale of 0 means float."""
    inputs = (quantized_input(image[None], dtype, *taken) for image in images)
    rows = [np.array(infer(image)).reshape(-1) for image in track(inputs, "Running images", total=len(images))]
    values = np.stack(rows).astype("float64")
    scale, zero = given
    return Outputs(values, None) if scale == 0 else Outputs((values - zero) * scale, scale)


def quantized_input(image: np.ndarray, dtype: Any, scale: float, zero: int) -> np.ndarray:
    """An image as an input of that type, scale and zero point takes it."""
    if np.issubdtype(dtype, np.floating):
        return image.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.round(image / scale) + zero, limits.min, limits.max).astype(dtype)


REFERENCE_KERNELS = "litert_reference"

MICRO_STEPS: dict[tuple[str, str], int] = {
    ("FULLY_CONNECTED", "INT8"): 1,
    ("FULLY_CONNECTED", "INT16"): 1,
    ("MUL", "INT8"): 1,
    ("MUL", "INT16"): 1,
}
"""Operations that TFLite Micro rounds otherwise than LiteRT's reference kernels do, with the type of what they give:
the greatest difference on the same inputs, in steps. All others of the networks here are equal to the bit."""


def _named(operations: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{operation} in {kind.lower()}" for operation, kind in operations)


ENGINES: dict[str, Engine] = {
    "litert": Engine(
        lambda content, images: _litert(content, images, resolver="AUTO"),
        steps={"static_wi8_ai16": 32},
        reason="XNNPACK takes no int16; LiteRT's optimised kernels round a step of 65,536 otherwise, which adds up",
    ),
    REFERENCE_KERNELS: Engine(lambda content, images: _litert(content, images, resolver="BUILTIN_REF")),
    "tflm": Engine(
        _tflm,
        steps={"static_wi8_ai8": 1, "static_wi8_ai16": 32},
        reason=f"{_named(MICRO_STEPS)} round a step otherwise; of 65,536 steps, many, which add up",
        refuses=frozenset({"float16", "dynamic_wi8_afp32", "weight_only_wi8_afp32"}),
    ),
    "openvino": Engine(_openvino, extra="openvino"),
}

USUAL = tuple(name for name, engine in ENGINES.items() if engine.extra == "edge")
"""What compares files unless told otherwise: the same in every installation."""


def run_file(name: str, content: bytes, images: np.ndarray, file: Path | str) -> Outputs:
    """The images through a file, up to its logits, in a child process.

    Args:
        name: of the engine.
        content: the file's.
        images: float32 `(n, height, width, channels)`, as the network sees them.
        file: its path, for messages.
    Raises:
        InputError: there is no such engine, or it cannot run the file, or crashes on it.
    """
    find_engine(name)
    return Outputs(
        **runner.call(
            f"{__name__}:run_in_child",
            by=name,
            file=flatbuffer.described(file, content),
            steps=len(images),
            name=name,
            content=flatbuffer.without_softmax(content),
            images=images,
        )
    )


def run_in_child(name: str, content: bytes, images: np.ndarray) -> dict[str, Any]:
    """What an engine computed, as a dictionary."""
    return ENGINES[name].run(content, images)._asdict()


def xnnpack_partitions(content: bytes) -> int:
    """Return the number of pieces into which XNNPACK cuts the graph, after a run in a child process.

    1 is the whole of it, each further one a return to slower kernels.

    Raises:
        InputError: XNNPACK refuses the file, or crashes on it.
    """
    return runner.call(f"{__name__}:partitions", by="XNNPACK", file="the file", content=content)["partitions"]


def partitions(content: bytes) -> dict[str, int]:
    """`xnnpack_partitions`, as a dictionary; to be run in a child process."""
    interpreter = import_extra("ai_edge_litert.interpreter", "edge").Interpreter(model_content=content)
    try:
        interpreter.allocate_tensors()
        for taken in interpreter.get_input_details():
            interpreter.set_tensor(taken["index"], np.zeros(taken["shape"], taken["dtype"]))
        interpreter.invoke()
    except RuntimeError as error:
        raise InputError(f"XNNPACK cannot run the file: {error}") from None
    return {"partitions": sum(one["op_name"] == "DELEGATE" for one in interpreter._get_ops_details())}


def find_engine(name: str) -> Engine:
    """The engine of that name.

    Raises:
        InputError: there is none.
    """
    if name not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}; got {name!r}")
    return ENGINES[name]
