"""Names that timm gives to our networks, their layers and their published weights, as tables.

Source: timm 1.0.31: models/resnet.py, models/senet.py, models/mobilenetv3.py and models/efficientnet.py (the networks,
the names in their state dicts, the default configurations), layers/squeeze_excite.py (SE's hidden units).
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from keras_se.errors import InputError
from keras_se.models.efficientnet import EfficientNet
from keras_se.models.mobilenet_v3 import MobileNetV3
from keras_se.models.resnet import ResNet
from keras_se.preprocessing import Preprocessing


class Naming(NamedTuple):
    """Names of the modules in the state dicts of one of timm's classes."""

    mark: str
    """Beginning that only the keys of this class have, or of those that follow it."""
    names: Callable[[Any], dict[str, str]]
    """A row of our family to our layers' names and the modules that they are there."""
    se: tuple[str, str]
    """SE's two layers, within the module."""
    head: tuple[str, ...]
    """Modules behind the last feature map, of which the last is the classifier."""


_STEMS = {  # by how many convolutions a stem has, in order: convolution and normalisation
    "timm_resnet": {1: ("conv1", "bn1"), 3: ("conv1.0", "conv1.1", "conv1.3", "conv1.4", "conv1.6", "bn1")},
    "timm_senet": {
        1: ("layer0.conv1", "layer0.bn1"),
        3: ("layer0.conv1", "layer0.bn1", "layer0.conv2", "layer0.bn2", "layer0.conv3", "layer0.bn3"),
    },
}


def _resnet_names(row: ResNet, stem: str, se: str, classifier: str) -> dict[str, str]:
    prefixes = ["stem"] if len(row.stem) == 1 else [f"stem_{number}" for number in range(1, len(row.stem) + 1)]
    ours = [f"{prefix}_{kind}" for prefix in prefixes for kind in ("conv", "bn")]
    names = dict(zip(ours, _STEMS[stem][len(row.stem)], strict=True))
    for stage, depth in enumerate(row.depths, 1):
        for block in range(depth):
            ours, theirs = f"stage{stage + 1}_block{block + 1}", f"layer{stage}.{block}"
            for number in (1, 2, 3):
                names[f"{ours}_{number}_conv"] = f"{theirs}.conv{number}"
                names[f"{ours}_{number}_bn"] = f"{theirs}.bn{number}"
            names[f"{ours}_projection_conv"] = f"{theirs}.downsample.0"
            names[f"{ours}_projection_bn"] = f"{theirs}.downsample.1"
            names[f"{ours}_se"] = f"{theirs}.{se}"
    return {**names, "logits": classifier}


def _inverted_residual_names(depths: Iterable[int]) -> dict[str, str]:
    """Return the names in stages of so many blocks; the blocks of the first stage expand nothing."""
    places = [(stage, place) for stage, depth in enumerate(depths) for place in range(depth)]
    names = {}
    for number, (stage, place) in enumerate(places, 1):
        theirs = f"blocks.{stage}.{place}"
        parts = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        if stage == 0:  # without the expansion what follows it has other names
            parts = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
        for part, (conv, bn) in parts.items():
            names[f"block{number}_{part}_conv"] = f"{theirs}.{conv}"
            names[f"block{number}_{part}_bn"] = f"{theirs}.{bn}"
        names[f"block{number}_se"] = f"{theirs}.se"
    return {"stem_conv": "conv_stem", "stem_bn": "bn1", **names}


def _mobilenet_names(row: MobileNetV3) -> dict[str, str]:
    # Their stages are runs of the same number of outputs.
    depths = [len(list(blocks)) for _, blocks in groupby(row.blocks, key=lambda block: block.out)]
    last = f"blocks.{len(depths)}.0"
    return {
        **_inverted_residual_names(depths),
        "last_conv": f"{last}.conv",
        "last_bn": f"{last}.bn1",
        "hidden1": "conv_head",
        "logits": "classifier",
    }


def _efficientnet_names(row: EfficientNet) -> dict[str, str]:
    names = _inverted_residual_names(row.depths)
    return {**names, "last_conv": "conv_head", "last_bn": "bn2", "logits": "classifier"}


NAMINGS = {
    "timm_resnet": Naming("conv1.", lambda row: _resnet_names(row, "timm_resnet", "se", "fc"), ("fc1", "fc2"), ("fc",)),
    "timm_senet": Naming(
        "layer0.",
        lambda row: _resnet_names(row, "timm_senet", "se_module", "last_linear"),
        ("fc1", "fc2"),
        ("last_linear",),
    ),
    "efficientnet": Naming("bn2.", _efficientnet_names, ("conv_reduce", "conv_expand"), ("classifier",)),
    "mobilenetv3": Naming("conv_stem.", _mobilenet_names, ("conv_reduce", "conv_expand"), ("conv_head", "classifier")),
}


