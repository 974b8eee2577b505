"""Find the cluster of processes that train together in the environment, and join it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from keras_se.errors import InputError

TF_CONFIG = "TF_CONFIG"
START_DEADLINE = 300.0
"""Seconds that workers wait for each other at the start; KERAS_SE_START_DEADLINE in the environment is another."""


@dataclass(frozen=True)
class Cluster:
    """Addresses of the workers, `host:port`, in the order of their numbers, and this process's own number."""

    workers: tuple[str, ...]
    index: int
    source: str = field(compare=False)
    """Environment that named them: TF_CONFIG or SLURM."""

    def __str__(self):
        return f"worker {self.index} of {len(self.workers)}, by {self.source}: {', '.join(self.workers)}"

    def tf_config(self) -> str:
        """Return the cluster as `tf.distribute` reads it from the environment."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})


def find_cluster() -> Cluster:
    """Read the cluster of TF_CONFIG, as Kubernetes operators, Ray Train and Vertex set it; else of SLURM's step.

    Raises:
        InputError: neither is set, or it cannot be read.
    """
    if TF_CONFIG in os.environ:
        return _from_tf_config(os.environ[TF_CONFIG])
    if "SLURM_STEP_NODELIST" in os.environ:
        return _from_slurm()
    raise InputError(
        "multi_worker needs a cluster: set TF_CONFIG, start it with srun, or try it on this machine with "
        "`keras-se launch --workers 2 -- train …`"
    )


def _from_tf_config(text: str) -> Cluster:
    try:
        document = json.loads(text)
        jobs, task = document["cluster"], document["task"]
        # A chief is the first worker; evaluators and parameter servers have no part in this.
        named = [(job, number) for job in ("chief", "worker") for number in range(len(jobs.get(job, ())))]
        workers = tuple(jobs[job][number] for job, number in named)
        index = named.index((task["type"], int(task["index"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            'TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", '
            f'"index": 0}}}}; got {text!r} ({error!r})'
        ) from None
    return Cluster(workers, index, TF_CONFIG)


def _from_slurm() -> Cluster:
    try:
        # One worker a task; which GPUs it sees is SLURM's to say, so that any number of them will do here.
        tasks = int(os.environ["SLURM_STEP_NUM_TASKS"])
        # Of the first worker on a node; the others on it take the next ones, and other jobs others.
        port = 20_000 + int(os.environ["SLURM_JOB_ID"]) % 10_000
        resolver: Any = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        )
        workers = tuple(resolver.cluster_spec().job_tasks("worker"))
        # Not by SLURM's rank: the resolver sorts the hosts as text, n10 before n2.
        own = f"{os.environ['SLURMD_NODENAME']}:{port + int(os.environ['SLURM_LOCALID'])}"
        return Cluster(workers, workers.index(own), "SLURM")
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"SLURM's variables do not describe a step ({error!r}); start it with srun") from None


def join(cluster: Cluster) -> tf.distribute.Strategy:
    """Return the strategy of a cluster, once all its workers are there.

    A process whose peers do not come is killed after `START_DEADLINE`, with one line on standard error: nothing
    gentler ends TensorFlow's waiting.
    """
    os.environ[TF_CONFIG] = cluster.tf_config()
    print(f"keras-se: {cluster}", file=sys.stderr, flush=True)
    seconds = _start_deadline()
    with _killed_after(
        seconds, f"keras-se: {cluster}: not all of them came within {seconds:g} s; start them all again"
    ):
        return tf.distribute.MultiWorkerMirroredStrategy()


def _start_deadline() -> float:
    text = os.environ.get("KERAS_SE_START_DEADLINE", str(START_DEADLINE))
    try:
        return float(text)
    except ValueError:
        raise InputError(f"KERAS_SE_START_DEADLINE must be a number of seconds; got {text!r}") from None


_WATCHDOG = """
import os, select, signal, sys
seconds, parent, message = sys.argv[1:]
if not select.select([sys.stdin], [], [], float(seconds))[0]:  # the parent closes its end when it is done, or dies
    print(message, file=sys.stderr, flush=True)
    os.kill(int(parent), signal.SIGKILL)
"""


@contextlib.contextmanager
def _killed_after(seconds: float, message: str) -> Iterator[None]:
    # A process of its own: TensorFlow waits without letting any thread or signal handler of Python run.
    command = [sys.executable, "-c", _WATCHDOG, str(seconds), str(os.getpid()), message]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=_own_stderr()) as watchdog:
        try:
            yield
        finally:
            if watchdog.stdin:
                watchdog.stdin.close()


def _own_stderr() -> int | None:
    """Return the file that `sys.stderr` writes to, which is not descriptor 2 under the command line."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return None
