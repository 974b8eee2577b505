"""Quantization-aware models as export takes them: recognised, and with what they learned made constant.

In: a model of `quantize_aware`, trained or not. Out: its form, and a model of rounded kernels and constant ranges.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from keras_se.export.conversion.copies import copied
from keras_se.export.conversion.lowering_config import PLAIN, LoweringConfig
from keras_se.export.qat.fake_quant import FakeQuantize, RoundedInput, RoundedWeights
from keras_se.export.quantization.weight_rounding import rounded_kernel

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed


def is_quantization_aware(model: keras.Model) -> bool:
    """Return True for a model of `quantize_aware`."""
    return any(isinstance(layer, FakeQuantize) for layer in model.layers)


def lowering_of_aware(model: keras.Model) -> LoweringConfig:
    """Return the form that a model of `quantize_aware` is written in."""
    return next((layer.lowering for layer in model.layers if isinstance(layer, RoundedInput)), PLAIN)


def freeze_ranges(model: keras.Model) -> keras.Model:
    """Copy a model of `quantize_aware` with kernels that are rounded for good and ranges that are constants."""
    new: dict[layers.Layer, layers.Layer] = {}  # a range may stand in two places

    def call(layer: Any, *args: Any, **kwargs: Any) -> Tensor:
        if layer in new:
            return new[layer](*args)
        if isinstance(layer, FakeQuantize):
            low, high = layer.range()
            new[layer] = FakeQuantize(low, high, name=layer.name, dtype=layer.dtype_policy)
            return new[layer](*args)
        if isinstance(layer, RoundedWeights):
            kernel, bias = layer.folded()
            config = {**layer.layer.get_config(), "use_bias": bias is not None}
            new[layer] = type(layer.layer).from_config(config)
            output = new[layer](*args)
            weights = [rounded_kernel(layer.layer, kernel)] + ([] if bias is None else [bias])
            new[layer].set_weights([np.asarray(weight) for weight in weights])
            return output
        new[layer], output = copied(layer, *args, **kwargs)
        return output

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
