"""Trains a tiny network with SE and dropout on a few digits: `python tiny_run.py FOLDER STRATEGY EPOCHS [--resume]`.

Prints `begun` after its first update. A process of its own, to be killed: by itself after the update that
KILL_AFTER_UPDATE numbers, or as KILL_AT says: "replace NAME N" or "unlink NAME N" before the N-th such call on a path
with NAME in it. STRATEGY mirrored takes two logical CPUs.
"""

import dataclasses
import os
import pathlib
import signal
import sys

import keras
import tensorflow as tf

if sys.argv[2] == "mirrored" and keras.backend.backend() == "tensorflow":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_se import registry
from keras_se.models.blocks import conv_bn
from keras_se.training import Recipe, train, trainer
from keras_se.training.data.sources import Split, load_source


def tiny(row, image, *, se, head):
    x = se.at("standard", conv_bn(image, 16, 3, "stem", stride=2), 2, "stem")
    return head(x, dropout=0.2)


class Begun(keras.callbacks.Callback):
    updates = 0

    def on_train_batch_end(self, batch, logs=None):
        self.updates += 1
        if self.updates == 1:
            print("begun", flush=True)
        if self.updates == int(os.environ.get("KILL_AFTER_UPDATE", 0)):
            os.kill(os.getpid(), signal.SIGKILL)


def kill_at(function, name, count):
    original, calls = getattr(pathlib.Path, function), []

    def counted(*arguments, **named):
        calls.extend(value for value in arguments if name in str(value))
        if len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(pathlib.Path, function, counted)


def main(folder, strategy, epochs, resume):
    registry._ENTRIES["se_tiny"] = registry.Entry(tiny, ())
    digits = load_source("digits")
    few = {"train": (digits.train, 100), "test": (digits.test, 20)}
    source = dataclasses.replace(
        digits, **{name: Split(split.images[:count], split.labels[:count]) for name, (split, count) in few.items()}
    )
    trainer.load_source = lambda name, **options: source
    fit = keras.Model.fit
    keras.Model.fit = lambda self, *arguments, callbacks, **rest: fit(
        self, *arguments, callbacks=[*callbacks, Begun()], **rest
    )
    recipe = Recipe(
        model="se_tiny",
        out=folder,
        epochs=int(epochs),
        batch_size=16,
        image_size=16,
        crop=1.0,
        augmentation="shift",
        learning_rate=1.0,
        strategy=strategy,
        checkpoint_steps=4,
    )
    return train(recipe, resume=resume)


if __name__ == "__main__":
    if "KILL_AT" in os.environ:
        kill_at(*os.environ["KILL_AT"].split())
    main(*sys.argv[1:4], resume="--resume" in sys.argv)
