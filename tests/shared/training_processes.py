"""Runs of tests/training/tiny_run.py in processes of their own, alone or two together."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from keras_se.training.distribution.cluster import TF_CONFIG
from keras_se.training.distribution.local_launcher import local_clusters

SCRIPT = Path(__file__).parents[1] / "training" / "tiny_run.py"
DEADLINE = 240  # seconds for a process to do what is waited for, on a busy machine
EPOCHS = 12  # of 6 updates, a checkpoint every 4: it lies within an epoch as often as at its end


class Process:
    """A run of tiny_run.py, which a test may kill."""

    def __init__(self, folder, *, strategy="none", epochs=EPOCHS, resume=False, environment=None):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as out:
            self.out = Path(out.name)
            self.popen = subprocess.Popen(
                [sys.executable, SCRIPT, folder, strategy, str(epochs), *["--resume"] * resume],
                stdout=out,
                stderr=out,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **(environment or {})},
            )

    @property
    def text(self):
        return self.out.read_text()

    def wait_until_begun(self):
        """Its first update is done, or it has ended."""
        end = time.monotonic() + DEADLINE
        while "begun" not in self.text and self.popen.poll() is None:
            assert time.monotonic() < end, self.text
            time.sleep(0.01)

    def end(self):
        """Its exit status, once it is there."""
        try:
            return self.popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise AssertionError(f"no end within {DEADLINE} s:\n{self.text}") from None


def workers_of(folder, **arguments):
    """Two processes that train together."""
    return [
        Process(folder, strategy="multi_worker", environment={TF_CONFIG: cluster.tf_config()}, **arguments)
        for cluster in local_clusters(2)
    ]


def one_of(folder, **arguments):
    return [Process(folder, **arguments)]
