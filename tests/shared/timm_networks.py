"""Tiny networks of golden/make_timm_golden.py as ours, and the answers that timm's own code gave to two images.

The folder is on the path of the tests (`pythonpath` in pyproject.toml).
"""

import functools
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import keras_se
from keras_se.models.efficientnet import EfficientNet, MBConv
from keras_se.models.mobilenet_v3 import Bneck, MobileNetV3
from keras_se.models.resnet import Conv, ResNet
from keras_se.weights.timm_mapping import ARCHITECTURES

GOLDEN = Path(__file__).parents[1] / "golden"
ANSWERS = load_file(GOLDEN / "answers.safetensors")
CLASSES = 7

MOBILENET = MobileNetV3(
    (
        Bneck(3, 16, 16, True, "relu", 2),
        Bneck(3, 24, 8, False, "relu", 2),
        Bneck(3, 16, 8, False, "relu", 1),
        Bneck(5, 32, 16, True, "hard_swish", 2),
        Bneck(5, 32, 16, True, "hard_swish", 1),
    ),
    last=40,
    hidden=24,
)
EFFICIENTNET = EfficientNet(
    width=0.25,
    depth=1.0,
    resolution=64,
    dropout=0.0,
    stages=(
        MBConv(expand=1, kernel=3, stride=1, out=32, depth=2),
        MBConv(expand=2, kernel=5, stride=2, out=32, depth=2),
        MBConv(expand=3, kernel=3, stride=2, out=64, depth=1, se=False),
    ),
)
BASIC = ResNet(bottleneck=False, depths=(2, 1, 1, 1), group_width=2)
BOTTLENECK = ResNet(bottleneck=True, depths=(2, 1, 1, 1), group_width=2, filters=8)
NEXT = ResNet(bottleneck=True, depths=(1, 1, 2, 1), groups=2, group_width=2, filters=8)
SENET = ResNet(bottleneck=True, depths=(1, 2, 1, 1), groups=4, group_width=2, filters=8, reduce=2, projection=3)
ROWS = {  # the networks of make_timm_golden.py as ours
    "seresnet18": BASIC,
    "seresnet50": BOTTLENECK,
    "seresnext50_32x4d": NEXT,
    "senet154": SENET._replace(stem=(Conv(3, 4, 2), Conv(3, 4, 1), Conv(3, 8, 1))),
    "legacy_seresnet18": BASIC,
    "legacy_seresnet50": BOTTLENECK,
    "legacy_seresnext50_32x4d": NEXT,
    "legacy_senet154": SENET._replace(groups=2, group_width=4, stem=(Conv(3, 64, 2), Conv(3, 64, 1), Conv(3, 8, 1))),
    "mobilenetv3_small_100": MOBILENET,
    "tf_mobilenetv3_small_100": MOBILENET,
    "efficientnet_b0": EFFICIENTNET,
    "tf_efficientnet_b0": EFFICIENTNET,
    "semnasnet_100": EFFICIENTNET._replace(activation="relu"),
}
PORTED = {name: {"padding": "same"} for name in ROWS if name.startswith("tf_")}
"""What no key of the file tells from its twin."""


def golden(name):
    return GOLDEN / f"{name}.safetensors"


def images(size="even"):
    return ANSWERS[f"images/{size}"].astype("float32") / 255


def create(model, weights, size="even", **arguments):
    shape = ANSWERS[f"images/{size}"].shape[1:]
    return keras_se.create_model(model, weights=weights, **{"input_shape": shape, **arguments})


@functools.cache
def network(name):
    """Return the golden network for the even images, made once; its row must be the registry's by then."""
    return create(ARCHITECTURES[name].model, golden(name), classifier_activation=None, **PORTED.get(name, {}))


def error_of(logits, expected):
    """Return the greatest difference over the greatest logit."""
    return np.abs(logits - expected).max() / np.abs(expected).max()
