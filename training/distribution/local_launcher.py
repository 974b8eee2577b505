"""Several workers on one machine, to try out what a cluster would run."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from keras_se.training.distribution.cluster import TF_CONFIG, Cluster

GRACE = 30.0
"""Seconds that the other workers have to end by themselves once one has failed."""


def launch(command: Sequence[str], workers: int) -> int:
    """Run `keras-se COMMAND` in `workers` processes that train together, and wait for them.

    The first one's output is shown, and what all of them write to standard error. SIGTERM and SIGINT are passed on as
    SIGTERM. When one fails, the others have `GRACE` seconds to end by themselves.

    Returns:
        The exit status of the first that failed, or 0; 128 and its number for one that a signal ended.
    """
    started = [_start(command, cluster) for cluster in local_clusters(workers)]
    before = {number: signal.signal(number, lambda *_: _end(started)) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _wait(started)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for worker in started:
            worker.kill()
            worker.wait()


def local_clusters(workers: int) -> list[Cluster]:
    """Return a cluster of this machine's free ports, as each of its workers sees it."""
    addresses = _free_addresses(workers)
    return [Cluster(addresses, index, TF_CONFIG) for index in range(workers)]


def _start(command: Sequence[str], cluster: Cluster) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "keras_se_cli", *command],  # not what is in this folder
        env={**os.environ, TF_CONFIG: cluster.tf_config()},
        stdout=sys.stdout.fileno() if cluster.index == 0 else subprocess.DEVNULL,
        stderr=sys.stderr.fileno(),
        start_new_session=True,  # a terminal interrupts this process alone, which tells them to save
    )


def _wait(started: list[subprocess.Popen]) -> int:
    failed, deadline = 0, float("inf")
    while time.monotonic() < deadline:
        statuses = [worker.poll() for worker in started]
        if not failed and any(statuses):
            failed, deadline = next(filter(None, statuses)), time.monotonic() + GRACE
        if None not in statuses:
            break
        time.sleep(0.1)
    return 128 - failed if failed < 0 else failed


def _end(started: list[subprocess.Popen]) -> None:
    for worker in started:
        worker.terminate()


def _free_addresses(count: int) -> tuple[str, ...]:
    sockets = [socket.socket() for _ in range(count)]  # all open at once, so that no port is given twice
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    addresses = tuple(f"127.0.0.1:{listener.getsockname()[1]}" for listener in sockets)
    for listener in sockets:
        listener.close()
    return addresses
