"""`distributed(model)` on two logical CPUs and in two processes against plain Keras on one device.

Each mode trains in a process of its own, `distributed_cases.py`, at a deadline. Two logical CPUs compute almost
every case each time, two processes a few; the others are slow.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_se.training.distribution.cluster import TF_CONFIG
from keras_se.training.distribution.local_launcher import local_clusters

SCRIPT = Path(__file__).with_name("distributed_cases.py")
DEADLINE = 300  # seconds; a collective that waits for a peer waits for ever
# Three updates of float32 rounding apart, since sums over the batch are taken in two halves. Measured: 4e-7.
SAME_WEIGHTS = 1e-5
# The same in float16, whose eleven bits are 5e-4 of a value: the halves are rounded before they are added. Measured:
# 2.4e-4.
SAME_WEIGHTS_FLOAT16 = 1e-3

MODES = ("mirrored", "worker0", "worker1")
SAME_AS_ONE_DEVICE = (
    "no_norm",
    "synchronized_norm",
    "global_clipnorm",
    "steps_per_execution",
    "micro_batches",
    "average_of_weights",
    "schedule",
    "partial_training_batch",
    "weighted_samples",
    "partial_evaluation",
    "quantization_aware",
)


CASES = (*SAME_AS_ONE_DEVICE, "local_norm", "overflow", "compiled_passes", "plain_passes", "random_layers", "refusals")
COSTLY = ("compiled_passes", "plain_passes", "quantization_aware")
"""Cases that take XLA's compiler, or a graph of many roundings: slow in each mode."""
OF_WORKERS = ("synchronized_norm", "global_clipnorm", "refusals")
"""Cases that two processes compute each time: means over replicas in the pass, of gradients, and an error on both."""


def modes(case):
    """Parameters of a test that holds a case in each mode."""
    return [pytest.param(mode, marks=[pytest.mark.slow] * is_slow(mode, case)) for mode in MODES]


def is_slow(mode, case):
    return case in COSTLY or (mode.startswith("worker") and case not in OF_WORKERS)


SAME = [
    pytest.param(case, mode, marks=[pytest.mark.slow] * is_slow(mode, case))
    for case in SAME_AS_ONE_DEVICE
    for mode in MODES
]


class Computed:
    """Results of each mode's process: `computed(mode, case)` is `{name: array}`."""

    def __init__(self, folder):
        self._folder, self._files = folder, {}

    def __call__(self, mode, case):
        worker = mode.startswith("worker")
        first = case in OF_WORKERS if worker else case not in COSTLY
        if (mode, first) not in self._files:
            self._run(worker, first)
        arrays, start = self._files[mode, first], f"{case}/"
        return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}

    def _run(self, workers, first):
        """Compute the cases of each time, or else the others, in the processes that belong together."""
        if workers:
            chosen = {*OF_WORKERS} if first else {*CASES} - {*OF_WORKERS}
            environments = {f"worker{cluster.index}": {TF_CONFIG: cluster.tf_config()} for cluster in local_clusters(2)}
        else:
            chosen = {*CASES} - {*COSTLY} if first else {*COSTLY}
            environments = {"one": {}, "mirrored": {}}
        files = {mode: self._folder / f"{mode}-{'first' if first else 'others'}.npz" for mode in environments}
        processes = {
            mode: subprocess.Popen(
                [sys.executable, SCRIPT, "worker" if workers else mode, files[mode], *sorted(chosen)],
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for mode, environment in environments.items()
        }
        finish(processes)
        self._files |= {(mode, first): dict(np.load(file)) for mode, file in files.items()}


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return Computed(tmp_path_factory.mktemp("modes"))


def finish(processes):
    try:
        printed = {mode: process.communicate(timeout=DEADLINE)[0] for mode, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    for mode, process in processes.items():
        assert process.returncode == 0, printed[mode]


@pytest.mark.parametrize(("case", "mode"), SAME)
def test_is_what_one_device_computes(computed, mode, case):
    expected, arrays = computed("one", case), computed(mode, case)
    assert expected.keys() == arrays.keys()
    assert expected
    for name, value in expected.items():
        np.testing.assert_allclose(arrays[name], value, rtol=0, atol=SAME_WEIGHTS, err_msg=name)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] * is_slow("worker0", case))
        for case in (*SAME_AS_ONE_DEVICE, "overflow", "compiled_passes", "plain_passes")
    ],
)
def test_workers_are_the_same_bit_for_bit(computed, case):
    arrays, others = (computed(worker, case) for worker in ("worker0", "worker1"))
    for name, value in arrays.items():
        np.testing.assert_array_equal(value, others[name], err_msg=name)


@pytest.mark.parametrize("mode", modes("schedule"))
def test_updates_are_counted_once_for_all_replicas(computed, mode):
    assert computed(mode, "schedule")["iterations"] == 3


