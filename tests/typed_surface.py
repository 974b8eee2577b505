"""Public functions as a type checker sees them. `pyright` reads this file; nothing runs it."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

import keras
import numpy as np

import keras_se
import keras_se.export

image = keras.Input((32, 32, 3))
assert_type(keras_se.SEResNet50(True, None, image, name="left", r=8, stride_in="3x3"), keras.Model)
assert_type(keras_se.SEMobileNet(weights="imagenet", alpha=0.5), keras.Model)
assert_type(keras_se.create_model("se_vgg16", input_shape=(None, None, 3), include_top=False), keras.Model)
assert_type(keras_se.list_models("se_*", pretrained=True), list[str])
assert_type(keras_se.decode_predictions("run", np.zeros((1, 10))), list[list[tuple[str, float]]])
model = keras_se.insert(keras_se.SEVGG16(), after=["residual", keras.layers.Conv2D, lambda layer: True], squeeze="max")
assert_type(model, keras.Model)
assert_type(keras_se.remove(model), keras.Model)
assert_type(keras_se.remove(model, keep_mean=np.zeros((1, 32, 32, 3)), labels=np.zeros(1)), tuple[keras.Model, float])
assert_type(keras_se.excitations(model, np.zeros((1, 32, 32, 3))), dict[str, np.ndarray])
assert_type(keras_se.fold_constant(model, np.zeros((1, 32, 32, 3)), tolerance=0.1), keras_se.Folding)
assert_type(keras_se.export.benchmark(["a.tflite"]), list[keras_se.export.Bench])

# Each of these must be an error, or the comment that allows it is one.
keras_se.SEResNet50(nmae="left")  # pyright: ignore[reportCallIssue]
keras_se.SEResNet50(alpha=0.5)  # pyright: ignore[reportCallIssue]
keras_se.SEVGG16(True, None, None, None, None, 10, None, "left", 16)  # pyright: ignore[reportCallIssue]
keras_se.MobileNetV3Small(r="4")  # pyright: ignore[reportArgumentType]
keras_se.insert(model, "residual")  # pyright: ignore[reportCallIssue]
keras_se.remove(model, labels=np.zeros(1))  # pyright: ignore[reportCallIssue]
keras_se.create_model("se_vgg16", nmae="left")  # pyright: ignore[reportCallIssue]
