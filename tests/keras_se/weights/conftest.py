"""Registry with networks as small as the golden ones of timm."""

import dataclasses

import pytest

from keras_se import registry
from keras_se.models.resnet import ResNet
from keras_se.weights.timm_mapping import ARCHITECTURES
from timm_networks import ROWS


@pytest.fixture
def tiny(monkeypatch):
    """Makes the registry's model of a network of timm's as small as the golden one, and tells its name."""

    def shrink(name):
        model = ARCHITECTURES[name].model
        row, published = ROWS[name], registry._ENTRIES[model]
        se = dataclasses.replace(published.se, r=2) if isinstance(row, ResNet) else published.se
        monkeypatch.setitem(registry._ENTRIES, model, published._replace(row=row, se=se))
        return model

    return shrink
