"""MnasNet-A1, whose blocks and loop are those that EfficientNet took over.

Source: Tan et al., arXiv 1807.11626, figure 7(a); the authors' code, tensorflow/tpu, models/official/mnasnet: SE's
hidden units are a quarter of the channels that a block is given, and no image goes past a block.
"""

from keras_se.models.efficientnet import EfficientNet, MBConv

A1 = (
    MBConv(expand=1, kernel=3, stride=1, out=16, depth=1, se=False),
    MBConv(expand=6, kernel=3, stride=2, out=24, depth=2, se=False),
    MBConv(expand=3, kernel=5, stride=2, out=40, depth=3),
    MBConv(expand=6, kernel=3, stride=2, out=80, depth=4, se=False),
    MBConv(expand=6, kernel=3, stride=1, out=112, depth=2),
    MBConv(expand=6, kernel=5, stride=2, out=160, depth=3),
    MBConv(expand=6, kernel=3, stride=1, out=320, depth=1, se=False),
)
ROWS = {"mnasnet_a1": EfficientNet(1.0, 1.0, 224, 0.2, A1, activation="relu", drop_connect=0.0)}
