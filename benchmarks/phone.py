"""Latency ratios in int8 of the forms of `keras_se.export.conversion.lowering`, by LiteRT with XNNPACK.

    python benchmarks/phone.py [--rounds 50] [--threads 1]

Each row is one file's latency over another's, of runs in turn, with the quartiles of the rounds' ratios; and the number
of XNNPACK partitions of the first and the second file. Untrained networks at 224 pixels, whose normalisations are given
statistics as of trained ones: at their initial values the activations fade, and XNNPACK refuses to add what differs
by 1,000 in scale.
"""

import argparse
from collections.abc import Iterator

import keras
import numpy as np

import keras_se
from keras_se.export.conversion.converter import to_tflite
from keras_se.export.conversion.lowering import lower
from keras_se.export.evaluation.benchmark import latency_ratio
from keras_se.export.quantization.calibration import calibrate
from keras_se.export.quantization.quantizer import quantize
from keras_se.export.quantization.recipes import RECIPES
from keras_se.export.runtimes.litert import xnnpack_partitions
from keras_se.export.targets.registry import find_target

IMAGES = np.random.default_rng(0).random((4, 224, 224, 3), "float32")


def main() -> None:
    """Print a row for each pair as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="of either file")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print(f"{'over':62}{'ratio':>7}{'quartiles':>14}{'partitions':>12}")
    for name, candidate, reference in pairs():
        latency = latency_ratio(candidate, reference, rounds=options.rounds, threads=options.threads)
        partitions = f"{xnnpack_partitions(candidate)}, {xnnpack_partitions(reference)}"
        print(f"{name:62}{latency.ratio:7.2f}{latency.q1:7.2f}–{latency.q3:.2f}{partitions:>12}", flush=True)


def pairs() -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the two networks that are compared, in words, and the file of each."""
    for size in ("Small", "Large"):
        ours = int8(keras_se.create_model(f"mobilenet_v3_{size.lower()}"))
        theirs = getattr(keras.applications, f"MobileNetV3{size}")(
            input_shape=(224, 224, 3), weights=None, include_preprocessing=False
        )
        yield f"MobileNetV3-{size} over keras.applications', as it is", ours, int8(theirs, rewrite=False)
        yield (
            f"keras.applications' MobileNetV3-{size}, lowered, over as it is",
            int8(theirs),
            int8(theirs, rewrite=False),
        )
    for name, words in (("se_bn_inception", "SE-BN-Inception"), ("se_shufflenet", "SE-ShuffleNet")):
        model = keras_se.create_model(name)
        yield f"{words} over {words}, as it is", int8(model), int8(model, rewrite=False)
    for name, words in (("se_mobilenet", "MobileNet"), ("se_resnet50", "ResNet-50")):
        plain = int8(keras_se.create_model(name, placement="none"))
        yield f"SE-{words} over {words}", int8(keras_se.create_model(name)), plain


def int8(model: keras.Model, *, rewrite: bool = True) -> bytes:
    """Export the model as int8, calibrated on noise."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.beta.assign(rng.normal(0, 0.2, shape))
            layer.moving_mean.assign(rng.normal(0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))
    lowering = find_target("phone_cpu").integer_config
    float_file = to_tflite(lower(model, lowering) if rewrite else model)
    return quantize(float_file, RECIPES["static_wi8_ai8"], calibrate(float_file, IMAGES, (0, 1))).content


if __name__ == "__main__":
    main()
