"""What each image leaves in the tensors inside a .tflite file."""

import warnings
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from keras_se.export.engines import quantized_input
from keras_se.extras import import_extra


class Tensor(NamedTuple):
    """Values as they are stored, and what they mean: `(values - zero) * scale`; a scale of 0 means float."""

    values: np.ndarray
    scale: float
    zero: int


def each_images_tensors(
    content: bytes, images: np.ndarray, names: Collection[str], *, resolver: str
) -> Iterator[dict[str, Tensor]]:
    """The named tensors after each image.

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
    interpreter.allocate_tensors()
    [taken] = interpreter.get_input_details()
    details = {one["name"]: one for one in interpreter.get_tensor_details() if one["name"] in set(names)}
    for image in images:
        interpreter.set_tensor(taken["index"], quantized_input(image[None], taken["dtype"], *taken["quantization"]))
        interpreter.invoke()
        yield {
            name: Tensor(interpreter.get_tensor(one["index"]), *one["quantization"]) for name, one in details.items()
        }
