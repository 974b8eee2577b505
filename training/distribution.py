"""Which devices a run uses."""

import functools

import keras
import tensorflow as tf

from keras_se.errors import InputError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of that name.

    Args:
        name: "none", one device; "mirrored", every GPU, or every logical CPU where there is no GPU; "auto",
            mirrored when there are several GPUs.
    Raises:
        InputError: the name is unknown or its strategy is not supported yet.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    if name in ("auto", "none"):
        return tf.distribute.get_strategy()
    if name in ("multi_worker", "tpu"):
        raise InputError(f"strategy {name} is not supported yet; use auto, none or mirrored")
    raise InputError(f"strategy must be auto, none or mirrored; got {name!r}")


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    # One a process: a second one numbers its collectives from the start again, and they meet those of the first.
    return tf.distribute.MirroredStrategy(devices)


def synchronize_batch_norm(model: keras.Model, synchronized: bool) -> None:
    """Let every batch normalisation take its statistics over the global batch, or over its own replica's share."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized
