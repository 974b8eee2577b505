"""A model whose `fit` computes on many devices what it computes on one.

Keras 3.15 alone reduces gradients after they are clipped and checked for overflow, leaves each replica its own moving
statistics, draws the same dropout on all of them, and cannot run under MultiWorkerMirroredStrategy at all. Here each
replica takes the gradients of its share of the batch; they are summed over the replicas; then the optimizer sees them.

Keras's private names that are used stand in `PRIVATE` and `PRIVATE_ATTRIBUTES`; a test fails when one changes.
TPUStrategy runs the same code, which nobody has tried. Long, as it is one class: the methods replace each other's parts
of Keras's step.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_se.training.distribution.replica_seeds import draw_apart

PRIVATE = {
    keras.Model: ("_maybe_symbolic_build", "_compute_loss", "_flatten_layers"),
    keras.optimizers.Optimizer: ("_all_reduce_sum_gradients",),
}
PRIVATE_ATTRIBUTES = ("_loss_tracker", "_distribute_strategy")  # of a compiled model
_NO_IMAGE = "each replica must get an image of every training batch; batch with drop_remainder=True"


def distributed(model: keras.Model, *, micro_batches: int = 1, jit_compile: bool = False) -> keras.Model:
    """Return `model` with a `compile`, `fit`, `evaluate` and `predict` that are right on replicas.

    The layers and variables are the same objects.

    Call it and `compile` inside `strategy.scope()`, where the model was built. A batch of `fit` is the global one: its
    images are divided over the replicas, and an update is that of one device with the whole of it. Batch
    normalisation takes its statistics over a replica's share, or over the batch with `synchronized=True`; either way
    the moving ones are the mean over the replicas after every step. Random layers draw other numbers on each replica.
    The images of a partial last batch weigh the same as all others, in training and evaluation.

    Args:
        model: functional, or a Sequential that is built.
        micro_batches: passes over a replica's share, whose gradients are averaged into one update, so that only
            `1 / micro_batches` of its activations are in memory at a time. Batch normalisation sees a micro-batch.
        jit_compile: compile each replica's forward and backward pass with XLA; the update stays outside of it.
    Returns:
        A model with the inputs and outputs of `model`, to be compiled.
    Raises:
        ValueError: the model was built outside the scope or is not of one of these kinds, `micro_batches` is below 1,
            or batch statistics over all replicas are to be compiled.
    Example:
        >>> with tf.distribute.get_strategy().scope():
        ...     image = keras.Input((4,))
        ...     model = distributed(keras.Model(image, keras.layers.Dense(2)(image)), micro_batches=2)
        ...     model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((8, 4)), np.ones((8, 2)), batch_size=8, verbose=0)
    """
    strategy = tf.distribute.get_strategy()
    if micro_batches < 1:
        raise ValueError(f"micro_batches must be at least 1; got micro_batches={micro_batches}")
    if not getattr(model, "outputs", None):
        raise ValueError(f"distributed takes a functional model or a built Sequential; got {type(model).__name__}")
    if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in model.variables):
        raise ValueError(
            f"the model must be built inside the scope of the strategy it is distributed with; {model.name!r} was "
            f"built outside that of {type(strategy).__name__}: build it in `with strategy.scope():`"
        )
    synchronized = [layer.name for layer in model._flatten_layers() if getattr(layer, "synchronized", False)]
    if jit_compile and synchronized and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            f"jit_compile=True cannot hold batch statistics over all replicas; build {synchronized[0]!r} with "
            "synchronized=False, or leave jit_compile out"
        )
    sequential = isinstance(model, keras.Sequential)  # which has an `input` only once it has been called
    inputs, outputs = (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    replicated = _Distributed(inputs, outputs, name=model.name)
    replicated.micro_batches = micro_batches
    replicated.jit_passes = jit_compile
    draw_apart(replicated)
    return replicated


def synchronize_batch_norm(model: keras.Model, synchronized: bool) -> None:
    """Let every batch normalisation take its statistics over the global batch, or over its own replica's share."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized


