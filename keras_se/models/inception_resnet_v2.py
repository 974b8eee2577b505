"""SE-Inception-ResNet-v2.

Sources: Szegedy et al., arXiv 1602.07261, with the stem and the widths that its authors released; Hu et al.,
arXiv 1709.01507, section 3.2 (SE on each module's output, before a residual module joins its shortcut).

How many residual modules Hu et al. trained they do not say, only that the plain network costs 11.75 GFLOPs: 5, 20 and
5 cost that to 0.1 %; the released 10, 20 and 10 cost 13.15, the network of Szegedy's figures 9.3.
"""

from typing import NamedTuple

from keras import layers

from keras_se.layers.checks import at_least_one
from keras_se.models.blocks import CHANNELS_LAST, Norm, Tensor, conv_bn
from keras_se.models.head import Head
from keras_se.models.placement import SE

STAGES = (1, 2, 3)  # the modules A, B and C, each with the one that makes its resolution
PLACEMENTS = ("standard", "pre", "none")
NORM = Norm(momentum=0.99, epsilon=1e-3, scale=False)


class Conv(NamedTuple):
    """A convolution of a branch."""

    filters: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "same"


class Residual(NamedTuple):
    """A residual module, how often it is repeated and the scale of what it adds."""

    branches: tuple[tuple[Conv, ...], ...]
    times: int
    scale: float


class Stage(NamedTuple):
    """Module that makes a resolution, and the residual ones at it."""

    entry: tuple[tuple[Conv, ...], ...]
    pool: str
    project: int
    """Filters of the 1x1 convolution after the pool; 0 for the pool alone."""
    residual: Residual


def _halve(filters: int) -> Conv:
    return Conv(filters, 3, 2, "valid")


STEM = (  # None is a pool
    _halve(32),
    Conv(32, 3, 1, "valid"),
    Conv(64, 3),
    None,
    Conv(80),
    Conv(192, 3, 1, "valid"),
    None,
)
MODULES = (
    Stage(
        entry=((Conv(96),), (Conv(48), Conv(64, 5)), (Conv(64), Conv(96, 3), Conv(96, 3))),
        pool="avg",
        project=64,
        residual=Residual(
            branches=((Conv(32),), (Conv(32), Conv(32, 3)), (Conv(32), Conv(48, 3), Conv(64, 3))),
            times=5,
            scale=0.17,
        ),
    ),
    Stage(
        entry=((_halve(384),), (Conv(256), Conv(256, 3), _halve(384))),
        pool="max",
        project=0,
        residual=Residual(
            branches=((Conv(192),), (Conv(128), Conv(160, (1, 7)), Conv(192, (7, 1)))), times=20, scale=0.1
        ),
    ),
    Stage(
        entry=((Conv(256), _halve(384)), (Conv(256), _halve(288)), (Conv(256), Conv(288, 3), _halve(320))),
        pool="max",
        project=0,
        residual=Residual(
            branches=((Conv(192),), (Conv(192), Conv(224, (1, 3)), Conv(256, (3, 1)))), times=5, scale=0.2
        ),
    ),
)
ROWS = {"se_inception_resnet_v2": MODULES}


def inception_resnet_v2(
    row: tuple[Stage, ...],
    image: Tensor,
    *,
    se: SE,
    head: Head,
    modules: tuple[int, int, int] | None = None,
) -> Tensor:
    """Apply a row's network to an image `(batch, height, width, channels)` of at least 75x75.

    Args:
        modules: residual modules A, B and C; the row's own when None. `(10, 20, 10)` is the network of
            `keras.applications`.
    """
    se.check(PLACEMENTS, STAGES)
    if modules is not None:
        if len(modules) != len(row):
            raise ValueError(f"modules must be {len(row)} counts, of A, B and C; got modules={modules}")
        row = tuple(_repeated(stage, times) for stage, times in zip(row, modules, strict=True))
    if any(size is not None and size < 75 for size in image.shape[1:3]):
        raise ValueError(f"height and width must be at least 75 in this family; got input_shape={image.shape[1:]}")
    x = image
    for number, conv in enumerate(STEM, 1):
        label = f"stem_{number}"
        x = _pool(x, "max", label) if conv is None else _conv(x, conv, label)
    for stage, (entry, pool, project, residual) in zip(STAGES, row, strict=True):
        label = f"stage{stage}"
        x = se.at("pre", x, stage, label)
        branches = _branches(x, entry, label)
        y = _pool(x, pool, f"{label}_pool")
        branches.append(_conv(y, Conv(project), f"{label}_project") if project else y)
        x = layers.Concatenate(name=f"{label}_concat")(branches)
        x = se.at("standard", x, stage, label)
        for number in range(1, residual.times + 1):
            # The very last module is neither scaled nor followed by a ReLU.
            last = (stage, number) == (STAGES[-1], residual.times)
            x = _residual(x, residual, last, se, stage, f"{label}_block{number}")
    x = _conv(x, Conv(1536), "last")
    return head(x)


def _repeated(stage, times) -> Stage:
    at_least_one("modules", times)
    return stage._replace(residual=stage.residual._replace(times=times))


def _residual(x, row, last, se, stage, name) -> Tensor:
    y = se.at("pre", x, stage, name)
    y = layers.Concatenate(name=f"{name}_concat")(_branches(y, row.branches, name))
    y = layers.Conv2D(
        x.shape[-1], 1, kernel_initializer="he_normal", data_format=CHANNELS_LAST, name=f"{name}_expand_conv"
    )(y)
    y = se.at("standard", y, stage, name)
    if last:
        return layers.Add(name=f"{name}_add")([x, y])
    y = layers.Rescaling(row.scale, name=f"{name}_scale")(y)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.Activation("relu", name=f"{name}_out")(y)


def _branches(x, branches, name) -> list[Tensor]:
    outputs = []
    for number, branch in enumerate(branches, 1):
        y = x
        for position, conv in enumerate(branch, 1):
            y = _conv(y, conv, f"{name}_branch{number}_{position}")
        outputs.append(y)
    return outputs


def _conv(x, conv, name) -> Tensor:
    filters, kernel, stride, padding = conv
    return conv_bn(x, filters, kernel, name, stride=stride, padding=padding, norm=NORM)


def _pool(x, kind, name) -> Tensor:
    if kind == "avg":
        return layers.AveragePooling2D(3, 1, padding="same", data_format=CHANNELS_LAST, name=name)(x)
    return layers.MaxPooling2D(3, 2, data_format=CHANNELS_LAST, name=name)(x)
