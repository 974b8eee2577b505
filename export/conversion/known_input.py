"""Models that do not say what image they take, on an input that does.

In: a model of any image size, or of a class of its own, and the shape of an image. Out: a functional model of one image
of that shape.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_se.cloning import is_graph
from keras_se.errors import InputError
from keras_se.export.conversion.copies import copied, functional
from keras_se.layers.image_input import ImageInput, wanted_pixels
from keras_se.preprocessing import Preprocessing, bring_preprocessing, image_shape


def with_input_shape(model: keras.Model, shape: Sequence[int] | None = None) -> keras.Model:
    """Return the model on an input of one image of that shape; the model itself where it takes no other.

    A functional or sequential model is copied, with those in it. One of a class of its own is called once.

    Args:
        shape: height, width and channels; None where the model says them.
    Raises:
        InputError: the model says another shape, or none and `shape` is None, or has no weights yet, or takes or gives
            more than one tensor.
    """
    known = known_shape(model)
    if not model.built:
        raise InputError(
            f"the model {model.name} was never built and has no weights; call it on an image, train it, and save it "
            "again"
        )
    if shape is None:
        _check_known(model, known)
        image_shape(model)
        return model
    shape = tuple(shape)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"input_shape must be height, width and channels, each at least 1; got {shape}")
    if known is not None:
        fits = isinstance(known, tuple) and len(known) == 4
        if not fits or any(own not in (None, side) for own, side in zip(known[1:], shape, strict=True)):
            raise InputError(f"input_shape must be what the model takes, {known}; got {shape}")
        if None in known[1:]:
            model = _copied(model, shape)
    else:
        model = _called(model, shape)
    image_shape(model)
    return model


def on_images_of(model: keras.Model, shape: Sequence[int]) -> keras.Model:
    """Return the model on an input of that shape where it does not say what it takes; else the model itself.

    Raises:
        InputError: as `with_input_shape`.
    """
    known = known_shape(model)
    says = known is not None and not (isinstance(known, tuple) and None in known[1:])
    return with_input_shape(model, None if says else shape)


def known_shape(model: keras.Model) -> Any:
    """Return the model's `input_shape`; None where it has no input layer."""
    return getattr(model, "input_shape", None) if getattr(model, "inputs", None) else None


def _check_known(model: keras.Model, known: Any) -> None:
    if known is None:
        raise InputError(
            f"the model {model.name}, of the class {type(model).__name__}, says nowhere what it takes; give "
            "--input-shape HEIGHT WIDTH CHANNELS, in Python input_shape="
        )
    if isinstance(known, tuple) and len(known) == 4 and None in known[1:]:
        raise InputError(
            f"the model {model.name} must take images of known size; got {known}; give --image-size, in Python "
            "input_shape="
        )


def _called(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    image = keras.Input(shape)
    try:
        output = model(image, training=False)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model {model.name}, of the class {type(model).__name__}, must take an image of {shape}; Keras says: "
            f"{reason}"
        ) from None
    return keras.Model(image, output, name=_name(model))


def _name(model: keras.Model) -> str:
    """Return the model's name, without the number that Keras counts up whenever it loads one that says none."""
    return model.name if "name" in model.get_config() else re.sub(r"_\d+$", "", model.name)


def _copied(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """Copy a graph, and the graphs in it, so that each layer knows the size of what it takes."""
    if not is_graph(model):  # a class of its own on a graph: what it adds to that is unknown
        return _called(model, shape)
    copies: dict[int, Any] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model) and is_graph(layer):
            return functional(layer)._run_through_graph(*args, operation_fn=lambda inner: inner, call_fn=call)
        if id(layer) in copies:
            return copies[id(layer)](*args, **kwargs)
        copies[id(layer)], output = copied(layer, *args, **kwargs)
        return output

    image = keras.Input(shape, name=model.inputs[0].name)
    new: Any = keras.models.clone_model(
        functional(model), input_tensors=image, clone_function=lambda layer: layer, call_function=call
    )
    if not any(isinstance(layer, ImageInput) for layer in model._flatten_layers()):
        return new
    wanted: Any = wanted_pixels(model)  # which that input has brought, and the new one has not
    height, width, _ = shape
    return bring_preprocessing(new, Preprocessing.from_dict({**wanted.fields, "height": height, "width": width}))
