"""Trains tiny networks under a strategy and writes the results: `python distributed_cases.py MODE FILE.npz [CASE…]`.

MODE is `one`, plain Keras on one device; `mirrored`, two logical CPUs; or `worker`, one of two processes, whose
cluster is in TF_CONFIG. Devices are divided and clusters joined at a process's start, so each mode has its own.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import keras_se
from keras_se.export import quantize_aware
from keras_se.training import distributed

MODE, OUT, *CHOSEN = sys.argv[1:]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6, 6, 2)).astype("float32")
Y = RNG.normal(size=(24, 3)).astype("float32")
BATCH = 8


def strategy_of_mode():
    if MODE == "one":
        return tf.distribute.get_strategy()
    if MODE == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return tf.distribute.MultiWorkerMirroredStrategy()


STRATEGY = strategy_of_mode()


def network(*layers, shape=(6, 6, 2)):
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(3)])


def convolution(**arguments):
    return keras.layers.Conv2D(4, 3, kernel_regularizer=keras.regularizers.L2(0.01), **arguments)


def seeded(build):
    keras.utils.set_random_seed(1)
    return build()


def compiled(build, optimizer=None, *, options=None, **arguments):
    """Compile in the scope; on one device without one, which is the oracle."""
    with STRATEGY.scope():
        model = seeded(build) if MODE == "one" else distributed(seeded(build), **(options or {}))
        optimizer = optimizer() if optimizer else keras.optimizers.SGD(0.2, momentum=0.9)
        model.compile(optimizer, "mse", **arguments)
    return model


def trained(model, images=24, **arguments):
    history = model.fit(X[:images], Y[:images], BATCH, **{"shuffle": False, "verbose": 0, **arguments}).history
    return {**state(model), "loss": history["loss"], "iterations": int(model.optimizer.iterations.numpy())}


def state(model):
    return {f"w{number}": variable.numpy() for number, variable in enumerate(model.weights)}


def the(kind, model):
    (layer,) = [layer for layer in model.layers if isinstance(layer, kind)]
    return layer


def no_norm():
    return network(convolution(), keras.layers.ReLU(), keras.layers.Flatten())


def with_norm(synchronized):
    norm = keras.layers.BatchNormalization(momentum=0.5, synchronized=synchronized and MODE != "one", name="norm")
    return network(norm, convolution(), keras.layers.Flatten())


def case_no_norm():
    return trained(compiled(no_norm))


def case_synchronized_norm():
    return trained(compiled(lambda: with_norm(True)))


def case_local_norm():
    """Moving mean and variance, of each replica here."""
    model = compiled(lambda: with_norm(False))
    trained(model)
    norm, kernel = the(keras.layers.BatchNormalization, model), the(keras.layers.Conv2D, model).kernel
    values = {"mean": norm.moving_mean, "variance": norm.moving_variance, "kernel": kernel}
    return {
        f"{name}{number}": value.numpy()
        for name, variable in values.items()
        for number, value in enumerate(STRATEGY.experimental_local_results(variable.value))
    }


def case_global_clipnorm():
    return trained(compiled(no_norm, lambda: keras.optimizers.SGD(0.2, momentum=0.9, global_clipnorm=0.1)))


def case_steps_per_execution():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH, drop_remainder=True).repeat()
    model = compiled(no_norm, steps_per_execution=1 if MODE == "one" else 3)
    model.fit(data, steps_per_epoch=3, verbose=0)
    return state(model)


def case_micro_batches():
    return trained(compiled(no_norm, options={"micro_batches": 2}))


def case_average_of_weights():
    return trained(compiled(no_norm, lambda: keras.optimizers.AdamW(0.01, use_ema=True, ema_momentum=0.5)))


def case_compiled_passes():
    return trained(compiled(lambda: with_norm(False), options={"jit_compile": True}))


def case_plain_passes():
    return trained(compiled(lambda: with_norm(False)))


def case_quantization_aware():
    """One update: in a later one a rounding of sums may become one of a step."""
    model = compiled(
        lambda: quantize_aware(
            network(convolution(padding="same"), keras_se.SqueezeExcite(2), keras.layers.GlobalAveragePooling2D()),
            calibration=X,
            input_range=(-4.0, 4.0),
        )
    )
    return trained(model, images=BATCH)


def case_schedule():
    rate = keras.optimizers.schedules.ExponentialDecay(0.2, decay_steps=1, decay_rate=0.5)
    return trained(compiled(no_norm, lambda: keras.optimizers.SGD(rate)))


def case_partial_training_batch():
    """The last batch is of 3 images: 2 and 1."""
    return trained(compiled(no_norm), images=19)


def case_weighted_samples():
    return trained(compiled(no_norm), sample_weight=np.arange(24, dtype="float32") / 12)


def case_overflow():
    """One image of the second of three batches, which one replica gets, is infinite: that update is left out."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = compiled(lambda: network(keras.layers.Flatten(), keras.layers.Dense(8, activation="relu")))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    images = X.copy()
    images[9] = np.inf
    model.fit(images, Y, BATCH, shuffle=False, verbose=0)
    return {
        **state(model),
        "scale": model.optimizer.dynamic_scale.numpy(),
        "iterations": model.optimizer.inner_optimizer.iterations.numpy(),
    }


