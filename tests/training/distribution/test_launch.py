"""Workers on this machine, started and watched; what they run is a stand-in for the command line."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from keras_se.training.distribution import local_launcher

PRINT = "import os; print(os.environ['TF_CONFIG'], flush=True)"
FAIL_IF_SECOND = (
    "import json, os, sys, time\nif json.loads(os.environ['TF_CONFIG'])['task']['index'] == 1: sys.exit(3)\n"
)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    """`launch` of a script instead of keras-se: its status, what it printed and how long it took."""
    popen = subprocess.Popen

    def launched(script, workers=2):
        monkeypatch.setattr(
            subprocess, "Popen", lambda command, **named: popen([sys.executable, "-c", script], **named)
        )
        with (tmp_path / "out").open("w") as out, monkeypatch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", out)
            start = time.monotonic()
            status = local_launcher.launch(("train",), workers)
        return status, (tmp_path / "out").read_text(), time.monotonic() - start

    return launched


def test_each_worker_has_its_part_in_one_cluster_and_the_first_is_shown(stand_in):
    status, printed, _ = stand_in(PRINT, workers=3)
    assert status == 0
    [line] = printed.splitlines()
    assert line.count("127.0.0.1:") == 3
    assert '"index": 0' in line


def test_the_status_of_the_one_that_failed_is_returned(stand_in):
    assert stand_in(FAIL_IF_SECOND)[0] == 3
    assert stand_in("import os; os.kill(os.getpid(), 9)")[0] == 137


def test_the_others_are_ended_when_one_has_failed(stand_in, monkeypatch):
    monkeypatch.setattr(local_launcher, "GRACE", 0.5)
    status, _, seconds = stand_in(FAIL_IF_SECOND + "time.sleep(60)")
    assert status == 3
    assert seconds < 30


def test_sigterm_is_passed_on(stand_in):
    timer = threading.Timer(2, signal.raise_signal, (signal.SIGTERM,))
    timer.start()
    status, _, seconds = stand_in("import time; time.sleep(60)")
    assert status == 128 + signal.SIGTERM
    assert seconds < 30
