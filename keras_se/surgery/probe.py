"""A model that is run with its gates in hand: they are read, or held at their means.

In: a model with SE, and images. Out: the gates, or what the model gives without one.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_se.cloning import is_graph
from keras_se.surgery.graphs import Tensor, calls_of, functional
from keras_se.surgery.se_blocks import Block

BATCH = 32


class GateProbe(keras.Model):
    """Model that gives the outputs of another and the gates of its blocks.

    Args:
        means: by path, a gate `(channels,)` that a block can be held at.
    """

    def __init__(self, network: keras.Model, blocks: Iterable[Block], means: Mapping[str, np.ndarray] | None = None):
        super().__init__(name="gate_probe")
        self.network = network  # so that Keras knows its weights
        self._graph = _Graph(network, list(blocks), {} if means is None else means)
        self.held: Any = None
        if means is not None:
            shape = (len(self._graph.paths),)
            self.held = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="held")

    def call(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Return the outputs, and by path each gate's mean over the positions and its least and greatest there."""
        return self._graph.run(images, self.held)

    def gates(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gates `(n, channels)` by path, in the order in which they run."""
        return self.gates_and_ranges(images)[0]

    def gates_and_ranges(self, images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the gates, and the least and greatest of each over the positions, `(n, 2, channels)`."""
        _, *values = self._predict(images)
        gates, ranges = ({path: np.asarray(of[path], "float32") for path in self._graph.paths} for of in values)
        return gates, ranges

    def outputs(self, images: np.ndarray, *held: str) -> np.ndarray:
        """Return what the network gives with some blocks held at their means."""
        self.held.assign([float(path in held) for path in self._graph.paths])
        outputs, *_ = self._predict(images)
        return np.asarray(outputs)

    def _predict(self, images: np.ndarray) -> Any:
        model: Any = self
        return model.predict(images, batch_size=BATCH, verbose=0)


class _Graph:
    """Network's graph, which Keras need not see."""

    def __init__(self, network: keras.Model, blocks: list[Block], means: Mapping[str, np.ndarray]):
        self._network, self._means = network, means
        self._blocks = {id(block.operation): block for block in blocks}
        self.paths = [block.path for block in blocks]
        models = [network, *(call.operation for call in calls_of(network) if is_graph(call.operation))]
        self._functional = {id(model): functional(model) for model in models}

    def run(self, images: Tensor, held: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        gates: dict[str, Tensor] = {}
        ranges: dict[str, Tensor] = {}

        def run_model(model: Any, inputs: Any) -> Tensor:
            graph = self._functional[id(model)]
            inputs = [ops.cast(x, to.dtype) for x, to in zip(keras.tree.flatten(inputs), graph.inputs, strict=True)]
            return graph._run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=call)

        def call(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            if id(operation) in self._functional:
                return run_model(operation, args[0])
            block = self._blocks.get(id(operation))
            if block is None:
                return operation(*args, **kwargs)
            source, gate = _source_and_gate(block, keras.tree.flatten(args))
            if block.path not in gates:  # of a block that is called again, the first call's
                gates[block.path] = _by_channel(gate, block, ops.mean)
                ranges[block.path] = ops.stack([_by_channel(gate, block, end) for end in (ops.min, ops.max)], axis=1)
            if block.path in self._means:
                mean = ops.cast(ops.reshape(self._means[block.path], _gate_shape(gate, block)), gate.dtype)
                gate = gate + ops.cast(held[self.paths.index(block.path)], gate.dtype) * (mean - gate)
            return source * gate

        return run_model(self._network, images), gates, ranges


def _source_and_gate(block: Block, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    if block.is_layer:
        return inputs[0], block.operation.excite(inputs[0])
    source, gate = inputs if block.gate_index == 1 else inputs[::-1]
    return source, gate


def _axis(gate: Tensor, block: Block) -> int:
    return len(gate.shape) - 1 if block.channels_last else 1


def _by_channel(gate: Tensor, block: Block, reduction: Callable[..., Any]) -> Tensor:
    positions = [axis for axis in range(1, len(gate.shape)) if axis != _axis(gate, block)]
    reduced = reduction(ops.cast(gate, "float32"), axis=positions)
    return reduced * ops.ones(block.channels)  # of a gate of positions alone, every channel has the same


def _gate_shape(gate: Tensor, block: Block) -> list[int]:
    return [block.channels if axis == _axis(gate, block) else 1 for axis in range(len(gate.shape))]
