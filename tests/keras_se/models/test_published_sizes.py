"""Every model of the registry has its published size and cost; SE-ResNets and SE-MobileNet are in test_sizes.py."""

import functools
import math
from typing import NamedTuple

import keras
import pytest

import keras_se
from keras_se.registry import list_models
from published_networks import NETWORKS

ELSEWHERE = {*list_models("se_resnet??"), *list_models("se_resnet???"), "se_mobilenet"}  # sizes: test_sizes.py


class Published(NamedTuple):
    """Millions of trainable parameters or, where an int, their number; and 10^9 multiply-accumulates."""

    with_se: int | float | None
    plain: int | float | None
    giga: float | None
    plain_giga: float | None


# With SE: osmr/imgclsmob, tensorflow2/README.md, and arXiv 1709.01507, tables 2 and 3, which give the GFLOPs too.
# Plain: torchvision's (ResNeXt, VGG) documentation.
# MobileNetV3: timm's results-imagenet.csv, and d-li14/mobilenetv3.pytorch, README.md, which counts as we do;
# arXiv 1905.02244, table 3, prints 219 and 56 million.
# MnasNet: arXiv 1807.11626, table 1. EfficientNet: torchvision's documentation, which has B2 at another size.
# EfficientNet-Lite: d-li14/efficientnet-lite.pytorch, README.md.
# CIFAR: the tables of the papers that cifar.py cites. BN-Inception: Cadene's pretrained-models.pytorch has 11,295,240
# with its convolutions' 10,016 biases.
PUBLISHED = {
    "se_resnext50_32x4d": Published(27_559_896, 25_028_904, 4.25, 4.24),
    "se_resnext101_32x4d": Published(48_955_416, 44_177_704, 8.00, 7.99),
    "se_resnext101_64x4d": Published(88_232_984, 83_455_272, None, None),
    "senet154": Published(115_088_984, None, 20.7, None),
    "mobilenet_v3_small": Published(2_542_856, None, 0.05652, None),
    "mobilenet_v3_large": Published(5_483_032, None, 0.21660, None),
    "mnasnet_a1": Published(3.9, None, 0.312, None),
    "efficientnet_b0": Published(5_288_548, None, 0.386, None),
    "efficientnet_b1": Published(7_794_184, None, 0.687, None),
    "efficientnet_b2": Published(9_109_994, None, None, None),
    "efficientnet_b3": Published(12_233_232, None, 1.827, None),
    "efficientnet_b4": Published(19_341_616, None, 4.394, None),
    "efficientnet_b5": Published(30_389_784, None, 10.266, None),
    "efficientnet_b6": Published(43_040_704, None, 19.068, None),
    "efficientnet_b7": Published(66_347_960, None, 37.746, None),
    "efficientnet_lite0": Published(4.652, None, 0.385, None),
    "efficientnet_lite1": Published(5.417, None, 0.600, None),
    "efficientnet_lite2": Published(6.092, None, 0.860, None),
    "efficientnet_lite3": Published(8.197, None, 1.383, None),
    "efficientnet_lite4": Published(13.007, None, 2.553, None),
    # Table 1 of arXiv 1707.01083 has 137 MFLOPs for three groups, of which 1709.01507's 0.140 is the round figure.
    "se_shufflenet": Published(2.4, 1.8, None, 0.137),
    "se_vgg16": Published(None, 138_365_992, 15.48, 15.47),
    "se_bn_inception": Published(None, 11_295_240 - 10_016, 2.04, 2.03),
    "se_inception_resnet_v2": Published(None, None, 11.76, 11.75),
    "se_resnet20_cifar": Published(None, 0.27, None, None),
    "se_resnet56_cifar": Published(None, 0.85, None, None),
    "se_resnet110_cifar": Published(None, 1.7, None, None),
    "se_resnet164_cifar": Published(None, 1.7, None, None),
    "se_wrn16_8": Published(None, 11.0, None, None),
}


@functools.cache
def size(name, **arguments):
    with keras.StatelessScope(initialize_variables=False):
        model = keras_se.create_model(name, **arguments)
        return sum(math.prod(weight.shape) for weight in model.trainable_variables), keras_se.macs(model)


def assert_published(parameters, published):
    if isinstance(published, int):
        assert parameters == published
    elif published is not None:
        # To the printed precision, cut or rounded: ShuffleNet's 1.8 and 2.4 are 1.87 and 2.48 in full.
        step = 0.1 if published >= 1 else 0.01
        assert published - step / 2 <= parameters / 1e6 < published + step


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in NETWORKS)) for n in list_models() if n not in ELSEWHERE],
)
def test_size_and_cost_are_the_published_ones(name):
    parameters, macs = size(name)
    assert_published(parameters, PUBLISHED[name].with_se)
    if PUBLISHED[name].giga is not None:
        # 1 %: the paper's are not MACs of convolutions and dense layers alone.
        assert macs / 1e9 == pytest.approx(PUBLISHED[name].giga, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_models() if name not in ELSEWHERE])
def test_size_and_cost_of_the_plain_network_are_the_published_ones(name):
    parameters, macs = size(name, placement="none")
    assert_published(parameters, PUBLISHED[name].plain)
    if PUBLISHED[name].plain_giga is not None:
        assert macs / 1e9 == pytest.approx(PUBLISHED[name].plain_giga, rel=0.01)


@pytest.mark.slow
def test_inception_resnet_v2_is_the_one_of_keras_applications():
    with keras.StatelessScope(initialize_variables=False):
        ours = keras_se.create_model("se_inception_resnet_v2", placement="none", modules=(10, 20, 10))
        theirs = keras.applications.InceptionResNetV2(weights=None)
        kernels = [
            sorted(tuple(weight.shape) for weight in model.weights if len(weight.shape) == 4)
            for model in (ours, theirs)
        ]
        assert kernels[0] == kernels[1]
        assert keras_se.macs(ours) == keras_se.macs(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(8))
def test_efficientnets_are_those_of_keras_applications(number):
    with keras.StatelessScope(initialize_variables=False):
        theirs = getattr(keras.applications, f"EfficientNetB{number}")(weights=None)
        parameters = sum(math.prod(weight.shape) for weight in theirs.trainable_variables)
        assert size(f"efficientnet_b{number}") == (parameters, keras_se.macs(theirs))