@keras.saving.register_keras_serializable(package="keras_se", name="Distributed")
class _Distributed(keras.Model):
    micro_batches = 1
    jit_passes = False

    def get_config(self):
        return {**super().get_config(), "micro_batches": self.micro_batches, "jit_passes": self.jit_passes}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        own = {name: config[name] for name in ("micro_batches", "jit_passes")}
        graph = {name: value for name, value in config.items() if name not in own}
        model = super().from_config(graph, custom_objects=custom_objects)
        for name, value in own.items():
            setattr(model, name, value)
        draw_apart(model)
        return model

    def compile(self, *args: Any, **arguments: Any) -> None:
        """Keras's, inside the scope of the strategy.

        Raises:
            ValueError: it is called elsewhere, or with an argument that is wrong under a strategy, with the remedy.
        """
        if tf.distribute.get_strategy() is not self.distribute_strategy:
            raise ValueError(
                "compile must be called inside the scope of the model's strategy, or its schedules count every "
                "replica; call it in `with strategy.scope():`"
            )
        if arguments.get("jit_compile") is True:
            raise ValueError("jit_compile=True fails under a strategy; use distributed(model, jit_compile=True)")
        super().compile(*args, **{**arguments, "jit_compile": False})
        optimizer = _innermost(self.optimizer)
        if optimizer is None:
            return
        if optimizer.gradient_accumulation_steps:
            raise ValueError(
                "gradient_accumulation_steps fails under a strategy; use distributed(model, micro_batches="
                f"{optimizer.gradient_accumulation_steps}), with that many times the batch"
            )
        optimizer._all_reduce_sum_gradients = list  # train_step has summed them already

    def fit(self, x=None, y=None, batch_size=None, **arguments):
        """Keras's.

        Raises:
            ValueError: a batch has fewer images than there are replicas, or the steps of an epoch are not whole
                executions.
        """
        self._check_batches(x, batch_size)
        steps = arguments.get("steps_per_epoch")
        if self.steps_per_execution > 1 and (steps is None or steps % self.steps_per_execution):
            raise ValueError(
                f"steps_per_epoch must be a multiple of steps_per_execution={self.steps_per_execution}, over a dataset "
                f"that repeats; got steps_per_epoch={steps}"
            )
        try:
            return super().fit(x, y, batch_size, **arguments)
        except tf.errors.InvalidArgumentError as error:
            if _NO_IMAGE in str(error):
                raise ValueError(_NO_IMAGE) from None
            raise

    def _check_batches(self, x, batch_size):
        replicas = self.distribute_strategy.num_replicas_in_sync
        if isinstance(x, tf.data.Dataset):
            sizes = [tree.flatten(x.element_spec)[0].shape[0]]
        elif hasattr(tree.flatten(x)[0], "shape"):
            count, size = len(tree.flatten(x)[0]), batch_size or 32
            sizes = [min(count, size), count % size]
        else:
            sizes = []
        for size in filter(None, sizes):  # None is not known yet, and 0 is no batch
            if size < replicas:
                raise ValueError(
                    f"a batch must have an image for each of the {replicas} replicas; got one of {size}: use a larger "
                    "batch, and drop the rest with drop_remainder=True"
                )

    def train_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        context: Any = tf.distribute.get_replica_context()
        count = _count(x)
        images = tf.shape(tree.flatten(x)[0])[0]
        if count is None:
            with tf.control_dependencies([tf.debugging.assert_greater(images, 0, message=_NO_IMAGE)]):
                x = tree.map_structure(tf.identity, x)  # so that it is asked first
        gradients, outputs, loss = self._micro_batched(x, y, weight)
        self._loss_tracker.update_state(loss * context.num_replicas_in_sync, sample_weight=images)
        if context.num_replicas_in_sync > 1:
            if count is None:  # Keras takes every replica's mean for as much as any other's
                total = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.cast(images, "float32"))
                share = tf.cast(images, "float32") / total
                gradients = [
                    None if gradient is None else gradient * tf.cast(share, gradient.dtype) for gradient in gradients
                ]
            gradients = _summed(gradients, context)
            self._average_statistics(context)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.compute_metrics(x, y, outputs, sample_weight=weight)

    def _micro_batched(self, x, y, weight):
        """Return this replica's gradients, outputs and loss, the mean over its micro-batches."""
        one_pass: Any = tf.function(self._one_pass, jit_compile=True) if self.jit_passes else self._one_pass
        if self.micro_batches == 1:
            return one_pass(x, y, weight)
        results, done = [], []
        for number in range(self.micro_batches):
            part: Any = tree.map_structure(lambda value, n=number: self._part(value, n), (x, y, weight))
            with tf.control_dependencies(done):  # one after another, or all would be in memory
                gradients, outputs, loss = one_pass(*part)
            done = [gradient for gradient in gradients if gradient is not None]
            results.append((gradients, outputs, loss))
        every_gradient, every_output, losses = zip(*results, strict=True)
        means = [_mean(passes) for passes in zip(*every_gradient, strict=True)]
        outputs = tree.map_structure(lambda *parts: tf.concat(parts, 0), *every_output)
        return means, outputs, _mean(losses)

    def _part(self, value, number):
        return None if value is None else tf.split(value, self.micro_batches)[number]

    def _one_pass(self, x, y, weight):
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self._compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.trainable_variables)
        return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients], outputs, loss

    def _average_statistics(self, context):
        """Give every replica the mean of what each has gathered: moving means and variances."""
        gathering = [layer for layer in self._flatten_layers(include_self=False) if layer.trainable]
        states = {id(variable): variable for layer in gathering for variable in layer.non_trainable_variables}.values()
        statistics = [variable for variable in states if tf.as_dtype(variable.dtype).is_floating]
        if not statistics:
            return
        widest = "float64" if "float64" in [variable.dtype for variable in statistics] else "float32"
        values = [tf.cast(tf.reshape(variable.value, [-1]), widest) for variable in statistics]
        means = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.concat(values, 0))
        sizes = [int(np.prod(variable.shape)) for variable in statistics]
        for variable, mean in zip(statistics, tf.split(means, sizes), strict=True):
            variable.assign(tf.cast(tf.reshape(mean, variable.shape), variable.dtype))

    def test_step(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(x, training=False)
        loss: Any = self._compute_loss(x=x, y=y, y_pred=outputs, sample_weight=weight, training=False)
        images = tf.shape(tree.flatten(x)[0])[0]
        loss = tf.where(images > 0, loss, 0.0)  # the mean over none is no number
        replicas = self.distribute_strategy.num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=images)
        return self.compute_metrics(x, y, outputs, sample_weight=weight)

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._on_replicas(self.train_step)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = self._on_replicas(self.test_step)

    def _on_replicas(self, step):
        strategy = self.distribute_strategy
        graph = (lambda function: function) if self.run_eagerly else tf.function(reduce_retracing=True)

        def one_step(data):
            logs = strategy.run(step, args=(data,))
            return tree.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), logs)

        @graph
        def execution(iterator):
            logs = one_step(next(iterator))
            if self.steps_per_execution == 1:
                return logs
            for _ in tf.range(self.steps_per_execution - 1):
                logs = one_step(next(iterator))
            return logs

        on_batch = graph(one_step)

        def function(iterator):
            if isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
                return execution(iterator)
            return on_batch(next(iterator))  # train_on_batch gives each replica all of it

        return function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras reduces the replicas' batches to build the metrics, which several workers cannot; one share will do.
        if self._distribute_strategy is not None and iterator is not None:
            _, _, batches = next(iter(iterator))
            strategy = self.distribute_strategy
            data_batch = tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], next(batches))
            iterator = None
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)


def _count(x) -> int | None:
    """Return the number of images of a replica's share, if every share has the same; else None."""
    return tree.flatten(x)[0].shape[0]


def _summed(gradients, context):
    present = [gradient for gradient in gradients if gradient is not None]
    sums = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if gradient is None else next(sums) for gradient in gradients]


def _mean(values: Iterable) -> Any:
    values = list(values)
    return None if values[0] is None else tf.add_n(values) / len(values)


def _innermost(optimizer: Any) -> Any:
    """Return the optimizer itself, or the one inside that of mixed precision."""
    return getattr(optimizer, "inner_optimizer", optimizer)
