"""Cluster that the environment describes."""

import json

import pytest

from keras_se.errors import InputError
from keras_se.training.distribution.cluster import Cluster, find_cluster

WORKERS = ["a:1", "b:2"]
SLURM = {  # what srun gives the second task on n10 of `srun -N 3 -n 4 --nodelist n[2,9-10]`
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "n[2,9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2),2",
    "SLURM_PROCID": "3",
    "SLURM_JOB_ID": "4200123",
    "SLURMD_NODENAME": "n10",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def environment(monkeypatch):
    for name in ("TF_CONFIG", *SLURM):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def config(cluster, task_type="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (config({"worker": WORKERS}, index=1), Cluster(("a:1", "b:2"), 1, "TF_CONFIG")),
        (config({"worker": WORKERS}, index="1"), Cluster(("a:1", "b:2"), 1, "TF_CONFIG")),  # as some operators write it
        (config({"chief": ["c:0"], "worker": WORKERS}, "chief"), Cluster(("c:0", "a:1", "b:2"), 0, "TF_CONFIG")),
        (config({"chief": ["c:0"], "worker": WORKERS}), Cluster(("c:0", "a:1", "b:2"), 1, "TF_CONFIG")),
    ],
)
def test_tf_config_names_the_workers_the_chief_first(environment, text, expected):
    environment(TF_CONFIG=text)
    assert find_cluster() == expected


def test_what_is_written_for_tensorflow_is_read_back(environment):
    cluster = Cluster(("a:1", "b:2"), 1, "TF_CONFIG")
    environment(TF_CONFIG=cluster.tf_config())
    assert find_cluster() == cluster


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        config({}),
        config({"worker": WORKERS}, index=2),
        config({"worker": WORKERS}, index=-1),
        config({"worker": WORKERS}, "evaluator"),
        json.dumps({"cluster": {"worker": WORKERS}}),
    ],
)
def test_another_tf_config_is_refused_with_an_example(environment, text):
    environment(TF_CONFIG=text)
    with pytest.raises(InputError, match="TF_CONFIG must be JSON like") as refused:
        find_cluster()
    assert repr(text) in str(refused.value)


def test_slurm_tells_the_hosts_and_which_of_them_this_is(environment):
    """Wherever the sorted list of hosts, n10 first, puts it."""
    environment(**SLURM)
    assert find_cluster() == Cluster(("n10:20123", "n10:20124", "n2:20123", "n9:20123"), 1, "SLURM")


def test_tf_config_comes_before_slurm(environment):
    environment(**SLURM, TF_CONFIG=config({"worker": WORKERS}))
    assert find_cluster().source == "TF_CONFIG"


@pytest.mark.parametrize("missing", sorted(set(SLURM) - {"SLURM_STEP_NODELIST"}))
def test_half_of_slurm_is_refused(environment, missing):
    environment(**{name: value for name, value in SLURM.items() if name != missing})
    with pytest.raises(InputError, match="SLURM's variables do not describe a step"):
        find_cluster()


def test_no_cluster_is_refused_with_the_ways_to_one(environment):
    with pytest.raises(InputError, match=r"set TF_CONFIG, start it with srun, or .*keras-se launch --workers 2"):
        find_cluster()
