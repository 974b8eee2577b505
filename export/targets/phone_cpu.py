"""A phone's processor, by LiteRT with XNNPACK.

In and out: the quantized file, which is taken as it is.
"""

from keras_se.export.conversion.lowering_config import ONE_PARTITION
from keras_se.export.targets.base import Target
from keras_se.export.targets.xnnpack import XNNPACK_LIMITS

TARGETS = (
    Target(
        "phone_cpu",
        "LiteRT with XNNPACK on a phone's processor",
        integer_config=ONE_PARTITION,
        limits=XNNPACK_LIMITS,
        xnnpack=True,
    ),
)
