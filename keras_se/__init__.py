"""Squeeze-and-Excitation networks for Keras 3, from the layer to the phone."""

from keras_se import distributed_stub as _distributed_stub  # noqa: F401, it registers a name
from keras_se.applications import SEVGG16 as SEVGG16
from keras_se.applications import MobileNetV3Large as MobileNetV3Large
from keras_se.applications import MobileNetV3Small as MobileNetV3Small
from keras_se.applications import SEBNInception as SEBNInception
from keras_se.applications import SEInceptionResNetV2 as SEInceptionResNetV2
from keras_se.applications import SEMobileNet as SEMobileNet
from keras_se.applications import SENet154 as SENet154
from keras_se.applications import SEResNet18 as SEResNet18
from keras_se.applications import SEResNet20CIFAR as SEResNet20CIFAR
from keras_se.applications import SEResNet34 as SEResNet34
from keras_se.applications import SEResNet50 as SEResNet50
from keras_se.applications import SEResNet56CIFAR as SEResNet56CIFAR
from keras_se.applications import SEResNet101 as SEResNet101
from keras_se.applications import SEResNet110CIFAR as SEResNet110CIFAR
from keras_se.applications import SEResNet152 as SEResNet152
from keras_se.applications import SEResNet164CIFAR as SEResNet164CIFAR
from keras_se.applications import SEResNeXt50_32x4d as SEResNeXt50_32x4d
from keras_se.applications import SEResNeXt101_32x4d as SEResNeXt101_32x4d
from keras_se.applications import SEResNeXt101_64x4d as SEResNeXt101_64x4d
from keras_se.applications import SEShuffleNet as SEShuffleNet
from keras_se.applications import SEWRN16x8 as SEWRN16x8
from keras_se.errors import ClusterError as ClusterError
from keras_se.errors import InputError as InputError
from keras_se.inference import decode_predictions as decode_predictions
from keras_se.inference import preprocess_input as preprocess_input
from keras_se.layers.channel_attention import ChannelAttention as ChannelAttention
from keras_se.layers.effective_squeeze_excite import EffectiveSqueezeExcite as EffectiveSqueezeExcite
from keras_se.layers.efficient_channel_attention import EfficientChannelAttention as EfficientChannelAttention
from keras_se.layers.gather_excite import GatherExcite as GatherExcite
from keras_se.layers.spatial_attention import SpatialAttention as SpatialAttention
from keras_se.layers.squeeze_excite import SqueezeExcite as SqueezeExcite
from keras_se.models.mac_count import macs as macs
from keras_se.preprocessing import Preprocessing as Preprocessing
from keras_se.preprocessing import preprocessing_of as preprocessing_of
from keras_se.preprocessing import save_record as save_record
from keras_se.registry import create_model as create_model
from keras_se.registry import list_models as list_models
from keras_se.surgery.excitation import excitations as excitations
from keras_se.surgery.folding import Folding as Folding
from keras_se.surgery.folding import fold_constant as fold_constant
from keras_se.surgery.insertion import insert as insert
from keras_se.surgery.removal import remove as remove
from keras_se.weights.timm_export import save_timm as save_timm
from keras_se.weights.timm_mapping import list_weights as list_weights

__version__ = "0.1.0"
