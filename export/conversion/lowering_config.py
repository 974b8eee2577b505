"""The forms in which targets want networks written."""

from dataclasses import dataclass

from keras_se.errors import InputError

_WAYS = {
    "hard_swish": ("whole", "product"),
    "squeeze": ("mean", "commuted"),
    "rescaling": ("in_place", "late"),
    "pooling": ("whole", "convolution"),
}


@dataclass(frozen=True)
class Form:
    """How a target wants a network written.

    Attributes:
        hard_swish: "whole", one operation; or "product", `x * relu6(x + 3)`, and the sixth in the weights that
            follow: two operations that XNNPACK has in int8, where it does not have the one.
        squeeze: "mean", one operation; or "commuted", SE's first layer at every position and then its mean by
            average pooling in steps of 2 or 3, on wide maps the first of them in the layer's own kernel. They are the
            same, for nothing but a sum stands between the layer and the mean; and a mean of few channels costs an NPU
            less. Where SE follows a linear 1x1 convolution of fewer inputs than outputs, the product of both kernels
            is applied to these inputs.
        rescaling: "in_place", by SE's gate where SE stands; or "late", after the depthwise convolution of a stride
            that follows: each of its channels is of one input alone. A stride of 2 leaves a quarter to multiply. The
            kernels take the mean of each channel's gate, and the gate is over that: else a channel that the gate
            nearly closes would stand open in the range of all.
        pooling: "whole", AVERAGE_POOL_2D; or "convolution", a depthwise one, and where windows reach beyond the map a
            multiplication of each position, which XNNPACK has in int8, where it does not have the pooling.
    """

    hard_swish: str = "whole"
    squeeze: str = "mean"
    rescaling: str = "in_place"
    pooling: str = "whole"

    def __post_init__(self):
        for name, ways in _WAYS.items():
            if getattr(self, name) not in ways:
                raise InputError(f"{name} must be one of {', '.join(ways)}; got {getattr(self, name)!r:.80}")


PLAIN = Form()
PRODUCTS = Form(hard_swish="product")
ONE_PIECE = Form(hard_swish="product", pooling="convolution")
COMMUTED = Form(hard_swish="product", squeeze="commuted", rescaling="late")

FORMS = (PLAIN, PRODUCTS, ONE_PIECE, COMMUTED)
"""Those that some target wants."""
