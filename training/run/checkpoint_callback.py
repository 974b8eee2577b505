"""Save a run so that the next process can go on where this one was killed."""

import contextlib
import csv
import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_se.atomic_files import write_bytes
from keras_se.training.distribution.strategy import Devices
from keras_se.training.run.checkpoint import Checkpoints, Progress, numbered, write_state

TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as shells and Kubernetes know it: 143."""
TIMINGS = ("seconds", "images_per_second")
"""Columns of a history that no two runs have alike."""
_ASK_EVERY = 10  # steps between the questions whether another worker has been told to stop


class CheckpointCallback(keras.callbacks.Callback):
    """Keeps a run's progress on disk: a checkpoint at the end of an epoch, every `every` updates and upon SIGTERM.

    The chief alone writes. At the end of an epoch `best`, the weights of the epoch with the best test accuracy, is
    written before the checkpoint that says so: a process killed between the two computes that epoch again, to the
    same end.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        devices: Devices,
        *,
        best: Path,
        history: Path,
        every: int,
        learning_rate: Callable[[int], Any] | None = None,
        batch_size: int = 0,
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.devices = devices
        self.best = best
        self.history = history
        self.every = every
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self._begun_at = self._trained_at = time.perf_counter()
        self._told_to_stop = False
        self._begun_before = progress.begun  # of this epoch, in an earlier process
        self._logs: dict = {}
        self._batches = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGTERM end the run after the update that is being computed, here and in all workers."""
        if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
            yield
            return
        before = signal.signal(signal.SIGTERM, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _stop(self, *_) -> None:
        self._told_to_stop = True

    def on_epoch_begin(self, epoch, logs=None):
        self._batches = 0
        self._begun_at = time.perf_counter()

    def on_test_begin(self, logs=None):
        self._trained_at = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += 1
        self._batches += 1
        self._logs = logs or {}  # means over the batches of this epoch and process
        if self._all_stop(self.progress.step):
            self._terminate()
        if self.every and self.progress.step % self.every == 0:
            self._save()

    def on_test_batch_end(self, batch, logs=None):
        if self._all_stop(batch):
            self._terminate()

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        sums = self._sums({name: value for name, value in logs.items() if not name.startswith("val_")})
        batches = sums.pop("batches")
        means = {name: value / batches for name, value in sums.items()}
        measured = {name: float(value) for name, value in logs.items()}
        self.progress.history.append({"epoch": epoch, **measured, **means, **self._further()})
        self.progress.begun = self._begun_before = {}
        self._batches = 0
        self._logs = {}
        if logs["val_accuracy"] > self.progress.best:
            self.progress.best = float(logs["val_accuracy"])
            if self.devices.chief:
                model: Any = self.model
                with self.checkpoints.disk_trouble_named(self.best):
                    write_state(self.best, numbered(model.variables))
        if self.devices.chief:
            with self.checkpoints.disk_trouble_named(self.history):
                _write_rows(self.history, self.progress.history)
        self._save()
        if self.devices.in_any_worker(self._told_to_stop):
            self._leave()

    def _further(self) -> dict[str, float]:
        """Return the learning rate of the epoch's last update, and how long the epoch took this process."""
        if self.learning_rate is None:
            return {}
        training = max(self._trained_at - self._begun_at, 1e-9)
        return {
            "learning_rate": float(self.learning_rate(self.progress.step - 1)),
            "seconds": time.perf_counter() - self._begun_at,
            "images_per_second": self._batches * self.batch_size / training,
        }

    def _all_stop(self, number: int) -> bool:
        if self.devices.workers == 1:
            return self._told_to_stop
        return number % _ASK_EVERY == 0 and self.devices.in_any_worker(self._told_to_stop)

    def _terminate(self) -> None:
        self._save()
        self._leave()

    def _leave(self) -> None:
        done = f"stopped by SIGTERM after update {self.progress.step}"
        print(f"keras-se: {done}; go on with --resume", file=sys.stderr, flush=True)
        self.devices.wait_for_all()  # a launcher may end the others once one is gone, and the chief still writes
        raise SystemExit(TERMINATED)

    def _save(self) -> None:
        model: Any = self.model
        if hasattr(model, "jax_state_sync"):  # its variables lag behind while it trains
            model.jax_state_sync()
        self.progress.begun = self._sums(self._logs)
        if self.devices.chief:
            self.checkpoints.save(model, self.progress)

    def _sums(self, means) -> dict[str, float]:
        here = {"batches": 1.0, **means} if self._batches else {}
        before = self._begun_before
        names = {**before, **here}  # in their order
        return {name: float(here.get(name, 0.0)) * self._batches + before.get(name, 0.0) for name in names}


def _write_rows(path: Path, rows: list[dict[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())