class Architecture(NamedTuple):
    """One of timm's networks as one of ours."""

    model: str
    """Its name in `list_models()`."""
    naming: str
    arguments: Mapping[str, Any]
    """Arguments of `create_model` that make it compute what timm's network computes."""


# The class ResNet: stride in the 3x3, pool padded by 1, SE's hidden units a multiple of 8.
_RESNET = {"stride_in": "3x3", "padding": "symmetric", "stem_pool": "padded", "se_divisor": 8}
# The class SENet: pool in ceil mode; hidden units rounded down; its ResNets have the stride in the first 1x1, and its
# basic blocks an activation before SE.
_SENET = {"stride_in": "3x3", "padding": "symmetric", "stem_pool": "ceil"}
_SENET_V1 = {**_SENET, "stride_in": "1x1"}
_SENET_BASIC = {**_SENET_V1, "last_activation": "relu"}
# The classes MobileNetV3 and EfficientNet, with torch's padding and epsilon, or as ported from TensorFlow.
_TORCH = {"padding": "symmetric", "epsilon": 1e-5}
_TF = {"padding": "same", "epsilon": 1e-3}

# Where two fit a file as well, the first is what the file is taken for.
ARCHITECTURES = {
    "seresnet18": Architecture("se_resnet18", "timm_resnet", _RESNET),
    "seresnet34": Architecture("se_resnet34", "timm_resnet", _RESNET),
    "seresnet50": Architecture("se_resnet50", "timm_resnet", _RESNET),
    "seresnet101": Architecture("se_resnet101", "timm_resnet", _RESNET),
    "seresnet152": Architecture("se_resnet152", "timm_resnet", _RESNET),
    "seresnext50_32x4d": Architecture("se_resnext50_32x4d", "timm_resnet", _RESNET),
    "seresnext101_32x4d": Architecture("se_resnext101_32x4d", "timm_resnet", _RESNET),
    "seresnext101_64x4d": Architecture("se_resnext101_64x4d", "timm_resnet", _RESNET),
    "senet154": Architecture("senet154", "timm_resnet", _RESNET),
    "legacy_seresnet18": Architecture("se_resnet18", "timm_senet", _SENET_BASIC),
    "legacy_seresnet34": Architecture("se_resnet34", "timm_senet", _SENET_BASIC),
    "legacy_seresnet50": Architecture("se_resnet50", "timm_senet", _SENET_V1),
    "legacy_seresnet101": Architecture("se_resnet101", "timm_senet", _SENET_V1),
    "legacy_seresnet152": Architecture("se_resnet152", "timm_senet", _SENET_V1),
    "legacy_seresnext50_32x4d": Architecture("se_resnext50_32x4d", "timm_senet", _SENET),
    "legacy_seresnext101_32x4d": Architecture("se_resnext101_32x4d", "timm_senet", _SENET),
    "legacy_senet154": Architecture("senet154", "timm_senet", _SENET),
    "mobilenetv3_small_100": Architecture("mobilenet_v3_small", "mobilenetv3", _TORCH),
    "mobilenetv3_large_100": Architecture("mobilenet_v3_large", "mobilenetv3", _TORCH),
    "tf_mobilenetv3_small_100": Architecture("mobilenet_v3_small", "mobilenetv3", _TF),
    "tf_mobilenetv3_large_100": Architecture("mobilenet_v3_large", "mobilenetv3", _TF),
    "efficientnet_b0": Architecture("efficientnet_b0", "efficientnet", _TORCH),
    "efficientnet_b1": Architecture("efficientnet_b1", "efficientnet", _TORCH),
    "efficientnet_b2": Architecture("efficientnet_b2", "efficientnet", _TORCH),
    "efficientnet_b3": Architecture("efficientnet_b3", "efficientnet", _TORCH),
    "efficientnet_b4": Architecture("efficientnet_b4", "efficientnet", _TORCH),
    "efficientnet_b5": Architecture("efficientnet_b5", "efficientnet", _TORCH),
    "efficientnet_b6": Architecture("efficientnet_b6", "efficientnet", _TORCH),
    "efficientnet_b7": Architecture("efficientnet_b7", "efficientnet", _TORCH),
    "tf_efficientnet_b0": Architecture("efficientnet_b0", "efficientnet", _TF),
    "tf_efficientnet_b1": Architecture("efficientnet_b1", "efficientnet", _TF),
    "tf_efficientnet_b2": Architecture("efficientnet_b2", "efficientnet", _TF),
    "tf_efficientnet_b3": Architecture("efficientnet_b3", "efficientnet", _TF),
    "tf_efficientnet_b4": Architecture("efficientnet_b4", "efficientnet", _TF),
    "tf_efficientnet_b5": Architecture("efficientnet_b5", "efficientnet", _TF),
    "tf_efficientnet_b6": Architecture("efficientnet_b6", "efficientnet", _TF),
    "tf_efficientnet_b7": Architecture("efficientnet_b7", "efficientnet", _TF),
    "efficientnet_lite0": Architecture("efficientnet_lite0", "efficientnet", _TORCH),
    "efficientnet_lite1": Architecture("efficientnet_lite1", "efficientnet", _TORCH),
    "efficientnet_lite2": Architecture("efficientnet_lite2", "efficientnet", _TORCH),
    "efficientnet_lite3": Architecture("efficientnet_lite3", "efficientnet", _TORCH),
    "efficientnet_lite4": Architecture("efficientnet_lite4", "efficientnet", _TORCH),
    "tf_efficientnet_lite0": Architecture("efficientnet_lite0", "efficientnet", _TF),
    "tf_efficientnet_lite1": Architecture("efficientnet_lite1", "efficientnet", _TF),
    "tf_efficientnet_lite2": Architecture("efficientnet_lite2", "efficientnet", _TF),
    "tf_efficientnet_lite3": Architecture("efficientnet_lite3", "efficientnet", _TF),
    "tf_efficientnet_lite4": Architecture("efficientnet_lite4", "efficientnet", _TF),
    "semnasnet_100": Architecture("mnasnet_a1", "efficientnet", _TORCH),
}


