"""Tiny networks of timm's own code with random weights, and what they answer: the facts of tests/keras_se/weights/.

Run where torch, timm 1.0.31 and safetensors are installed; keras_se is not needed:

    python tests/golden/make_timm_golden.py

Writes beside itself NAME.safetensors, the state dict of a network of a class, naming and topology that keras_se reads,
and answers.safetensors with two uint8 images of an even size and two of an odd one, and each network's logits for them.
The networks see pixel / 255. Their rows on our side are in tests/shared/timm_networks.py.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from timm.layers.squeeze_excite import SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.senet import SEBottleneck, SENet, SEResNetBlock, SEResNetBottleneck, SEResNeXtBottleneck
from torch import nn

CLASSES = 7
REDUCTION = 2
PLANES = (2, 4, 8, 16)  # of the stages; timm's are 32 times as wide
SIZES = {"even": (64, 48), "odd": (51, 37)}


class SmallSENet(SENet):
    """SENet with the planes above: its stages ask `_make_layer` for 64, 128, 256 and 512."""

    def __init__(self, block, layers, **arguments):
        super().__init__(block, layers, num_classes=CLASSES, reduction=REDUCTION, **arguments)
        self.last_linear = nn.Linear(PLANES[-1] * block.expansion, CLASSES)

    def _make_layer(self, block, planes, *arguments, **named):
        return super()._make_layer(block, planes // 32, *arguments, **named)


class WideGroups(SEResNeXtBottleneck):
    """A ResNeXt block whose groups are as wide as its planes: a sixteenth of a few would be nothing."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, base_width=64, **named)


def resnet(block, layers, **arguments):
    attention = {"attn_layer": partial(SEModule, rd_ratio=1 / REDUCTION)}
    return ResNet(block, layers, num_classes=CLASSES, channels=PLANES, block_args=attention, **arguments)


def mobilenet(epsilon, padding):
    blocks = [
        ["ds_r1_k3_s2_e1_c16_se0.25_nre"],
        ["ir_r1_k3_s2_e1.5_c8_nre", "ir_r1_k3_s1_e2_c8_nre"],
        ["ir_r1_k5_s2_e4_c16_se0.25", "ir_r1_k5_s1_e2_c16_se0.25"],
        ["cn_r1_k1_s1_c40"],
    ]
    return MobileNetV3(
        decode_arch_def(blocks),
        num_classes=CLASSES,
        num_features=24,
        pad_type=padding,
        act_layer=nn.Hardswish,
        norm_layer=partial(nn.BatchNorm2d, eps=epsilon),
        se_layer=partial(SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels),
    )


def efficientnet(epsilon, padding, activation):
    return EfficientNet(
        decode_arch_def([["ds_r2_k3_s1_e1_c8_se0.25"], ["ir_r2_k5_s2_e2_c8_se0.25"], ["ir_r1_k3_s2_e3_c16"]]),
        num_classes=CLASSES,
        num_features=320,
        stem_size=8,
        pad_type=padding,
        act_layer=activation,
        norm_layer=partial(nn.BatchNorm2d, eps=epsilon),
    )


# Named for the network of timm's that each is a small one of.
NETWORKS = {
    "seresnet18": lambda: resnet(BasicBlock, (2, 1, 1, 1)),
    "seresnet50": lambda: resnet(Bottleneck, (2, 1, 1, 1)),
    "seresnext50_32x4d": lambda: resnet(Bottleneck, (1, 1, 2, 1), cardinality=2),
    "senet154": lambda: resnet(
        Bottleneck,
        (1, 2, 1, 1),
        cardinality=4,
        stem_width=4,
        stem_type="deep",
        down_kernel_size=3,
        block_reduce_first=2,
    ),
    "legacy_seresnet18": lambda: SmallSENet(SEResNetBlock, (2, 1, 1, 1), groups=1),
    "legacy_seresnet50": lambda: SmallSENet(SEResNetBottleneck, (2, 1, 1, 1), groups=1),
    "legacy_seresnext50_32x4d": lambda: SmallSENet(WideGroups, (1, 1, 2, 1), groups=2),
    "legacy_senet154": lambda: SmallSENet(
        SEBottleneck,
        (1, 2, 1, 1),
        groups=2,
        inplanes=8,
        input_3x3=True,
        downsample_kernel_size=3,
        downsample_padding=1,
    ),
    "mobilenetv3_small_100": lambda: mobilenet(1e-5, ""),
    "tf_mobilenetv3_small_100": lambda: mobilenet(1e-3, "same"),
    "efficientnet_b0": lambda: efficientnet(1e-5, "", nn.SiLU),
    "tf_efficientnet_b0": lambda: efficientnet(1e-3, "same", nn.SiLU),
    "semnasnet_100": lambda: efficientnet(1e-5, "", nn.ReLU),
}


def images(height, width):
    """Two images, uint8 `(2, height, width, 3)`: waves of a colour each, and noise."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + y / 9), np.cos(x * y / 200), np.sin(y / 4 - x / 11)], axis=-1)
    noise = np.random.default_rng(0).random((height, width, 3))
    return (np.stack([waves / 2 + 0.5, noise]) * 255).astype(np.uint8)


def pixels(uint8):
    """Return images as torch takes them: float `(batch, 3, height, width)`."""
    return torch.from_numpy(uint8).permute(0, 3, 1, 2).float() / 255


def randomise(model, inputs):
    """Every weight random, and such that activations stay of the order of 1.

    Fresh networks have scales of 0 where a branch ends, and statistics of 0 and 1. Here the statistics are those of
    `inputs`, and then scales, shifts and statistics are drawn around them.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:  # of SE
            nn.init.normal_(module.bias, std=0.5)
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = None  # the mean over all calls, of which there is one
    with torch.no_grad():
        model.train()(inputs)
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.6, 1.6)
    return model.eval()


def halved(model):
    """Round each weight to what float16 can hold: the files are half as large."""
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half().float())
    return model


def stored(value):
    return np.ascontiguousarray(value.astype(np.float16) if value.dtype == np.float32 else value)


def main():
    folder = Path(__file__).parent
    answers = {f"images/{name}": images(*size) for name, size in SIZES.items()}
    for seed, (name, make) in enumerate(NETWORKS.items()):
        torch.manual_seed(seed)
        model = halved(randomise(make(), pixels(answers["images/even"])))
        state = {key: stored(value.numpy()) for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors", {"format": "pt"})
        for size in SIZES:
            with torch.no_grad():
                answers[f"{name}/{size}"] = model(pixels(answers[f"images/{size}"])).numpy()
    save_file(answers, folder / "answers.safetensors")


if __name__ == "__main__":
    main()
