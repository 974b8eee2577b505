"""Values of the tensors inside a .tflite file; all of it to be run in a child process.

In: a file and images. Out: its tensors image by image, or their greatest magnitudes and channel means.
"""

import contextlib
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_se.export.runtimes.base import quantized_input
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra
from keras_se.progress import track


class Tensor(NamedTuple):
    """Values as they are stored, and what they mean: `(values - zero) * scale`; a scale of 0 means float."""

    values: np.ndarray
    scale: float
    zero: int


def each_images_tensors(
    content: bytes, images: np.ndarray, names: Collection[str], *, resolver: str
) -> Iterator[dict[str, Tensor]]:
    """Yield the named tensors after each image, but for those that no operation reads; a file of a batch is resized.

    Args:
        images: float32 `(n, height, width, channels)`, as the network sees them.
        resolver: a member of LiteRT's `OpResolverType`: which kernels run.
    """
    litert = import_extra("ai_edge_litert.interpreter", "edge")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")  # that it takes memory
        interpreter = litert.Interpreter(
            model_content=content,
            num_threads=2,
            experimental_op_resolver_type=litert.OpResolverType[resolver],
            experimental_preserve_all_tensors=True,
        )
    [taken] = interpreter.get_input_details()
    if taken["shape"][0] != 1:
        interpreter.resize_tensor_input(taken["index"], (1, *taken["shape"][1:]))
    interpreter.allocate_tensors()
    details = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details() if tensor["name"] in set(names)}
    for image in images:
        interpreter.set_tensor(taken["index"], quantized_input(image[None], taken["dtype"], *taken["quantization"]))
        interpreter.invoke()
        values = {}
        for name, tensor in details.items():
            with contextlib.suppress(ValueError):  # no operation reads it, and it has no memory
                values[name] = Tensor(interpreter.get_tensor(tensor["index"]), *tensor["quantization"])
        yield values


def greatest_magnitudes(content: bytes, images: np.ndarray) -> dict[str, Any]:
    """Measure the greatest magnitude in what each operation gives, over the images.

    Returns:
        Under "names" the tensors, in the order in which they are computed, and under "magnitudes" one number each,
        infinite for a NaN; but for what pads with minus infinity, as before a maximum.
    """
    file = TFLiteModel(content)
    graph, moving = file.graph, file.activations
    indices = dict.fromkeys(int(index) for op in graph.operators for index in op.outputs if int(index) in moving)
    padded = file.written_by("PADV2")
    names = [name for name in (graph.tensors[index].name.decode() for index in indices) if name not in padded]
    magnitudes = np.zeros(len(names))
    for tensors in each_images_tensors(content, images, names, resolver="BUILTIN"):
        for number, name in enumerate(names):
            values = tensors[name].values.ravel() if name in tensors else np.empty(0)
            if values.dtype.kind == "f" and values.size:
                magnitude = float(np.abs(values).max())
                magnitudes[number] = max(magnitudes[number], magnitude if np.isfinite(magnitude) else np.inf)
    return {"names": names, "magnitudes": magnitudes}


def channel_means(content: bytes, images: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Measure the mean of each channel, the last axis, over the images and all other axes, by the name's number."""
    sums: dict[str, np.ndarray | float] = dict.fromkeys(names, 0.0)
    runs = each_images_tensors(content, images, names, resolver="BUILTIN")
    for tensors in track(runs, f"Averaging over {len(images)} images", total=len(images)):
        for name, (values, *_) in tensors.items():
            sums[name] = sums[name] + values.reshape(-1, values.shape[-1]).mean(0, dtype="float64")
    return {str(number): np.asarray(sums[name]) / len(images) for number, name in enumerate(names)}