class Published(NamedTuple):
    """A repository `timm/NAME` of the Hugging Face hub, and the images that its network was trained on."""

    preprocessing: Preprocessing
    revision: str | None = None
    """Commit to fetch; None takes the one that the repository is at."""
    sha256: str | None = None
    """Hash of `model.safetensors` in that commit; None takes the one that the hub gives for it."""
    top1: float | None = None
    """Correct first classes of ImageNet's validation images in %, as timm measured; None where it gives none."""


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_BICUBIC = Preprocessing(224, 224, 0.875, "bicubic", **_IMAGENET)
_BILINEAR = Preprocessing(224, 224, 0.875, "bilinear", **_IMAGENET)
_TF_IMAGES = Preprocessing(224, 224, 0.875, "bilinear", **_HALF)

# `input_size`, `crop_pct`, `interpolation`, `mean` and `std` of their default configurations, the first of each network
# standing for it. Some are evaluated there at 288 pixels too, for a better figure: that is `top1`, which is timm's
# results/results-imagenet.csv's.
PUBLISHED = {
    "seresnet50.a1_in1k": Published(Preprocessing(224, 224, 0.95, "bicubic", **_IMAGENET), top1=81.102),
    "seresnet50.a2_in1k": Published(Preprocessing(224, 224, 0.95, "bicubic", **_IMAGENET), top1=81.106),
    "seresnet50.a3_in1k": Published(Preprocessing(160, 160, 0.95, "bicubic", **_IMAGENET), top1=77.028),
    "seresnet50.ra2_in1k": Published(_BICUBIC, top1=81.284),
    "seresnext50_32x4d.racm_in1k": Published(_BICUBIC, top1=82.196),
    "seresnext50_32x4d.gluon_in1k": Published(_BICUBIC, top1=79.91),
    "seresnext101_32x4d.gluon_in1k": Published(_BICUBIC, top1=80.892),
    "seresnext101_64x4d.gluon_in1k": Published(_BICUBIC, top1=80.896),
    "senet154.gluon_in1k": Published(_BICUBIC, top1=81.226),
    # Of the legacy ones the configurations name no repository on the hub, but files to unpickle elsewhere; one of the
    # same name is asked for all the same.
    "legacy_seresnet18.in1k": Published(_BICUBIC, top1=71.766),
    "legacy_seresnet34.in1k": Published(_BILINEAR, top1=74.808),
    "legacy_seresnet50.in1k": Published(_BILINEAR, top1=77.644),
    "legacy_seresnet101.in1k": Published(_BILINEAR, top1=78.386),
    "legacy_seresnet152.in1k": Published(_BILINEAR, top1=78.66),
    "legacy_seresnext50_32x4d.in1k": Published(_BILINEAR, top1=79.076),
    "legacy_seresnext101_32x4d.in1k": Published(_BILINEAR, top1=80.23),
    "legacy_senet154.in1k": Published(_BILINEAR, top1=81.308),
    "mobilenetv3_small_100.lamb_in1k": Published(_BICUBIC, top1=67.656),
    "mobilenetv3_large_100.ra_in1k": Published(_BICUBIC, top1=75.766),
    "mobilenetv3_large_100.ra4_e3600_r224_in1k": Published(Preprocessing(224, 224, 0.95, "bicubic", **_HALF)),
    "mobilenetv3_large_100.miil_in21k_ft_in1k": Published(
        Preprocessing(224, 224, 0.875, "bilinear", **_UNIT), top1=77.918
    ),
    "mobilenetv3_large_100.miil_in21k": Published(Preprocessing(224, 224, 0.875, "bilinear", **_UNIT)),
    "tf_mobilenetv3_small_100.in1k": Published(_TF_IMAGES, top1=67.918),
    "tf_mobilenetv3_large_100.in1k": Published(_TF_IMAGES, top1=75.516),
    "semnasnet_100.rmsp_in1k": Published(_BICUBIC, top1=75.45),
    "efficientnet_b0.ra_in1k": Published(_BICUBIC, top1=77.694),
    "efficientnet_b1.ft_in1k": Published(_BICUBIC, top1=78.8),
    "efficientnet_b2.ra_in1k": Published(Preprocessing(256, 256, 0.875, "bicubic", **_IMAGENET), top1=80.61),
    "efficientnet_b3.ra2_in1k": Published(Preprocessing(288, 288, 0.875, "bicubic", **_IMAGENET), top1=82.242),
    "efficientnet_b4.ra2_in1k": Published(Preprocessing(320, 320, 0.875, "bicubic", **_IMAGENET), top1=83.414),
    "tf_efficientnet_b0.ns_jft_in1k": Published(_BICUBIC, top1=78.67),
    "tf_efficientnet_b0.ap_in1k": Published(Preprocessing(224, 224, 0.875, "bicubic", **_HALF), top1=77.09),
    "tf_efficientnet_b0.aa_in1k": Published(_BICUBIC, top1=76.834),
    "tf_efficientnet_b0.in1k": Published(_BICUBIC, top1=76.532),
    "tf_efficientnet_b1.ns_jft_in1k": Published(Preprocessing(240, 240, 0.882, "bicubic", **_IMAGENET), top1=81.394),
    "tf_efficientnet_b1.ap_in1k": Published(Preprocessing(240, 240, 0.882, "bicubic", **_HALF), top1=79.28),
    "tf_efficientnet_b1.aa_in1k": Published(Preprocessing(240, 240, 0.882, "bicubic", **_IMAGENET), top1=78.83),
    "tf_efficientnet_b1.in1k": Published(Preprocessing(240, 240, 0.882, "bicubic", **_IMAGENET), top1=78.56),
    "tf_efficientnet_b2.ns_jft_in1k": Published(Preprocessing(260, 260, 0.89, "bicubic", **_IMAGENET), top1=82.378),
    "tf_efficientnet_b2.ap_in1k": Published(Preprocessing(260, 260, 0.89, "bicubic", **_HALF), top1=80.308),
    "tf_efficientnet_b2.aa_in1k": Published(Preprocessing(260, 260, 0.89, "bicubic", **_IMAGENET), top1=80.084),
    "tf_efficientnet_b2.in1k": Published(Preprocessing(260, 260, 0.89, "bicubic", **_IMAGENET), top1=79.604),
    "tf_efficientnet_b3.ns_jft_in1k": Published(Preprocessing(300, 300, 0.904, "bicubic", **_IMAGENET), top1=84.056),
    "tf_efficientnet_b3.ap_in1k": Published(Preprocessing(300, 300, 0.904, "bicubic", **_HALF), top1=81.826),
    "tf_efficientnet_b3.aa_in1k": Published(Preprocessing(300, 300, 0.904, "bicubic", **_IMAGENET), top1=81.644),
    "tf_efficientnet_b3.in1k": Published(Preprocessing(300, 300, 0.904, "bicubic", **_IMAGENET), top1=80.878),
    "tf_efficientnet_b4.ns_jft_in1k": Published(Preprocessing(380, 380, 0.922, "bicubic", **_IMAGENET), top1=85.162),
    "tf_efficientnet_b4.ap_in1k": Published(Preprocessing(380, 380, 0.922, "bicubic", **_HALF), top1=83.25),
    "tf_efficientnet_b4.aa_in1k": Published(Preprocessing(380, 380, 0.922, "bicubic", **_IMAGENET), top1=83.018),
    "tf_efficientnet_b4.in1k": Published(Preprocessing(380, 380, 0.922, "bicubic", **_IMAGENET), top1=82.608),
    "tf_efficientnet_b5.ns_jft_in1k": Published(Preprocessing(456, 456, 0.934, "bicubic", **_IMAGENET), top1=86.088),
    "tf_efficientnet_b5.ap_in1k": Published(Preprocessing(456, 456, 0.934, "bicubic", **_HALF), top1=84.258),
    "tf_efficientnet_b5.aa_in1k": Published(Preprocessing(456, 456, 0.934, "bicubic", **_IMAGENET), top1=83.688),
    "tf_efficientnet_b5.in1k": Published(Preprocessing(456, 456, 0.934, "bicubic", **_IMAGENET), top1=83.176),
    "tf_efficientnet_b6.ns_jft_in1k": Published(Preprocessing(528, 528, 0.942, "bicubic", **_IMAGENET), top1=86.456),
    "tf_efficientnet_b6.ap_in1k": Published(Preprocessing(528, 528, 0.942, "bicubic", **_HALF), top1=84.786),
    "tf_efficientnet_b6.aa_in1k": Published(Preprocessing(528, 528, 0.942, "bicubic", **_IMAGENET), top1=84.116),
    "tf_efficientnet_b7.ns_jft_in1k": Published(Preprocessing(600, 600, 0.949, "bicubic", **_IMAGENET), top1=86.84),
    "tf_efficientnet_b7.ap_in1k": Published(Preprocessing(600, 600, 0.949, "bicubic", **_HALF), top1=85.122),
    "tf_efficientnet_b7.aa_in1k": Published(Preprocessing(600, 600, 0.949, "bicubic", **_IMAGENET), top1=84.414),
    "efficientnet_lite0.ra_in1k": Published(_BICUBIC, top1=75.48),
    "tf_efficientnet_lite0.in1k": Published(Preprocessing(224, 224, 0.875, "bicubic", **_HALF), top1=74.83),
    "tf_efficientnet_lite1.in1k": Published(Preprocessing(240, 240, 0.882, "bicubic", **_HALF), top1=76.644),
    "tf_efficientnet_lite2.in1k": Published(Preprocessing(260, 260, 0.89, "bicubic", **_HALF), top1=77.464),
    "tf_efficientnet_lite3.in1k": Published(Preprocessing(300, 300, 0.904, "bilinear", **_HALF), top1=79.808),
    "tf_efficientnet_lite4.in1k": Published(Preprocessing(380, 380, 0.92, "bilinear", **_HALF), top1=81.532),
}