@pytest.mark.parametrize("mode", modes("local_norm"))
def test_local_statistics_are_averaged(computed, mode):
    """The network begins with the normalisation, so that NumPy knows what each replica saw: a half of each batch."""
    images = inputs().reshape(3, 2, 4, 6, 6, 2).astype(float)  # updates, replicas, images
    mean, variance = np.zeros(2), np.ones(2)
    for update in images:
        mean = 0.5 * mean + 0.5 * update.mean((1, 2, 3)).mean(0)
        variance = 0.5 * variance + 0.5 * update.var((1, 2, 3)).mean(0)
    arrays = computed(mode, "local_norm")
    for replica in (0, 1) if mode == "mirrored" else (0,):
        np.testing.assert_allclose(arrays[f"mean{replica}"], mean, atol=SAME_WEIGHTS)
        np.testing.assert_allclose(arrays[f"variance{replica}"], variance, atol=SAME_WEIGHTS)


def inputs():
    return np.random.default_rng(0).normal(size=(24, 6, 6, 2)).astype("float32")


def test_replicas_are_the_same_bit_for_bit(computed):
    arrays = computed("mirrored", "local_norm")
    for name in ("mean", "variance", "kernel"):
        np.testing.assert_array_equal(arrays[f"{name}0"], arrays[f"{name}1"])


@pytest.mark.parametrize("mode", modes("overflow"))
def test_an_overflow_on_one_replica_leaves_out_the_update_on_all(computed, mode):
    arrays = computed(mode, "overflow")
    for name, value in computed("one", "overflow").items():
        assert np.isfinite(arrays[name]).all()
        np.testing.assert_allclose(arrays[name], value, rtol=0, atol=SAME_WEIGHTS_FLOAT16, err_msg=name)
    assert arrays["iterations"] == 2
    assert arrays["scale"] == 2.0**14  # halved from 2^15


@pytest.mark.parametrize("mode", modes("plain_passes"))
def test_compiled_passes_are_the_plain_ones(computed, mode):
    """XLA sums in another order."""
    plain, compiled = (computed(mode, case) for case in ("plain_passes", "compiled_passes"))
    for expected, value in zip(plain.values(), compiled.values(), strict=True):
        np.testing.assert_allclose(expected, value, rtol=0, atol=SAME_WEIGHTS)


@pytest.mark.parametrize("mode", modes("random_layers"))
def test_replicas_draw_other_numbers_the_first_its_own(computed, mode):
    """Each replica's are two rows of what dropout leaves of ones."""
    alone, arrays = computed("one", "random_layers"), computed(mode, "random_layers")
    for draw in ("first", "second"):
        both = arrays[draw]
        np.testing.assert_array_equal(both[:2], alone[draw])
        # Independent: of 128 positions about half are kept on one and not on the other.
        assert 35 < np.sum((both[:2] > 0) != (both[2:] > 0)) < 93
    assert (arrays["first"] != arrays["second"]).any()


def test_misuse_is_refused_with_the_remedy(computed):
    assert {name: str(value) for name, value in computed("mirrored", "refusals").items()} == {
        "compiled_outside": "compile must be called inside the scope of the model's strategy, or its schedules count "
        "every replica; call it in `with strategy.scope():`",
        "built_outside": "the model must be built inside the scope of the strategy it is distributed with; 'outside' "
        "was built outside that of MirroredStrategy: build it in `with strategy.scope():`",
        "jit_compile": "jit_compile=True fails under a strategy; use distributed(model, jit_compile=True)",
        "compiled_statistics": "jit_compile=True cannot hold batch statistics over all replicas; build 'norm' with "
        "synchronized=False, or leave jit_compile out",
        "accumulation": "gradient_accumulation_steps fails under a strategy; use distributed(model, micro_batches=4), "
        "with that many times the batch",
        "small_batch": "a batch must have an image for each of the 2 replicas; got one of 1: use a larger batch, and "
        "drop the rest with drop_remainder=True",
        "small_last_batch": "a batch must have an image for each of the 2 replicas; got one of 1: use a larger batch, "
        "and drop the rest with drop_remainder=True",
        "small_last_batch_of_a_dataset": "each replica must get an image of every training batch; batch with "
        "drop_remainder=True",
        "steps_per_execution": "steps_per_epoch must be a multiple of steps_per_execution=2, over a dataset that "
        "repeats; got steps_per_epoch=3",
    }


@pytest.mark.parametrize("worker", ["worker0", "worker1"])
def test_both_workers_refuse_a_last_batch_that_is_too_small(computed, worker):
    said = str(computed(worker, "refusals")["small_last_batch"])
    assert said.startswith("a batch must have an image for each of the 2 replicas; got one of 1")
