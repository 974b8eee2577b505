"""A `.keras` file as a model, without running anything that is in it.

In: the path of a file. Out: the Keras model, not compiled; or one line that says why there is none.
"""

import re
from pathlib import Path

import keras

from keras_se.errors import InputError, reason_of
from keras_se.weights.declared_size import check_declared_size

_UNKNOWN_CLASS = re.compile(r"Could not locate class '([^']+)'")


def load_model_file(path: Path | str) -> keras.Model:
    """Return the model in a `.keras` file; nothing in it is executed.

    Raises:
        InputError: there is no such file, or it is not a Keras model.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no model file {path}; keras-se train writes one")
    check_declared_size(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zip, JSON, HDF5 and deserialisation have no common error
        if unknown := _UNKNOWN_CLASS.search(str(error)):
            raise InputError(
                f"{path} holds a layer of a class that is not Keras's, {unknown[1]!r}; name the module that registers "
                "it with keras.saving.register_keras_serializable: --import MODULE"
            ) from None
        if "safe_mode" in str(error):
            raise InputError(
                f"{path} holds Python code, as a Lambda layer does, and none is run from a file; write it as a layer "
                "of your own class and name its module with --import MODULE"
            ) from None
        raise InputError(
            f"{path} is not a model that Keras can load ({reason_of(error)}); train or save it again"
        ) from None
    if not isinstance(model, keras.Model):
        raise InputError(f"{path} holds a {type(model).__name__}, not a model")
    return model
