"""Each operation of a quantization-aware model against its file's, on the same inputs."""

import keras
import numpy as np

from keras_se.export.qat.fake_quant import FakeQuantize
from keras_se.export.runtimes.tensors import each_images_tensors

# Rounding in the middle between two steps goes either way; a hundredth of a step is float32's share.
ONE_STEP = 1.01


def operations_apart(model, file, images):
    """Return each layer's greatest difference in steps of the file's tensor to the model's, on the file's inputs."""
    names = activations(file)
    # Not what the quantizer rounds again for a concatenation.
    tensors = {"input": names[0]} | {layer_of(name): name for name in names[1:] if not name.endswith("_quantized")}
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    rounded = [node.output_tensors[0] for node in nodes if isinstance(node.operation, FakeQuantize)]
    parts = {}
    for output in rounded:
        layer, sources = rounded_layer(output), sources_of(entering(output))
        taken = [rounded_layer(source) for source in sources]
        if taken and {layer, *taken} <= tensors.keys():  # the converter gave some another name
            parts[layer] = output, sources, taken
    greatest = dict.fromkeys(parts, 0.0)
    for values in each_images_tensors(file.content, images, list(tensors.values()), resolver="BUILTIN_REF"):
        for layer, (output, sources, taken) in parts.items():
            got = values[tensors[layer]]
            known = {
                id(source): real(values[tensors[layer_name]]) for source, layer_name in zip(sources, taken, strict=True)
            }
            expected = np.asarray(computed(output, known))
            greatest[layer] = max(greatest[layer], float(np.abs(expected - real(got)).max() / got.scale))
    return greatest


def computed(tensor, known):
    """A tensor of a model from the values, by id, of those that it is computed from."""
    if id(tensor) in known:
        return known[id(tensor)]
    node = node_of(tensor)
    args, kwargs = node.arguments.fill_in({id(source): computed(source, known) for source in node.input_tensors})
    return node.operation(*args, **kwargs)


def node_of(tensor):
    """Return the call of a layer that gives a tensor."""
    origin = tensor._keras_history
    return origin.operation._inbound_nodes[origin.node_index]


def entering(rounded):
    """Return the tensor that a rounding rounds."""
    [tensor] = node_of(rounded).input_tensors
    return tensor


def rounded_layer(tensor):
    """Return the layer that gives a rounded tensor; average pools share the rounding of what they read."""
    origin = tensor._keras_history
    if origin.node_index == 0:
        return origin.operation.name.removesuffix("_range")
    return entering(tensor)._keras_history.operation.name


def activations(file):
    graph = file.graph
    indices = [*graph.inputs, *(operator.outputs[0] for operator in graph.operators)]
    return [graph.tensors[index].name.decode() for index in indices]


def real(tensor):
    return ((tensor.values.astype("float64") - tensor.zero) * tensor.scale).astype("float32")


def layer_of(tensor):
    """Return the layer whose name a tensor of a file has, `model_1/LAYER_1/Operation;…`; None of the input."""
    parts = tensor.split(";")[0].split("/")
    return parts[1].removesuffix("_1") if len(parts) > 1 else None


def sources_of(tensor):
    """Return the rounded tensors that a tensor is computed from, with no rounding between."""
    layer = tensor._keras_history.operation
    if isinstance(layer, FakeQuantize):
        return [tensor]
    sources = [source for tensor in keras.tree.flatten(layer.input) for source in sources_of(tensor)]
    return list({id(source): source for source in sources}.values())
