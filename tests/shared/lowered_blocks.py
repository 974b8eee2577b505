"""Blocks of layers that a form of the graph rewrites, or must leave as they are."""

import keras

import keras_se


def hard_swish_twice_read(x):
    y = keras.layers.Activation("hard_swish")(x)
    return keras.layers.Add()([y, keras.layers.Conv2D(4, 3, padding="same")(y)])


def hard_swish_twice_added(x):
    y = keras.layers.Activation("hard_swish")(x)
    return keras.layers.Add()([keras.layers.Add()([x, y]), y])


def padded(size, **arguments):
    def block(x):
        x = keras.layers.ZeroPadding2D(size)(x)
        return keras.layers.Conv2D(4, 3, 2, **arguments)(x)

    return block


def se_before_a_stride(*, squeeze="avg", **arguments):
    def block(x):
        x = keras_se.SqueezeExcite(2, squeeze=squeeze, gate="hard_sigmoid")(x)
        x = keras.layers.DepthwiseConv2D(3, 2, use_bias=False, **arguments)(x)
        return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))

    return block


def se_read_by_a_stride_and_an_addition(x):
    x = keras_se.SqueezeExcite(2)(x)
    y = keras.layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(x)
    return keras.layers.Add()([y, keras.layers.MaxPooling2D(2)(x)])


def se_behind_a_wide_convolution(x):
    y = keras.layers.Conv2D(8, 1, use_bias=False)(keras.layers.Activation("hard_swish")(x))
    return keras_se.SqueezeExcite(2)(keras.layers.BatchNormalization()(y))


def se_on_a_normalisation_before_a_stride(x):
    x = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 1)(x)))
    return se_before_a_stride(padding="same")(x)


def relu_of_a_concatenation_and_others(x):
    """Return layers with Keras's own names, which number the layers of a kind."""
    y = keras.layers.Conv2D(4, 3, padding="same", activation="hard_swish")(x)
    y = keras.layers.ReLU(6)(keras.layers.Concatenate()([x, y]))
    return keras.layers.ReLU()(keras.layers.Conv2D(4, 1)(keras.layers.ReLU()(y)))


def relu_of_a_pooling_and_others(x):
    """Return the end of a strided unit of ShuffleNet."""
    x = keras.layers.ReLU()(keras.layers.Conv2D(4, 1)(x))
    pooled = keras.layers.AveragePooling2D(2, padding="same")(x)
    y = keras.layers.Concatenate()([pooled, keras.layers.Conv2D(4, 3, 2, padding="same")(x)])
    return keras.layers.Activation("relu")(y)


def relu_of_rows_that_others_read(x):
    rows = keras.layers.Concatenate(1)([x, x])
    return keras.layers.Add()([rows, keras.layers.Activation("relu")(rows)])


