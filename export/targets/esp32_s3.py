"""Espressif's ESP32-S3, by TFLite Micro with ESP-NN's kernels.

In: a file of integers. Out: what `tflite_micro` makes of it, and in the manifest where its arena fits and which
operations ESP-NN does not run. The arena and the results are those of TFLite Micro's own kernels on this machine; no
chip was tried.

Source: the kernels of github.com/espressif/esp-tflite-micro, `tensorflow/lite/micro/kernels/esp_nn/`. Where their
conditions do not hold they run TFLite Micro's reference kernels, as all of TFLite Micro's other operations do.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.targets import tflite_micro
from keras_se.export.targets.base import AllBut, Deliverable, Layers, Limit, Objection, QuantizedModel, Target
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel

SRAM = 512 << 10
"""Bytes of memory on the chip, which an app shares with the arena."""
PSRAM = 16 << 20
"""Bytes of the largest memory beside the chip, of the module ESP32-S3-WROOM-2-N32R16V."""


class Operation(NamedTuple):
    """Facts of an operation that ESP-NN's conditions ask for."""

    options: Any
    """Options object of the schema, with the operation's own fields."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of its inputs."""


def _always(op: Operation) -> bool:
    return True


def _same_shapes(op: Operation) -> bool:
    return op.shapes[0] == op.shapes[1]


def _undilated(op: Operation) -> bool:
    return op.options.dilationHFactor == op.options.dilationWFactor == 1


def _channels_by_four(op: Operation) -> bool:
    return op.shapes[0][-1] % 4 == 0


KERNELS: Mapping[str, Callable[[Operation], bool]] = {
    "ADD": _same_shapes,
    "AVERAGE_POOL_2D": _channels_by_four,
    "CONV_2D": _undilated,
    "DEPTHWISE_CONV_2D": _undilated,
    "FULLY_CONNECTED": _always,
    "MAX_POOL_2D": _channels_by_four,
    "MUL": _same_shapes,
    "SOFTMAX": _always,
}
"""Operations that ESP-NN runs on int8 tensors, each with its condition."""


def package(quantized: QuantizedModel, target: Target) -> Deliverable:
    """Return the file with TFLite Micro's C++ sources, and what of it the chip runs slowly.

    Raises:
        InputError: TFLite Micro refuses the file or is not installed, or the arena is larger than any module's memory.
    """
    deliverable = tflite_micro.package(quantized, target)
    arena = deliverable.manifest["tflite_micro"]["arena_bytes"]
    if arena > PSRAM:
        raise InputError(
            f"the arena for {target.name} must fit {PSRAM >> 20} MiB, the most that a module has; it takes "
            f"{arena / 2**20:.1f} MiB; choose a smaller input or network"
        )
    facts = {
        "arena_fits": "SRAM" if arena <= SRAM else "PSRAM",
        "reference_kernels": reference_kernels(quantized.file),
    }
    return Deliverable(deliverable.file, {**deliverable.manifest, target.name: facts}, deliverable.files)


def reference_kernels(file: TFLiteModel) -> dict[str, int]:
    """Count the operations of a file that ESP-NN leaves to TFLite Micro's reference kernels, by name."""
    graph = file.graph
    types = flatbuffer.tensor_types()
    counts: Counter[str] = Counter()
    for op, name in zip(graph.operators, file.operation_names, strict=True):
        inputs = [graph.tensors[index] for index in op.inputs if index >= 0]
        shapes = tuple(tuple(map(int, tensor.shape)) for tensor in inputs)
        int8 = types[graph.tensors[op.outputs[0]].type] == "INT8"
        if not (int8 and name in KERNELS and KERNELS[name](Operation(op.builtinOptions, shapes))):
            counts[name] += 1
    return dict(sorted(counts.items()))


def object_to(layers: Layers, recipe: Recipe, target: Target) -> Iterator[Objection]:
    """Yield the layers that ESP-NN has a kernel for but for their dilation, their channels or their gate's shape."""
    if not recipe.rounds_activations:
        return  # of int16 it runs nothing, whatever the network
    for path, layer in layers:
        kind = type(layer).__name__
        if max(_numbers(getattr(layer, "dilation_rate", 1))) > 1:
            reason, instead = "a dilated convolution", "use a larger kernel, or strides"
        elif kind in ("AveragePooling2D", "MaxPooling2D") and layer._inbound_nodes[0].input_tensors[0].shape[-1] % 4:
            reason, instead = "a pooling of channels that are no multiple of 4", "use a multiple of 4"
        elif kind == "SqueezeExcite":
            reason, instead = "a product of a map and one number a channel", "place SE where the map is small"
        else:
            continue
        yield Objection(path, kind, "slow", f"ESP-NN has no kernel for {reason}", instead)


def _numbers(rate: int | tuple[int, ...]) -> tuple[int, ...]:
    return rate if isinstance(rate, tuple) else (rate,)


TARGETS = (
    Target(
        "esp32_s3",
        "Espressif's ESP32-S3, by TFLite Micro with ESP-NN's kernels",
        higher_precision="ai16",
        unsupported_recipes=tflite_micro.UNSUPPORTED_RECIPES,
        limits=(
            *tflite_micro.LIMITS,
            Limit(AllBut(KERNELS), "ESP-NN has no kernel of {}", lambda recipe: recipe.rounds_activations, "slow"),
        ),
        object_to=object_to,
        arena=PSRAM,
        package=package,
        check_tool=tflite_micro.check_tool,
    ),
)
