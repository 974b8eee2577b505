"""Squeeze-and-Excitation networks for Keras 3, from the layer to the phone."""

from keras_se.applications import SEMobileNet as SEMobileNet
from keras_se.applications import SEResNet18 as SEResNet18
from keras_se.applications import SEResNet34 as SEResNet34
from keras_se.applications import SEResNet50 as SEResNet50
from keras_se.applications import SEResNet101 as SEResNet101
from keras_se.applications import SEResNet152 as SEResNet152
from keras_se.macs import macs as macs
from keras_se.registry import create_model as create_model
from keras_se.registry import list_models as list_models
from keras_se.squeeze_excite import SqueezeExcite as SqueezeExcite

__version__ = "0.1.0"