def case_partial_evaluation():
    """13 images by 4, the last of which one replica gets and the other does not."""
    model = compiled(no_norm, metrics=["mae"])
    return {"logs": model.evaluate(X[:13], Y[:13], 4, verbose=0), "outputs": model.predict(X[:13], 4, verbose=0)}


def case_random_layers():
    """Return what a dropout of ones keeps, on each replica."""
    model = compiled(lambda: network(keras.layers.Dropout(0.5, seed=3), keras.layers.Flatten()))
    dropout = the(keras.layers.Dropout, model)

    @tf.function
    def drawn():
        return STRATEGY.run(lambda: dropout(tf.ones((2, 64)), training=True))

    return {"first": STRATEGY.gather(drawn(), 0), "second": STRATEGY.gather(drawn(), 0)}


def case_refusals():
    """Return what is said of misuse; where it is no more than a check, MirroredStrategy's process tells enough."""
    if MODE == "one":
        return {}
    data = tf.data.Dataset.from_tensor_slices((X[:9], Y[:9])).batch(BATCH)
    repeated = data.repeat()
    outside = seeded(no_norm)
    outside.name = "outside"
    if MODE == "worker":
        return {"small_last_batch": refusal(lambda: compiled(no_norm).fit(X[:9], Y[:9], BATCH))}
    return {
        "compiled_outside": refusal(lambda: compiled(no_norm).compile("sgd", "mse")),
        "built_outside": refusal(lambda: in_scope(lambda: distributed(outside))),
        "jit_compile": refusal(lambda: compiled(no_norm, jit_compile=True)),
        "compiled_statistics": refusal(lambda: compiled(lambda: with_norm(True), options={"jit_compile": True})),
        "accumulation": refusal(lambda: compiled(no_norm, lambda: keras.optimizers.SGD(gradient_accumulation_steps=4))),
        "small_batch": refusal(lambda: compiled(no_norm).fit(X, Y, 1)),
        "small_last_batch": refusal(lambda: compiled(no_norm).fit(X[:9], Y[:9], BATCH)),
        "small_last_batch_of_a_dataset": refusal(lambda: compiled(no_norm).fit(data, verbose=0)),
        "steps_per_execution": refusal(
            lambda: compiled(no_norm, steps_per_execution=2).fit(repeated, steps_per_epoch=3, verbose=0)
        ),
    }


def in_scope(call):
    with STRATEGY.scope():
        return call()


def refusal(call):
    try:
        call()
    except ValueError as error:
        return str(error)
    raise AssertionError("it was not refused")


CASES = {name.removeprefix("case_"): case for name, case in globals().items() if name.startswith("case_")}
results = {f"{name}/{key}": value for name in CHOSEN or CASES for key, value in CASES[name]().items()}
np.savez(OUT, **results)