def architecture_of(published: str) -> str:
    """Return `seresnet50` of `seresnet50.a1_in1k`."""
    return published.partition(".")[0]


def list_weights(model: str = "*") -> list[str]:
    """List the published weights that load into models.

    Args:
        model: name or shell-style pattern of the models.
    Returns:
        Names of weights as `weights=` takes them.
    Example:
        >>> keras_se.list_weights("senet154")
        ['timm/senet154.gluon_in1k', 'timm/legacy_senet154.in1k']
    """
    return [
        f"timm/{name}" for name in PUBLISHED if fnmatch.fnmatchcase(ARCHITECTURES[architecture_of(name)].model, model)
    ]


def best_weights(model: str) -> str:
    """Return the published weights for ImageNet's 1000 classes of the greatest accuracy, as `weights=` takes them.

    Raises:
        InputError: there are none for that model.
    """
    rows = {name: row.top1 for name, row in PUBLISHED.items() if row.top1 is not None}
    fitting = [name for name in rows if ARCHITECTURES[architecture_of(name)].model == model]
    if not fitting:
        having = dict.fromkeys(ARCHITECTURES[architecture_of(name)].model for name in rows)
        raise InputError(f"weights='imagenet' are published for {', '.join(having)}; got model {model!r}")
    return f"timm/{max(fitting, key=rows.__getitem__)}"


def usual_preprocessing(architecture: str) -> Preprocessing:
    """Return the preprocessing of the network's first published weights; timm's default where it has none."""
    return next(
        (row.preprocessing for name, row in PUBLISHED.items() if architecture_of(name) == architecture), _BICUBIC
    )
