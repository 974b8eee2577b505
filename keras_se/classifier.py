"""A trained network as what an app asks: pixels in, a probability of each class out, whatever file it is in.

In: a Keras model or its file. Out: a `Classifier`. `keras_se.export.load_classifier` makes the same of a .tflite file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from keras_se.errors import InputError
from keras_se.inference import labels_of
from keras_se.preprocessing import Preprocessing, find_preprocessing
from keras_se.weights.keras_weights import run_file
from keras_se.weights.model_file import load_model_file

_SUM = 1e-3  # of a softmax in float16, over a thousand classes
_BATCH = 32


@dataclass(frozen=True)
class Classifier:
    """Anything that answers an image with a class.

    `keras_se.training.evaluate` and `keras_se.training.predict` take one.
    """

    name: str
    """Name of the model or the file, for messages."""
    preprocessing: Preprocessing
    """Steps that make an input of an image."""
    classes: tuple[str, ...] | None
    """Names of the classes in the order of the scores; None where nothing tells them."""
    scores: Callable[[np.ndarray], np.ndarray]
    """Function of float32 images `(n, height, width, channels)`, preprocessed, that returns probabilities
    `(n, classes)`; two of a network with one output, which is binary."""


def classifier_of(model: keras.Model | Path | str, *, preprocessing: Preprocessing | None = None) -> Classifier:
    """Return a Keras model as a classifier.

    Args:
        model: a Keras model; a `.keras` file; or the folder of a run.
        preprocessing: what the model takes; by default what its record or its own layers say.
    Raises:
        InputError: there is no such file, or it is no classifier's.
    """
    if isinstance(model, keras.Model):
        loaded, path = model, None
    else:
        path = run_file(model)
        if path is None:
            raise InputError(f"a model is a .keras file or the folder of a run; got {str(model)!r}")
        loaded = load_model_file(path)
    if preprocessing is None:
        preprocessing = find_preprocessing(loaded, path).preprocessing
    if len(loaded.output_shape) != 2:
        raise InputError(f"a classifier gives (batch, classes); {loaded.name} gives {loaded.output_shape}")
    classes = None if path is None else labels_of(path)
    outputs = max(2, loaded.output_shape[-1])
    if classes is not None and len(classes) != outputs:
        raise InputError(
            f"the record beside {path} names {len(classes)} classes, and the model gives {outputs}; it is another's"
        )

    def scores(images: np.ndarray) -> np.ndarray:
        return probabilities(np.asarray(loaded.predict(images, batch_size=_BATCH, verbose=0)))  # pyright: ignore

    return Classifier(str(path or loaded.name), preprocessing, classes, scores)


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Return a network's outputs as probabilities: those of a softmax or sigmoid as they are, logits through it.

    Args:
        outputs: `(n, classes)`; of one column, that of the second of two classes.
    Returns:
        float64 `(n, classes)`, at least two columns.
    Raises:
        InputError: an output is no number.
    """
    values = np.asarray(outputs, "float64")
    if not np.isfinite(values).all():
        raise InputError("the network gives outputs that are no numbers (NaN or infinite); train it again")
    shares = values.size > 0 and values.min() >= 0 and values.max() <= 1
    if values.shape[1] == 1:
        second = values if shares else 1 / (1 + np.exp(-values))
        return np.hstack([1 - second, second])
    if shares and np.allclose(values.sum(1), 1, atol=_SUM):
        return values
    exponentials = np.exp(values - values.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)
