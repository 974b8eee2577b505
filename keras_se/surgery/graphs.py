"""A model's graph written again, with layers of its own.

In: a built functional or sequential model. Out: another one of the same layers, names, weights and training flags,
which shares no variable with it; what a `Rewriter` changes in it is other.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from keras_se.cloning import is_graph, made_again
from keras_se.errors import InputError

Tensor = Any  # keras.KerasTensor; Keras's layers are not typed


def check_graph(model: Any, verb: str) -> None:
    """Refuse a model whose layers are not known.

    Args:
        verb: what is to be done to it, as the message names it.
    Raises:
        InputError: it is no Keras model, was never built, or is of a class of its own.
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"{verb} takes a Keras model; got {type(model).__name__}")
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            raise InputError(
                f"{verb} takes a model that is built; {model.name} was never: begin it with keras.Input(shape)"
            )
    elif not is_graph(model):
        raise InputError(
            f"{verb} takes a functional or sequential model; got {model.name}, of the class {type(model).__name__}: "
            "give keras.Model(image, model.call(image)), with image = keras.Input(shape)"
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model) and is_graph(layer):
            check_graph(layer, verb)


def functional(model: keras.Model) -> Any:
    """Return the graph of a model; of a sequential one, as it was built."""
    return keras.Model(model.inputs, model.outputs) if isinstance(model, keras.Sequential) else model


class Call(NamedTuple):
    """An operation of a graph, where it is called, and what it gives."""

    path: str
    """Its name; within another model, after that model's name and a slash."""
    operation: Any
    inputs: list[Tensor]
    outputs: list[Tensor]


def calls_of(model: keras.Model, prefix: str = "") -> Iterator[Call]:
    """Yield the calls of a graph in an order in which they can run, and behind a model inside its own, once."""
    graph, inside = functional(model), set()
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            operation = node.operation
            if isinstance(operation, layers.InputLayer):
                continue
            yield Call(f"{prefix}{operation.name}", operation, list(node.input_tensors), list(node.outputs))
            if is_graph(operation) and operation.name not in inside:
                inside.add(operation.name)
                yield from calls_of(operation, f"{prefix}{operation.name}/")


class Rewriter:
    """Write a model again; subclasses say what becomes of a call.

    Attributes:
        copies: the new layer of each old one, by the old one's id.
    """

    def __init__(self) -> None:
        self.copies: dict[int, Any] = {}

    def rewrite(self, model: keras.Model) -> keras.Model:
        """Return the new model, with the weights and the training flags of the old.

        Raises:
            InputError: Keras cannot make a layer again.
        """
        new = self._model(model)
        self.copies[id(model)] = new
        for layer in model._flatten_layers(include_self=False):
            if id(layer) in self.copies and not is_graph(layer):
                _copy_state(layer, self.copies[id(layer)])
        self._copy_flags(model, new)
        return new

    def call(self, operation: Any, args: Any, kwargs: Any) -> Tensor:
        """Return what the call of an operation becomes, on arguments of the new graph."""
        return self.copy(operation)(*args, **kwargs)

    def in_line(self, layer: Any) -> list[Any]:
        """Return what becomes of a layer of a sequential model."""
        return [self.copy(layer)]

    def copy(self, operation: Any) -> Any:
        """Return the operation's one copy."""
        if id(operation) not in self.copies:
            self.copies[id(operation)] = self._model(operation) if is_graph(operation) else _copied(operation)
        return self.copies[id(operation)]

    def _model(self, model: Any) -> Any:
        begin = [self.copy(tensor._keras_history.operation) for tensor in model.inputs]
        if isinstance(model, keras.Sequential):
            behind = [new for layer in model.layers for new in self.in_line(layer)]
            return keras.Sequential([*begin, *behind], name=model.name)
        inputs = [layer.output for layer in begin]
        outputs = model._run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=self._called)
        return keras.Model(keras.tree.pack_sequence_as(model.input, inputs), outputs, name=model.name)

    def _called(self, operation: Any, *args: Any, **kwargs: Any) -> Tensor:
        return self.call(operation, args, kwargs)

    def _copy_flags(self, layer: Any, copy: Any) -> None:
        """Set the flags as they are, from the outside in: that of a layer sets those of the layers in it."""
        copy.trainable = layer.trainable
        if is_graph(layer):
            pairs = [(inner, self.copies.get(id(inner))) for inner in layer.layers]
        else:
            for old, new in zip(layer._trainable_variables, copy._trainable_variables, strict=True):
                new.trainable = old.trainable
            pairs = list(zip(layer._layers, copy._layers, strict=True))
        for inner, new in pairs:
            if new is not None:
                self._copy_flags(inner, new)


def _copied(operation: Any) -> Any:
    if isinstance(operation, layers.Lambda):  # whose function no configuration holds
        shape = operation._output_shape
        return layers.Lambda(
            operation.function, shape, operation.mask, operation.arguments, name=operation.name, dtype=operation.dtype
        )
    return made_again(operation)


def _copy_state(layer: Any, copy: Any) -> None:
    if layer.variables:
        for old, new in zip(layer.variables, copy.variables, strict=True):
            new.assign(old)
    if isinstance(layer, layers.Normalization):
        copy.finalize_state()  # it computes with what it once made of its weights


def check_images(model: keras.Model, images: Any, verb: str) -> np.ndarray:
    """Return images as a model takes them.

    Raises:
        InputError: they are none, of another shape, or the model takes more than images.
    """
    if len(model.inputs) != 1:
        raise InputError(f"{verb} takes a model of one input; {model.name} has {len(model.inputs)}")
    shape, images = model.inputs[0].shape, np.asarray(images)
    fits = len(images.shape) == len(shape) and all(
        size in (None, received) for size, received in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits or not len(images):
        raise InputError(
            f"{verb} takes images {('n', *shape[1:])} for {model.name}; got {images.shape}".replace("'", "")
        )
    return images
