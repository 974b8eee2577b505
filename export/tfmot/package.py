"""tensorflow-model-optimization, imported without changing what Keras is for the rest of the process.

On its import it sets TF_USE_LEGACY_KERAS, which child processes would inherit, and asks for `tf.keras`, which stays
for good what the first to ask finds: with that variable Keras 2.
"""

import os
import warnings
from typing import Any

import tensorflow as tf

from keras_se.optional_packages import import_extra

_VARIABLE = "TF_USE_LEGACY_KERAS"


def _import() -> Any:
    before = os.environ.get(_VARIABLE)
    _ = tf.keras.version  # Keras 3, from here on; tfmot then imports tf_keras
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions with distutils
            return import_extra("tensorflow_model_optimization", "tfmot")
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


tfmot: Any = _import()
