"""Quantization of a float .tflite file by litert-quantizer.

In: a float file, a recipe, and the ranges that a static recipe needs. Out: the quantized file.
"""

import contextlib
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_se.errors import InputError
from keras_se.export.quantization.bias_range import with_biases_in_range
from keras_se.export.quantization.calibration import Ranges
from keras_se.export.quantization.recipes import Recipe
from keras_se.export.tflite.constants import constants
from keras_se.export.tflite.flatbuffer import WEIGHTED, builtin_code, builtin_names, schema
from keras_se.export.tflite.layer_names import layer_path
from keras_se.export.tflite.model import TFLiteModel
from keras_se.optional_packages import import_extra

# The bytes of float32 that litert-quantizer 0.11.0 still rounds at once. It cuts a larger constant into rows of its
# last axis, and then finds no place for a scale for each filter unless such a row is a filter.
_CHUNK = 32 << 20
# XNNPACK refuses a whole file for one layer whose input's and kernel's steps make 256 of its output's, and cuts the
# graph at an addition whose inputs' steps are less than a 1,024th of its output's.
_FINEST = 128
_FINEST_ADDED = 512
MOST_FLOAT16 = 65_504
"""Greatest number of float16."""


def quantize(float_file: TFLiteModel, recipe: Recipe, ranges: Ranges | None = None) -> TFLiteModel:
    """Quantize a float file to the recipe's number format, as a self-contained file.

    Args:
        ranges: of `calibrate`, for a static recipe.
    Raises:
        InputError: the network lacks the part that the recipe treats apart, or a weight is beyond float16.
    """
    if recipe.rules is None:
        return float_file.inlined
    try:
        rules = recipe.rules(float_file)
    except InputError as error:
        raise InputError(f"{recipe.name} does not fit: {error}") from None
    manager = import_extra("litert_quantizer.recipe_manager", "edge").RecipeManager()
    manager.load_quantization_recipe(rules)
    model = import_extra("litert_quantizer.utils.tfl_flatbuffer_utils", "edge").read_model(float_file.content)
    shapes = _flatten_large_kernels(model)
    # The steps of Quantizer.quantize, which first has LiteRT check the file: a flat kernel is none to LiteRT.
    generator = import_extra("litert_quantizer.params_generator", "edge").ParamsGenerator(model)
    modifier = import_extra("litert_quantizer.model_modifier", "edge").ModelModifier(model)
    if ranges is not None:
        ranges = _no_finer_than_xnnpack_runs(model, ranges)
    with _quietly():
        parameters = generator.generate_quantization_parameters(manager, ranges, enable_progress_bar=False)
        quantized = TFLiteModel(bytes(modifier.modify_model(parameters))).inlined
    quantized = _with_shapes(quantized, shapes) if shapes else quantized
    _check_float16(quantized, float_file)
    quantized = _with_unread_outputs_quantized(quantized)
    return quantized if ranges is None else with_biases_in_range(quantized, float_file)


def _check_float16(quantized: TFLiteModel, float_file: TFLiteModel) -> None:
    weights = {name: values for name, values, _ in constants(float_file)}
    for name, values, _ in constants(quantized):
        if values.dtype == np.float16 and not np.isfinite(values).all():
            raise InputError(
                f"float16 holds numbers up to {MOST_FLOAT16:,}; a weight of the layer {layer_path(name) or name} is "
                f"{weights[name].flat[np.abs(weights[name]).argmax()]:g}: choose another recipe, or train again with "
                "weight decay"
            )


def _flatten_large_kernels(model: Any) -> dict[bytes, np.ndarray]:
    """Make a matrix, a filter a row, of each kernel that is rounded in chunks; their shapes, by name."""
    shapes = {}
    for graph in model.subgraphs:
        for op in graph.operators:
            if builtin_code(model.operatorCodes[op.opcodeIndex]) == schema.BuiltinOperator.CONV_2D:
                kernel = graph.tensors[op.inputs[1]]
                filters, *rest = map(int, kernel.shape)
                if 4 * filters * math.prod(rest) > _CHUNK:
                    shapes[kernel.name] = kernel.shape
                    kernel.shape = np.array([filters, math.prod(rest)], np.int32)
    return shapes


def _no_finer_than_xnnpack_runs(model: Any, ranges: Ranges) -> Ranges:
    """Widen the ranges that would give a tensor steps too fine for what computes or reads it.

    Such is the output of a layer that no calibration image opens, as an SE of two hidden units can be in a trained
    network; widened, it still holds no more than two products of one step by one step. And such is a branch that adds
    next to nothing: less than half a step of the sum.
    """
    ranges = dict(ranges)
    [graph] = model.subgraphs
    names = [tensor.name.decode() for tensor in graph.tensors]
    readers = Counter(int(index) for op in graph.operators for index in op.inputs)

    def width(index: int) -> Any:
        return np.maximum(ranges[names[index]]["max"], 0) - np.minimum(ranges[names[index]]["min"], 0)

    def widen(index: int, least: Any) -> None:
        low, high = ranges[names[index]]["min"], ranges[names[index]]["max"]
        ranges[names[index]] = {"min": low, "max": np.maximum(high, np.minimum(low, 0) + least)}

    kinds = builtin_names()
    for op in graph.operators:
        kind = kinds[builtin_code(model.operatorCodes[op.opcodeIndex])]
        known = [int(index) for index in op.inputs if index >= 0 and names[index] in ranges]
        if not known or names[op.outputs[0]] not in ranges:
            continue
        if kind in WEIGHTED:
            kernel = model.buffers[graph.tensors[op.inputs[1]].buffer].data
            if kernel is not None:
                greatest = np.abs(np.frombuffer(kernel, "float32")).max()
                widen(op.outputs[0], width(known[0]) * greatest / (127 * _FINEST))
        elif kind == "ADD":
            for index in known:
                if readers[index] == 1:
                    widen(index, width(op.outputs[0]) / _FINEST_ADDED)
    return ranges


def _with_shapes(file: TFLiteModel, shapes: dict[bytes, np.ndarray]) -> TFLiteModel:
    """Give the tensors of those names, and what is made of them alone, those shapes."""
    model = file.editable()
    for tensor in model.subgraphs[0].tensors:
        tensor.shape = shapes.get(re.sub(rb"(_dequant|_duplicated_\d+)+$", b"", tensor.name), tensor.shape)
    return TFLiteModel.packed(model)


def _with_unread_outputs_quantized(file: TFLiteModel) -> TFLiteModel:
    """Give outputs that nothing reads the type of the operation's others, as XNNPACK and integer devices ask for.

    The quantizer leaves them in float. An unrolled LSTM has one: the forget gate of its first step, which starts from
    a state of zeros.
    """
    model = file.editable()
    changed = False
    for graph in model.subgraphs:
        read = {int(index) for op in graph.operators for index in op.inputs} | {int(index) for index in graph.outputs}
        for op in graph.operators:
            outputs = {int(index): graph.tensors[index] for index in op.outputs}
            quantized = [tensor for index, tensor in outputs.items() if index in read and _has_scale(tensor)]
            for index, tensor in outputs.items():
                if index not in read and quantized and not _has_scale(tensor):
                    tensor.type, tensor.quantization = quantized[0].type, quantized[0].quantization
                    changed = True
    return TFLiteModel.packed(model) if changed else file


def _has_scale(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the quantizer's bars, which start anew at each file, and its warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
