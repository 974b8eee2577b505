"""Networks of a few layers each, which have every layer of the tables between them."""

import functools

import keras
from keras import layers, ops

import keras_se
from keras_se.export.compatibility.layer_ops import ACTIVATIONS


def steps(x):
    """Four vectors of 256: an unrolled layer is slow to convert."""
    return layers.Reshape((4, 256))(x)


def rows(x):
    return layers.Reshape((256, 4))(x)


def image(x):
    return layers.Reshape((16, 16, 4))(x)


def twice(x):
    """A layer that is called twice is not rewritten."""
    swish = layers.Conv2D(4, 3, padding="same", activation="hard_silu")
    return swish(swish(x))


def two(join):
    return lambda x: join()([x, layers.Conv2D(4, 1)(x)])


CASES = {
    **{kind.__name__: two(kind) for kind in (layers.Add, layers.Average, layers.Concatenate, layers.Maximum)},
    **{kind.__name__: two(kind) for kind in (layers.Minimum, layers.Multiply, layers.Subtract)},
    **{function.__name__: layers.Activation(function) for function in ACTIVATIONS},
    "Activation": layers.Activation("silu"),
    "AveragePooling2D": layers.AveragePooling2D(2),
    "AveragePooling2D wide": layers.AveragePooling2D(12, strides=1, padding="same"),
    "BatchNormalization": layers.BatchNormalization(),
    "ChannelAttention": keras_se.ChannelAttention(2),
    "ChannelAttention by channels first": keras_se.ChannelAttention(2, data_format="channels_first"),
    "Conv1D": lambda x: layers.Reshape((1, 254, 4))(layers.Conv1D(4, 3)(rows(x))),
    "Conv2D": layers.Conv2D(4, 3, dilation_rate=2),
    "Conv2D uneven": layers.Conv2D(4, 3, dilation_rate=(1, 2)),
    "Conv2DTranspose": layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "Cropping2D": layers.Cropping2D(2),
    "Dense": layers.Dense(4),
    "Dense of one vector": lambda x: layers.Dense(4)(layers.GlobalAveragePooling2D(keepdims=True)(x)),
    "DepthwiseConv2D": layers.DepthwiseConv2D(3),
    "Dense of many vectors": lambda x: image(layers.Dense(4)(rows(x))),
    "Dot": lambda x: layers.Reshape((2, 2, 4))(layers.Dot(1)([rows(x), rows(x)])),
    "Dropout": layers.Dropout(0.1),
    "ELU": layers.ELU(),
    "EffectiveSqueezeExcite": keras_se.EffectiveSqueezeExcite(),
    "EffectiveSqueezeExcite by channels first": keras_se.EffectiveSqueezeExcite(data_format="channels_first"),
    "EfficientChannelAttention": keras_se.EfficientChannelAttention(),
    "EfficientChannelAttention by channels first": keras_se.EfficientChannelAttention(data_format="channels_first"),
    "EinsumDense": lambda x: image(layers.EinsumDense("abc,cd->abd", (None, 4))(rows(x))),
    "Flatten": lambda x: layers.Reshape((16, 16, 4))(layers.Flatten()(x)),
    "GRU": lambda x: layers.Reshape((1, 1, 4))(layers.GRU(4)(rows(x))),
    "GRU unrolled": lambda x: layers.Reshape((1, 1, 4))(layers.GRU(4, unroll=True)(steps(x))),
    "GatherExcite": keras_se.GatherExcite(),
    "GatherExcite by 2": keras_se.GatherExcite(2),
    "GatherExcite by 3": keras_se.GatherExcite(3),
    "GatherExcite by channels first": keras_se.GatherExcite(2, data_format="channels_first"),
    "GatherExcite learned": keras_se.GatherExcite(learned=True),
    "GatherExcite learned by 4": keras_se.GatherExcite(4, learned=True),
    "GaussianNoise": layers.GaussianNoise(0.1),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(keepdims=True),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(keepdims=True),
    "GroupNormalization": layers.GroupNormalization(2),
    "InputLayer": layers.Activation("linear"),
    "LSTM": lambda x: layers.Reshape((1, 1, 4))(layers.LSTM(4)(rows(x))),
    "LSTM unrolled": lambda x: layers.Reshape((1, 1, 4))(layers.LSTM(4, unroll=True)(steps(x))),
    "LayerNormalization": layers.LayerNormalization(),
    "LeakyReLU": layers.LeakyReLU(),
    "MaxPooling2D": layers.MaxPooling2D(2),
    "MultiHeadAttention": lambda x: image((lambda t: layers.MultiHeadAttention(2, 2)(t, t))(rows(x))),
    "Normalization": layers.Normalization(mean=[0.0] * 4, variance=[2.0] * 4),
    "PReLU": layers.PReLU(shared_axes=[1, 2]),
    "Permute": layers.Permute((2, 1, 3)),
    "RMSNormalization": layers.RMSNormalization(),
    "RandomFlip": layers.RandomFlip(),
    "ReLU": layers.ReLU(),
    "ReLU to 3": layers.ReLU(3.0),
    "ReLU with a slope": layers.ReLU(negative_slope=0.1),
    "ReLU with a threshold": layers.ReLU(threshold=0.1),
    "Rescaling": layers.Rescaling(2.0, 1.0),
    "Reshape": layers.Reshape((8, 32, 4)),
    "Reshape to five dimensions": lambda x: image(layers.Permute((1, 2, 4, 3))(layers.Reshape((16, 16, 2, 2))(x))),
    "Resizing bicubic": layers.Resizing(8, 8, interpolation="bicubic"),
    "Resizing bilinear": layers.Resizing(8, 8),
    "Resizing nearest": layers.Resizing(8, 8, interpolation="nearest"),
    "Resizing to four times": layers.Resizing(64, 64),
    "Resizing to twice, nearest": layers.Resizing(32, 32, interpolation="nearest"),
    "Resizing to four times, nearest": layers.Resizing(64, 64, interpolation="nearest"),
    "Resizing to three times": layers.Resizing(48, 48),
    "Resizing to one direction's twice": layers.Resizing(16, 32),
    "SeparableConv2D": layers.SeparableConv2D(4, 3),
    "Softmax": layers.Softmax(),
    "SpatialAttention": keras_se.SpatialAttention(),
    "SpatialAttention by channels first": keras_se.SpatialAttention(data_format="channels_first"),
    "SqueezeExcite": keras_se.SqueezeExcite(2),
    "SqueezeExcite by channels first": keras_se.SqueezeExcite(2, data_format="channels_first"),
    "SqueezeExcite by the maximum": keras_se.SqueezeExcite(2, squeeze="max"),
    "SqueezeExcite by softmax": keras_se.SqueezeExcite(2, gate="softmax"),
    "SqueezeExcite without": keras_se.SqueezeExcite(2, squeeze="none"),
    "UnitNormalization": layers.UnitNormalization(),
    "UpSampling2D": layers.UpSampling2D(2),
    "UpSampling2D bilinear": layers.UpSampling2D(2, interpolation="bilinear"),
    "ZeroPadding2D": layers.ZeroPadding2D(2),
    "hard_silu twice": twice,
    "ops.Add": lambda x: x + layers.Conv2D(4, 1)(x),
    "ops.Exp": ops.exp,
    "ops.Flip": lambda x: ops.flip(x, 3),
    "ops.HardSilu": ops.hard_silu,
    "ops.Multiply": lambda x: x * layers.Conv2D(4, 1)(x),
    "ops.Pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    "ops.Subtract": lambda x: x - layers.Conv2D(4, 1)(x),
    "ops.TopK": lambda x: ops.top_k(x, 2)[0],
}


@functools.cache
def network(case):
    """A network with the layer in its middle."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3), name="image")
    x = CASES[case](layers.Conv2D(4, 3, padding="same", name="stem")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="after")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="logits")(x), name="net")
