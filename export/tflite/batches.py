"""Number of images that a file takes at a time.

In: a file of one image. Out: the same network for any number of images that `resize_tensor_input` asks for, or for a
number of its own.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.sandbox import runner
from keras_se.export.tflite.graph_edits import add_constant, drop_untouched
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra


def with_free_batch(file: TFLiteModel) -> TFLiteModel:
    """Return the file of one image with -1 in place of the 1 that a RESHAPE has for the batch.

    The constant that the converter writes there, as for Flatten, keeps LiteRT from resizing the input to a batch. A
    file without such a RESHAPE, or with loops, is returned itself.
    """
    shapes = {} if len(file.unpacked.subgraphs) > 1 else dict(_shapes_of_one(file))
    if not shapes:
        return file
    model = file.editable()
    graph = model.subgraphs[0]
    constants: dict[int, int] = {}
    for number, shape in shapes.items():
        op = graph.operators[number]
        reads, old = map(int, op.inputs)
        if old not in constants:  # under its name, by which the layer is known
            constants[old] = add_constant(model, graph.tensors[old].name.decode(), shape)
        op.inputs = np.array([reads, constants[old]], np.int32)
        if op.builtinOptions is not None:
            op.builtinOptions.newShape = shape
    drop_untouched(model)
    return TFLiteModel.packed(model)


def _shapes_of_one(file: TFLiteModel) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each RESHAPE of one image to a constant shape, by its place, with that shape for any number of images."""
    graph = file.graph
    for number, (op, kind) in enumerate(zip(graph.operators, file.operation_names, strict=True)):
        if kind != "RESHAPE" or int(op.inputs[0]) not in file.activations or len(op.inputs) < 2:
            continue
        data = file.unpacked.buffers[graph.tensors[op.inputs[1]].buffer].data
        shape = np.empty(0, np.int32) if data is None else np.asarray(data, np.uint8).view(np.int32)
        if len(shape) > 1 and shape[0] == graph.tensors[op.inputs[0]].shape[0] == 1 and -1 not in shape:
            yield number, np.array([-1, *shape[1:]], np.int32)


def with_batch(file: TFLiteModel, batch: int) -> TFLiteModel:
    """Return the file of one image as one of `batch` images, which gives each what the file gives it alone.

    Raises:
        InputError: the network has a loop, or an operation that takes one image alone or mixes those of a batch.
    """
    if batch == 1:
        return file
    if len(file.unpacked.subgraphs) > 1:
        raise InputError(f"a network with a loop takes one image at a time; got a batch of {batch}")
    shapes = runner.call(
        f"{__name__}:shapes_of_batch", by="LiteRT", file="the network", content=file.content, batch=batch
    )
    model = file.editable()
    for index in file.activations:
        tensor = model.subgraphs[0].tensors[index]
        tensor.shape = np.array(shapes[str(index)], np.int32)
        if tensor.shapeSignature is not None:
            tensor.shapeSignature = tensor.shape
    return TFLiteModel.packed(model)


def shapes_of_batch(content: bytes, batch: int) -> dict[str, list[int]]:
    """Return the shape of each tensor that depends on the input, by its index; to be run in a child process.

    Raises:
        InputError: LiteRT cannot resize the file, or an image of a batch does not give what it gives alone.
    """
    try:
        many, one = _interpreter(content, batch), _interpreter(content, 1)
        images = _random(many.get_input_details()[0])
        together = _run(many, images)
        for number in sorted({0, batch // 2, batch - 1}):
            alone = _run(one, images[number : number + 1])
            if len(together) != batch or not _same(together[number], alone[0]):
                raise RuntimeError("its images would be mixed")
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the network takes one image at a time, and no batch of {batch}: {error}") from None
    shapes = {tensor["index"]: tensor["shape"].tolist() for tensor in many.get_tensor_details()}
    return {str(index): shapes[index] for index in TFLiteModel(content).activations}


def _interpreter(content: bytes, batch: int) -> Any:
    litert = import_extra("ai_edge_litert.interpreter", "edge")
    resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(model_content=content, num_threads=2, experimental_op_resolver_type=resolver)
    [taken] = interpreter.get_input_details()
    interpreter.resize_tensor_input(taken["index"], (batch, *taken["shape"][1:]))
    interpreter.allocate_tensors()
    return interpreter


def _random(taken: Any) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.issubdtype(taken["dtype"], np.floating):
        return rng.random(taken["shape"]).astype(taken["dtype"])
    limits = np.iinfo(taken["dtype"])
    return rng.integers(limits.min, limits.max, taken["shape"], taken["dtype"], endpoint=True)


def _run(interpreter: Any, images: np.ndarray) -> np.ndarray:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    """Return True for equal integers, and for floats that differ by no more than the order of sums."""
    if first.dtype.kind != "f":
        return np.array_equal(first, second)
    return np.allclose(first, second, rtol=0, atol=1e-4 * np.abs(second).max(initial=1e-30))
