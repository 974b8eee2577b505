"""Keras layers behind the parts of a converted file, by the names that the converter leaves.

In: tensor names, operations, or a graph. Out: names of layers.
"""

from typing import Any

_KERNELS = ("convolution", "depthwise", "MatMul")  # what the layer of a fused operation is named for


def layer_path(path: str) -> str:
    """Return the layer in a tensor's name: `block_se/reduce` of `model_1/block_se_1/reduce_1/Relu`; "" without one."""
    _, *layers = path.split("/")  # the first is the model
    own = [layer.removesuffix("_1") for layer in layers]  # exporting calls the model a second time
    if not own:
        return ""
    return "/".join(own[:2]) if own[0].endswith("_se") else own[0]


def layer_of(graph: Any, op: Any) -> str:
    """Return the layer of an operation of an unpacked graph, by its outputs, else its inputs; "" if no name says.

    Of a fused operation it is the one that the kernel belongs to, not the batch normalization or activation.
    """
    for index in (*op.outputs, *reversed(op.inputs)):  # a bias or a kernel says more than another layer's output
        if index >= 0:
            paths = [path for path in graph.tensors[index].name.decode().split(";") if layer_path(path)]
            kernels = [path for path in paths if path.rpartition("/")[2].startswith(_KERNELS)]
            if paths:
                return layer_path((kernels or paths)[0])
    return ""


def layers_by_tensor(graph: Any) -> dict[str, str]:
    """Return the layer of the operation that gives each tensor of an unpacked graph, by the tensor's name."""
    layers = (
        (graph.tensors[index].name.decode(), layer_of(graph, op)) for op in graph.operators for index in op.outputs
    )
    return {name: layer for name, layer in layers if layer}
