"""KerasHub's classifiers, of random weights, are exported and agree with Keras; skipped where it is not installed."""

import numpy as np
import pytest

from keras_se.export import check, compare, export

models = pytest.importorskip("keras_hub", reason="KerasHub is no part of the extra [test]").models

IMAGES = np.random.default_rng(0).random((8, 32, 32, 3), "float32")


def resnet(shape):
    return models.ResNetImageClassifier(
        backbone=models.ResNetBackbone(
            input_conv_filters=[64],
            input_conv_kernel_sizes=[7],
            stackwise_num_filters=[64, 64],
            stackwise_num_blocks=[1, 1],
            stackwise_num_strides=[1, 2],
            block_type="basic_block",
            image_shape=shape,
        ),
        num_classes=10,
    )


def vgg(shape):
    return models.VGGImageClassifier(
        backbone=models.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16], image_shape=shape),
        num_classes=10,
    )


@pytest.mark.parametrize("make", [resnet, vgg])
@pytest.mark.parametrize("shape", [(32, 32, 3), (None, None, 3)])
def test_a_classifier_goes_through(make, shape, tmp_path):
    model = make(shape)
    assert check(model, "edgetpu", input_shape=(32, 32, 3)) == []
    artifacts = export(model, tmp_path, calibration=IMAGES, input_shape=(32, 32, 3))
    for artifact in artifacts:
        assert artifact.manifest["xnnpack_partitions"] == 1
        assert compare(model, artifact.path, IMAGES).verdict == "pass"
