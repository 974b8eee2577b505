"""Gates of SE that Keras has no activation for, by the name that `SqueezeExcite` takes."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_se")
def double_sigmoid(x: Any) -> Any:
    """Return `2 * sigmoid(x)`: between 0 and 2, 1 at zero, and there with a slope of one half.

    Source: Swietojanski, Li & Renals, Learning Hidden Unit Contributions, arXiv 1601.02828: the amplitude of a unit,
    from which a trained network starts unchanged.
    """
    gate: Any = keras.ops.sigmoid(x)
    return 2 * gate


GATES = {"double_sigmoid": double_sigmoid}
