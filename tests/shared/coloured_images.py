"""Images of four colours, and a regression that tells them apart in a few features."""

import keras
import numpy as np

import keras_se

CLASSES = 4


def coloured(count, seed):
    """Images of noise in which one colour, the class, is brighter; in those of the last class none is."""
    rng = np.random.default_rng(seed)
    images, labels = 0.3 * rng.random((count, 8, 8, 3), "float32"), rng.integers(0, CLASSES, count)
    for image, label in zip(images, labels, strict=True):
        image[..., label : label + 1] += 0.7
    return images, labels


def fitted(layer, model, images, labels):
    """Ridge regression of the classes, at 4 and -4, on what the layer takes, averaged over positions."""
    features = keras.Model(model.input, layer.input).predict(images, verbose=0).astype("float64")
    features = features.reshape(len(images), -1, features.shape[-1]).mean(1)
    design = np.hstack([features, np.ones((len(features), 1))])
    penalty = 1e-4 * np.trace(design.T @ design) / design.shape[1] * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ (8.0 * np.eye(CLASSES)[labels] - 4.0))
    shapes = [weight.shape for weight in layer.weights]
    layer.set_weights([solution[:-1].reshape(shapes[0]), solution[-1].reshape(shapes[1])])


def network(ending):
    """A network with SE that classifies `coloured`, its last layer fitted in closed form."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="stem")(image)
    x = keras_se.SqueezeExcite(2, name="se")(x)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="pointwise")(x)
    if ending == "pool":
        logits = keras.layers.Conv2D(CLASSES, 1, name="logits")
        outputs = keras.layers.GlobalAveragePooling2D()(logits(x))
    else:
        x = keras.layers.GlobalAveragePooling2D()(x)
        if ending == "two_dense":
            x = keras.layers.Dense(12, activation="relu", name="hidden")(x)
        logits = keras.layers.Dense(CLASSES, name="logits")
        outputs = logits(x)
        if ending == "inner":
            inner = keras.Input((CLASSES,))
            outputs = keras.Model(inner, keras.layers.Softmax()(inner), name="scores")(outputs)
        elif ending in ("softmax", "sigmoid"):
            outputs = keras.layers.Activation(ending)(outputs)
        if ending == "softmax":
            outputs = keras.layers.Dropout(0.1)(outputs)
    model = keras.Model(image, outputs, name=ending)
    fitted(logits, model, *coloured(300, seed=1))
    return model
