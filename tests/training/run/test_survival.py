"""Runs that are killed and resumed, each in processes of its own: they end with the weights of one that was not."""

import os
import random
import re
import signal
import subprocess
import time

import keras
import numpy as np
import pytest
from training_processes import EPOCHS, Process, one_of, workers_of

from keras_se.training.distribution.cluster import TF_CONFIG, Cluster


@pytest.fixture(autouse=True)
def no_process_outlives_its_test(monkeypatch):
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *arguments, **named: started.append(popen(*arguments, **named)) or started[-1]
    )
    yield
    for process in started:
        process.kill()
        process.wait()


START = {"one device": one_of, "two workers": workers_of}


def weights_of(folder):
    return keras.models.load_model(folder / "model.keras").get_weights()  # not the seeds: Keras saves none


def assert_same_run(folder, expected):
    """Bit for bit; and nothing of what the killed processes left."""
    for weight, other in zip(weights_of(folder), weights_of(expected), strict=True):
        np.testing.assert_array_equal(weight, other)
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.keras", "run.json", "history.csv", "tensorboard"}
    rows = [(run / "history.csv").read_text().splitlines() for run in (folder, expected)]
    assert len(rows[0]) == len(rows[1]) == EPOCHS + 1


def finish(processes):
    assert [process.end() for process in processes] == [0] * len(processes), processes[0].text


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Function that returns the folder of a run that nobody killed, by how it runs."""
    folders = {}

    def folder_of(how):
        if how not in folders:
            folder = tmp_path_factory.mktemp("uninterrupted") / "run"
            finish(START[how](folder))
            folders[how] = folder
        return folders[how]

    return folder_of


def kill_and_resume(how, folder, kills, seed):
    """Begin a run, kill it at random moments while it trains and begin again, until it is finished.

    Returns:
        How often it was killed, at most `kills` times.
    """
    rng, killed = random.Random(seed), 0
    while True:
        processes = START[how](folder, resume=True)
        if killed == kills:
            finish(processes)
            return killed
        processes[0].wait_until_begun()
        time.sleep(rng.uniform(0, 0.5))
        for process in processes:  # a machine that goes down takes its workers with it
            process.popen.kill()
        statuses = [process.end() for process in processes]
        if statuses == [0] * len(processes):
            return killed
        killed += 1


@pytest.mark.slow
@pytest.mark.parametrize("how", START)
def test_a_run_killed_at_random_ends_with_the_weights_of_one_that_was_not(how, uninterrupted, tmp_path):
    killed = kill_and_resume(how, tmp_path / "run", kills=1, seed=0)
    assert killed
    assert_same_run(tmp_path / "run", uninterrupted(how))


MOMENTS = {
    "before a checkpoint gets its name": "replace /step- 3",
    "before the best weights do": "replace /best 2",
    "before the model does": "replace /model.keras 1",
    "before the record does": "replace /run.json 1",
    "before the checkpoints are removed": "unlink /best.safetensors 1",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_while_it_writes_goes_on(moment, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    assert Process(folder, environment={"KILL_AT": MOMENTS[moment]}).end() == -signal.SIGKILL
    left = [path.name for path in folder.rglob(".unfinished-*")]
    assert bool(left) == MOMENTS[moment].startswith("replace")
    finish(one_of(folder, resume=True))
    assert_same_run(folder, uninterrupted("one device"))


@pytest.mark.slow
@pytest.mark.parametrize(("how", "kills"), [("one device", 30), ("two workers", 15)])
def test_many_kills(how, kills, uninterrupted, tmp_path):
    """Each costs the start of a process, or of two."""
    killed = runs = 0
    while killed < kills:
        folder = tmp_path / str(runs)
        killed += kill_and_resume(how, folder, kills=kills - killed, seed=runs)
        assert_same_run(folder, uninterrupted(how))
        runs += 1
        print(f"{killed} kills, {runs} runs", flush=True)


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_143(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    process = Process(folder)
    process.wait_until_begun()
    process.popen.send_signal(signal.SIGTERM)
    assert process.end() == 143
    assert "stopped by SIGTERM after update" in process.text
    steps = [int(path.stem.split("-")[1]) for path in sorted((folder / "checkpoints").iterdir())]
    assert f"after update {steps[-1]};" in process.text
    finish(one_of(folder, resume=True))
    assert_same_run(folder, uninterrupted("one device"))


@pytest.mark.slow
def test_sigterm_to_one_worker_stops_both_at_the_same_update(uninterrupted, tmp_path):
    processes = workers_of(tmp_path / "run")
    processes[1].wait_until_begun()
    processes[1].popen.send_signal(signal.SIGTERM)
    assert [process.end() for process in processes] == [143, 143]
    said = [[line for line in process.text.splitlines() if "SIGTERM" in line] for process in processes]
    assert said[0] == said[1] != []
    finish(workers_of(tmp_path / "run", resume=True))
    assert_same_run(tmp_path / "run", uninterrupted("two workers"))


def lose_a_worker(folder, lost):
    """Kill one of two workers while they train: the other's exit status and what it printed."""
    processes, left = workers_of(folder), 1 - lost
    processes[0].wait_until_begun()
    processes[lost].popen.kill()
    return processes[left].end(), processes[left].text


@pytest.mark.slow
def test_a_lost_worker_ends_the_other_with_a_clear_error(tmp_path):
    status, text = lose_a_worker(tmp_path / "run", lost=0)
    assert status not in (0, -signal.SIGKILL)
    assert "worker 1 lost another of the 2 workers" in text


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_both_workers_go_on_after_one_was_lost(lost, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    status, text = lose_a_worker(folder, lost)
    assert status not in (0, -signal.SIGKILL)
    assert f"worker {1 - lost} lost another of the 2 workers" in text
    finish(workers_of(folder, resume=True))
    assert_same_run(folder, uninterrupted("two workers"))


def test_a_worker_whose_peer_does_not_come_is_ended_with_a_clear_error(tmp_path):
    cluster = Cluster(("127.0.0.1:20001", "127.0.0.1:20002"), 0, TF_CONFIG)
    environment = {TF_CONFIG: cluster.tf_config(), "KERAS_SE_START_DEADLINE": "3"}
    process = Process(tmp_path / "run", strategy="multi_worker", environment=environment)
    assert process.end() == -signal.SIGKILL
    assert "worker 0 of 2, by TF_CONFIG: 127.0.0.1:20001, 127.0.0.1:20002" in process.text
    assert "not all of them came within 3 s" in process.text
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_the_last_checkpoint_whole(uninterrupted, tmp_path):
    """A file system of 60 kB in memory, which only root may mount."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system; test_checkpoint.py has a full disk for everyone")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", disk], check=True)
    try:
        process = Process(disk / "run")
        assert process.end() == 1
        last = process.text.splitlines()[-1]
        assert re.search(r"cannot be written \(No space left on device\); step-\d+.safetensors is whole", last)
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        finish([Process(disk / "run", resume=True)])
        assert_same_run(disk / "run", uninterrupted("one device"))
    finally:
        subprocess.run(["umount", disk], check=True)
