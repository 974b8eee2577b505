"""Conversion of a Keras model to a float .tflite file.

In: a model, or the path of one. Out: a `TFLiteModel` of built-in operations for one image.
"""

import errno
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError  # pyright: ignore[reportMissingImports]

from keras_se.errors import InputError
from keras_se.export.conversion.copies import fresh
from keras_se.export.conversion.finite_weights import check_weights
from keras_se.export.conversion.model_names import check_names
from keras_se.export.tflite.batches import with_free_batch
from keras_se.export.tflite.layer_names import layer_path
from keras_se.export.tflite.model import TFLiteModel
from keras_se.preprocessing import image_shape
from keras_se.weights.model_file import load_model_file

_BLAMED = re.compile(r'"([^"\s]+)@__inference')  # MODEL/LAYER/…/OPERATION, in the converter's message


def load_model(path: Path | str) -> keras.Model:
    """Load the model in a `.keras` file; nothing in it is executed.

    Raises:
        InputError: there is no such file, or it is not a Keras model.
    """
    model = load_model_file(path)
    check_names(model)
    _refuse_quantized(model)
    return model


def _refuse_quantized(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer.dtype_policy, keras.dtype_policies.QuantizedDTypePolicy):
            raise InputError(
                f"the model must be in float, and layer {layer.name} was changed by model.quantize; export the model "
                "from before, and choose the number format with --recipes"
            )


def check_backend() -> None:
    """Refuse the backends of Keras that write no .tflite file.

    Raises:
        InputError: Keras runs on one.
    """
    if keras.config.backend() != "tensorflow":
        raise InputError(
            f"the conversion needs Keras on TensorFlow; got {keras.config.backend()}: set KERAS_BACKEND=tensorflow"
        )


def to_tflite(model: keras.Model) -> TFLiteModel:
    """Convert a model to a float32 .tflite file of built-in operations, for one image at a time.

    LiteRT can resize its input to a batch, where no operation stands in the way.

    Raises:
        InputError: the input is not one image of known size, a layer becomes no built-in operation, or a weight is not
            finite.
        OSError: the temporary folder, which it names, is full.
    """
    check_backend()
    check_names(model)
    _refuse_quantized(model)
    check_weights(model)
    shape = (1, *image_shape(model))
    with tempfile.TemporaryDirectory() as folder:
        try:
            _save(in_float32(model), shape, folder)
        except tf.errors.ResourceExhaustedError as error:  # the disk is full: nothing is computed here
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir()) from error
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = True
        try:
            return with_free_batch(TFLiteModel(converter.convert()))
        except ConverterError as error:
            raise InputError(f"a .tflite file has no operation for {_blamed(str(error))}; replace it") from None


def _save(model: keras.Model, shape: tuple[int, ...], folder: str) -> None:
    """Write the SavedModel of `Model.export(format="litert")`, in a fifth of the time.

    TensorFlow saves and restores each variable by operations of its own, and twice; a constant costs nothing.
    """
    every = list(model.variables)
    # One stays a variable, the largest: the name of a function's output tells whether it reads any.
    kept = [max(every, key=lambda variable: math.prod(variable.shape))] if every else []
    values = [(variable, variable.numpy()) for variable in every if variable is not kept[0]]
    assigned = False

    def of_constants(args_0):
        nonlocal assigned
        constants = [(variable, tf.constant(value)) for variable, value in values]
        with keras.StatelessScope(constants) as scope:
            outputs = model(args_0, training=False)
        before = [*constants, *((variable, None) for variable in kept)]
        assigned = any(scope.get_current_value(variable) is not value for variable, value in before)
        return outputs

    def of_variables(args_0):
        return model(args_0, training=False)

    signature = [tf.TensorSpec(shape, tf.float32)]
    serve = tf.function(of_constants, signature, autograph=False)
    serve.get_concrete_function()
    if assigned:  # as a stateful RNN does
        kept, serve = every, tf.function(of_variables, signature, autograph=False)
    module: Any = tf.Module()
    module.variables_kept = [variable.value for variable in kept]
    module.serve = serve
    # Keras's two names: with one, the output has another.
    tf.saved_model.save(module, folder, signatures={"serve": serve, "serving_default": serve})


def _blamed(message: str) -> str:
    """Return the operations that the converter could not write, each with its layer; else its first line."""
    paths = [path for path in dict.fromkeys(_BLAMED.findall(message)) if layer_path(path)]
    blamed = [f"{path.rpartition('/')[2]} of the layer {layer_path(path)}" for path in paths]
    return ", ".join(dict.fromkeys(blamed)) or message.splitlines()[0][:200]


def in_float32(model: keras.Model) -> keras.Model:
    """Return the model with every layer in float32; the casts of mixed precision would stay in the file."""
    if all(layer.compute_dtype == "float32" for layer in model._flatten_layers(include_self=False)):
        return model

    copy = keras.models.clone_model(model, clone_function=lambda layer: fresh(layer, dtype="float32"), recursive=True)
    copy.set_weights(model.get_weights())
    return copy