class Standardised(keras.layers.Conv2D):
    """Convolves with a kernel of mean 0."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


BLOCKS = {
    "SE, then a stride": se_before_a_stride(padding="same"),
    "SE on a normalisation, then a stride": se_on_a_normalisation_before_a_stride,
    "SE by the maximum, then a stride": se_before_a_stride(squeeze="max"),
    "SE without a squeeze, then a stride": se_before_a_stride(squeeze="none"),
    "SE, then a stride with two outputs a channel": se_before_a_stride(depth_multiplier=2),
    "SE, then a stride and another reader": se_read_by_a_stride_and_an_addition,
    "SE behind a wide convolution": se_behind_a_wide_convolution,
    "hard swish before a normalisation": lambda x: keras.layers.BatchNormalization()(
        keras.layers.Activation("hard_swish")(x)
    ),
    "hard swish that others read too": hard_swish_twice_read,
    "hard swish that two additions read": hard_swish_twice_added,
    "hard swish as the output": lambda x: keras.layers.Conv2D(4, 3, activation="hard_swish")(x),
    "hard swish into an operation": lambda x: keras.ops.exp(keras.layers.Activation("hard_swish")(x) - 4.0),
    "hard sigmoid as the output": lambda x: keras.layers.Activation("hard_sigmoid")(x),
    "hard swish, then a maximum of windows and dense": lambda x: keras.layers.Dense(3)(
        keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(keras.layers.Activation("hard_swish")(x)))
    ),
    "SE with a hard gate on a hard swish": lambda x: keras_se.SqueezeExcite(2, gate="hard_sigmoid")(
        keras.layers.Activation("hard_swish")(x)
    ),
    "a maximum of vectors": lambda x: keras.layers.Dense(3)(
        keras.layers.GlobalMaxPooling2D()(keras.layers.Activation("hard_swish")(x))
    ),
    "a maximum of one position": lambda x: keras.layers.GlobalMaxPooling2D()(
        keras.layers.GlobalMaxPooling2D(keepdims=True)(x)
    ),
    "SE without a squeeze": lambda x: keras_se.SqueezeExcite(2, squeeze="none", gate="hard_sigmoid")(x),
    "SE with a maximum": lambda x: keras_se.SqueezeExcite(2, squeeze="max")(keras.layers.Activation("hard_swish")(x)),
    "a model in a model": lambda x: keras.Sequential(
        [keras.layers.Conv2D(4, 3, activation="hard_swish"), keras.layers.BatchNormalization()]
    )(keras.layers.Activation("hard_swish")(x)),
    "every other position of a hard swish": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.MaxPooling2D(1, 2)(keras.layers.Activation("hard_swish")(x))
    ),
    "SE, then every third position": lambda x: keras.layers.AveragePooling2D(1, 3, padding="same")(
        keras_se.SqueezeExcite(2)(x)
    ),
    "a normalisation of a sum": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.BatchNormalization()(keras.layers.Add()([x, keras.layers.Conv2D(4, 1)(x)]))
    ),
    "an average within the map": lambda x: keras.layers.AveragePooling2D(2)(keras.layers.Activation("hard_swish")(x)),
    "an average beyond the border": lambda x: keras.layers.AveragePooling2D(3, 1, padding="same")(x),
    "an average in strides beyond the border": lambda x: keras.layers.AveragePooling2D((3, 5), 2, padding="same")(x),
    "an average in two strides": lambda x: keras.layers.AveragePooling2D(3, (1, 2), padding="same")(x),
    "a ReLU of a concatenation, and others": relu_of_a_concatenation_and_others,
    "a ReLU of a concatenation with a pooling": relu_of_a_pooling_and_others,
    "a ReLU of a concatenation of rows that others read": relu_of_rows_that_others_read,
    "a convolution of a class of its own": lambda x: keras.layers.AveragePooling2D(2)(
        keras.layers.BatchNormalization()(Standardised(4, 3)(keras.layers.Activation("hard_swish")(x)))
    ),
    "a leaky ReLU on a hard swish": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.LeakyReLU(0.1)(keras.layers.Activation("hard_swish")(x))
    ),
    "a slope a channel, some below zero, of a sum": lambda x: keras.layers.Conv2D(3, 1)(
        keras.layers.PReLU(keras.initializers.RandomUniform(-0.5, 1.0, seed=0), shared_axes=[1, 2])(
            keras.layers.Add()([x, keras.layers.Conv2D(4, 1)(x)])
        )
    ),
    "a slope above one": lambda x: keras.layers.LeakyReLU(1.5)(x),
    "a slope a position": lambda x: keras.layers.PReLU(keras.initializers.RandomUniform(0.0, 0.5, seed=0))(x),
    "a leaky ReLU of vectors": lambda x: keras.layers.ReLU(negative_slope=0.25)(
        keras.layers.Dense(3)(keras.layers.Flatten()(x))
    ),
    "padding behind": padded(((0, 1), (0, 1))),
    "padding on both sides": padded(1),
    "padding, then same": padded(1, padding="same"),
    "padding, then a dilation": lambda x: keras.layers.Conv2D(4, 3, dilation_rate=2)(keras.layers.ZeroPadding2D(2)(x)),
}
