"""Choose the devices that a run computes on."""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_se.errors import InputError
from keras_se.training.distribution.cluster import find_cluster, join


@dataclass(frozen=True)
class Devices:
    """Devices of a run, and its part in that if it is one of several processes."""

    replicas: int
    """Copies of the model, each of which gets its share of the global batch."""
    scope: Callable[[], Any]
    """Context in which the model is built and compiled."""
    strategy: tf.distribute.Strategy | None = None
    """None on other backends than TensorFlow."""
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """True in the process that writes."""
        return self.worker == 0

    def wait_for_all(self) -> None:
        """Until every worker is here."""
        self._of_every_worker(0)

    def in_any_worker(self, flag: bool) -> bool:
        """Return True where `flag` is true in any worker. All of them must ask, and wait here for each other."""
        return max(self._of_every_worker(float(flag))) > 0

    def same_in_all_workers(self, number: int) -> bool:
        """Return True where `number` is the same in all workers. All of them must ask."""
        return len(set(self._of_every_worker(number))) == 1

    def of_chief(self, number: float) -> float:
        """Return the chief's `number`, below 2^53. All of them must ask."""
        return self._of_every_worker(number)[0]

    def _of_every_worker(self, number: float) -> list[float]:
        if self.workers == 1:
            return [number]
        # What each replica adds is a whole number of at most 2^53: the sum is exact.
        own = tf.one_hot(self.worker, self.workers, on_value=tf.constant(number, tf.float64), dtype=tf.float64)
        sums = _sum_over_replicas(self.strategy)(own).numpy()
        return (sums / (self.replicas // self.workers)).tolist()


def make_devices(name: str) -> Devices:
    """Return the devices of a strategy's name.

    Args:
        name: "none", one device; "mirrored", every GPU, or every logical CPU where there is no GPU; "multi_worker",
            the devices of every process of the cluster that TF_CONFIG or SLURM describes; "tpu", the TPU that this
            machine is attached to; "auto", mirrored where there are several GPUs. On Keras's JAX backend "mirrored",
            and "auto" with several devices, is `keras.distribution.DataParallel`.
    Raises:
        InputError: the name is unknown, or there are no such devices.
    """
    if name not in _MAKERS:
        raise InputError(f"strategy must be one of {', '.join(_MAKERS)}; got {name!r}")
    if keras.backend.backend() == "jax":
        return _jax(name)
    return _MAKERS[name]()


def _one() -> Devices:
    strategy = tf.distribute.get_strategy()
    return Devices(strategy.num_replicas_in_sync, strategy.scope, strategy)


def _every() -> Devices:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    strategy = _mirrored(tuple(device.name for device in devices))
    return Devices(strategy.num_replicas_in_sync, strategy.scope, strategy)


def _auto() -> Devices:
    return _every() if len(tf.config.list_logical_devices("GPU")) > 1 else _one()


def _workers() -> Devices:
    cluster = find_cluster()
    strategy = _joined(cluster)
    return Devices(
        strategy.num_replicas_in_sync, strategy.scope, strategy, worker=cluster.index, workers=len(cluster.workers)
    )


def _tpu() -> Devices:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(f"this machine is attached to no TPU ({error}); use auto, none or mirrored") from None
    strategy = tf.distribute.TPUStrategy(resolver)
    return Devices(strategy.num_replicas_in_sync, strategy.scope, strategy)


_MAKERS: dict[str, Callable[[], Devices]] = {
    "auto": _auto,
    "none": _one,
    "mirrored": _every,
    "multi_worker": _workers,
    "tpu": _tpu,
}


def _jax(name: str) -> Devices:
    available = keras.distribution.list_devices()
    if name == "none" or (name == "auto" and len(available) == 1):
        return Devices(1, contextlib.nullcontext)
    if name in ("auto", "mirrored"):
        return Devices(
            len(available), keras.distribution.DataParallel(devices=available, auto_shard_dataset=False).scope
        )
    raise InputError(f"strategy {name} is TensorFlow's; on the JAX backend use auto, none or mirrored")


# One strategy a process: a second one numbers its collectives from the start again, and they meet those of the first.
@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


_joined = functools.cache(join)


@functools.cache
def _sum_over_replicas(strategy) -> Callable[[tf.Tensor], Any]:
    def summed(own):
        on_device = tf.identity(own)  # a collective wants to know where
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, on_device)

    @tf.function
    def over_replicas(own):
        return strategy.experimental_local_results(strategy.run(summed, args=(own,)))[0]

    return over_replicas
