"""Latency of a pruned network's sparse .tflite file over that of its dense one, on XNNPACK, one thread.

    python benchmarks/sparsity.py --sparsity 0.9 --rounds 30

Prunes an SE-MobileNet by magnitude, untrained, at 224 pixels (latency does not depend on the values of what stays),
converts it once as it is and once with tf.lite.Optimize.EXPERIMENTAL_SPARSITY, and runs both in turn, each round one
inference of either. Prints the median of the rounds' ratios, sparse over dense, and their quartiles; the sizes of the
files; the number of XNNPACK partitions of either graph; and how far their outputs differ. Needs the extras [edge] and
[tfmot].

Found with ai-edge-litert 2.3.0, x86-64: the file shrinks to a third, XNNPACK takes the whole graph, and nothing is
faster. Its outputs are the dense file's to the bit: the weights are made dense again (DENSIFY) when it is loaded, and
its sparse kernels do not run. Nor do they for a chain of 3x3 depthwise and 1x1 convolutions without SE.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_se
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.tflite import flatbuffer
from keras_se.export.tflite.model import TFLiteModel
from keras_se.export.tfmot.legacy_keras import to_tf_keras


def main():
    """Print the sizes of both files, and the ratio of their latencies with its quartiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="se_mobilenet")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--sparsity", type=float, default=0.9, help="share of zeros in each 1x1 convolution")
    parser.add_argument("--rounds", type=int, default=30, help="inferences of either file")
    arguments = parser.parse_args()
    shape = (arguments.size, arguments.size, 3)
    keras.utils.set_random_seed(0)
    model = keras_se.create_model(arguments.model, input_shape=shape, classifier_activation=None)
    network = to_tf_keras(model)
    prune(network, arguments.sparsity)
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    files = {"dense": convert(network, shape, []), "sparse": convert(network, shape, ["EXPERIMENTAL_SPARSITY"])}
    runners = {name: Runner(content, image) for name, content in files.items()}
    times = {name: [] for name in runners}
    for _ in range(arguments.rounds + 3):
        for name, runner in runners.items():
            times[name].append(runner.run())
    kept = {name: np.array(each[3:]) for name, each in times.items()}  # the first three warm up
    low, median, high = np.percentile(kept["sparse"] / kept["dense"], (25, 50, 75))
    dense, sparse = (runners[name].outputs() for name in ("dense", "sparse"))
    print(f"{arguments.model}, {arguments.size} pixels, {arguments.sparsity:.0%} of each 1x1 convolution zero")
    print(f"latency, sparse over dense: {median:.2f} (quartiles {low:.2f} to {high:.2f}, {arguments.rounds} rounds)")
    for name, content in files.items():
        print(
            f"{name:6} {len(content) / 1024:6.0f} KiB, {np.median(kept[name]) * 1e3:5.1f} ms, XNNPACK partitions "
            f"{xnnpack_partitions(TFLiteModel(content))}, sparse tensors {sparse_tensors(content)}, "
            f"{TFLiteModel(content).operation_counts}"
        )
    difference = np.abs(sparse - dense).max() / np.abs(dense).max()
    print(f"greatest difference of the outputs, over the greatest output: {difference:.1e}")


def prune(network, sparsity):
    """Set the smallest weights of each 1x1 convolution to zero."""
    for layer in network.layers:
        if type(layer).__name__ == "Conv2D" and layer.kernel_size == (1, 1):
            kernel, *bias = layer.get_weights()
            kernel[np.abs(kernel) < np.quantile(np.abs(kernel), sparsity)] = 0
            layer.set_weights([kernel, *bias])


def convert(network, shape, optimizations):
    """Convert to a float .tflite file of one image."""

    @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32)])
    def infer(image):
        return network(image, training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([infer.get_concrete_function()], network)
    converter.optimizations = [getattr(tf.lite.Optimize, name) for name in optimizations]
    return converter.convert()


def sparse_tensors(content):
    """Return the number of tensors that the file stores without their zeros."""
    return sum(tensor.sparsity is not None for tensor in flatbuffer.unpack(content).subgraphs[0].tensors)


class Runner:
    """A file in LiteRT with XNNPACK on one thread, its input set."""

    def __init__(self, content, image):
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._interpreter.get_input_details()[0]["index"], image)

    def run(self):
        """Return the seconds of one inference."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def outputs(self):
        return self._interpreter.get_tensor(self._interpreter.get_output_details()[0]["index"])


if __name__ == "__main__":
    main()
