"""Network of a recipe: refused, built, cut down to its logits, frozen.

In: a recipe and the images' classes. Out: the Keras model, and the one that is trained in its place.
"""

import keras

from keras_se.errors import InputError
from keras_se.preprocessing import Preprocessing, find_preprocessing
from keras_se.registry import check_model_arguments, create_model
from keras_se.training.data.sources import Source
from keras_se.training.distribution.model import distributed, synchronize_batch_norm
from keras_se.training.distribution.strategy import Devices
from keras_se.training.recipes import Recipe

_OF_TRAINING = ("input_shape", "input_tensor", "classes", "model_name")
"""Arguments of `create_model` that training gives."""
_HEAD = ("logits", "hidden")
"""Beginnings of the names of a classifier's layers."""


def check_recipe(recipe: Recipe) -> None:
    """Refuse what needs neither images nor a network to be seen.

    Raises:
        InputError: the model or an argument of it is unknown, or what is to be frozen has no weights to start from.
    """
    if not recipe.model_arguments.get("include_top", True):
        raise InputError("a model is trained with its classifier; got include_top=False")
    if recipe.freeze == "backbone" and recipe.model_arguments.get("weights") is None:
        raise InputError("a backbone is frozen that has weights to start from; give weights, or freeze=none")
    if recipe.freeze == "backbone" and keras.backend.backend() != "tensorflow":
        raise InputError(f"freeze is for the TensorFlow backend; got {keras.backend.backend()}")
    try:
        check_model_arguments(recipe.model, recipe.model_arguments, without=_OF_TRAINING)
    except (ValueError, TypeError) as error:
        raise InputError(f"model {recipe.model} cannot be built: {error}") from None


def check_images(recipe: Recipe, source: Source) -> None:
    """Refuse images that the recipe cannot be trained on.

    Raises:
        InputError: there are fewer of them than a batch takes, or a binary network would have other classes than two.
    """
    if recipe.binary and len(source.classes) != 2:
        raise InputError(f"binary is for two classes; {recipe.data} has {len(source.classes)}")
    if len(source.train) < recipe.batch_size:
        raise InputError(f"batch_size must be at most the {len(source.train)} training images; got {recipe.batch_size}")


def build_model(recipe: Recipe, source: Source) -> keras.Model:
    """Return the recipe's network for the classes of the images.

    Raises:
        InputError: an argument has a value that the network has not.
    """
    shape = (recipe.image_size, recipe.image_size, 3)
    try:
        arguments = dict(recipe.model_arguments)
        if recipe.binary:
            arguments["classifier_activation"] = "sigmoid"
        classes = 1 if recipe.binary else len(source.classes)
        return create_model(recipe.model, input_shape=shape, classes=classes, **arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"model {recipe.model} cannot be built: {error}") from None


def logits_model(model: keras.Model, recipe: Recipe, devices: Devices) -> keras.Model:
    """Return the model up to its logits, since a softmax would cost precision, on all its devices."""
    logits = keras.Model(model.input, model.get_layer("logits").output)
    if devices.strategy is not None:
        synchronize_batch_norm(model, devices.replicas > 1)
        return distributed(logits, micro_batches=recipe.micro_batches)
    if recipe.micro_batches > 1:
        raise InputError(f"micro_batches is for the TensorFlow backend; got micro_batches={recipe.micro_batches}")
    return logits


def preprocessing_for(recipe: Recipe, model: keras.Model) -> Preprocessing:
    """Return the preprocessing that the weights bring, else pixels in 0..1 at the recipe's size."""
    origin = find_preprocessing(model)
    return origin.preprocessing if origin.reason else Preprocessing(recipe.image_size, recipe.image_size, recipe.crop)


def freeze_backbone(trained: keras.Model, frozen: bool) -> None:
    """Train the classifier alone, or all; a frozen layer's batch normalisation is in inference.

    The optimizer keeps a state for every variable, so that a checkpoint is of one form.
    """
    for layer in trained.layers:
        if not layer.name.startswith(_HEAD):
            layer.trainable = not frozen
    trained.train_function = None  # the next `fit` traces it anew
