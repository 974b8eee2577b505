"""Programs in examples/ do what they say, as far as this machine has what they ask for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import yaml

from keras_se.cli import main
from keras_se.training.distribution.cluster import Cluster, find_cluster

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_with_stub(script, tmp_path, name, **environment):
    """Return what a program of that name, put in the way, is called with and finds in TF_CONFIG."""
    stub = tmp_path / name
    stub.write_text('#!/bin/bash\necho "$TF_CONFIG"\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["bash", "-c", script]
    done = subprocess.run(
        command, env={"PATH": path, **environment}, capture_output=True, text=True, check=True, timeout=60
    )
    tf_config, *arguments = done.stdout.splitlines()
    return tf_config, arguments


def assert_trains_on_workers(arguments):
    command = main._parse(arguments)
    assert isinstance(command, main.Train)
    assert (command.strategy, command.resume) == ("multi_worker", True)


def test_kubernetes_job_describes_its_cluster(tmp_path, monkeypatch):
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    spec = job["spec"]["template"]["spec"]
    container = spec["containers"][0]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(environment["WORKERS"]) == 2
    assert spec["subdomain"] == service["metadata"]["name"]
    tf_config, arguments = run_with_stub(
        container["args"][0], tmp_path, "keras-se", JOB_COMPLETION_INDEX="1", **environment
    )
    monkeypatch.setenv("TF_CONFIG", tf_config)
    hosts = [f"{job['metadata']['name']}-{index}.{spec['subdomain']}:8888" for index in range(2)]
    assert find_cluster() == Cluster(tuple(hosts), 1, "TF_CONFIG")
    assert_trains_on_workers(arguments)


def test_slurm_script_trains_on_workers(tmp_path):
    _, arguments = run_with_stub((EXAMPLES / "slurm.sh").read_text(), tmp_path, "srun", TF_CONFIG="")
    assert arguments[:2] == ["--kill-on-bad-exit=1", "keras-se"]
    assert_trains_on_workers(arguments[2:])


@pytest.mark.slow
def test_ray_train_runs_two_workers(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, EXAMPLES / "ray_train.py", "--workers", "2", "--epochs", "3", "--out", folder]
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_TMPDIR": "/tmp"}
    subprocess.run(command, env=environment, check=True, timeout=600)
    assert json.loads((folder / "run.json").read_text())["recipe"]["strategy"] == "multi_worker"
    assert keras.models.load_model(folder / "model.keras").output_shape == (None, 10)


STAND_IN = """#include <cstddef>
#include <cstdint>
#include <cstdio>
struct TfLiteIntArray { int size; int data[2]; };
struct TfLiteTensor {  // the fields of TFLite's that are used
  union { int8_t* int8; } data;
  TfLiteIntArray* dims;
  struct { float scale; int32_t zero_point; } params;
  size_t bytes;
};
"""
MAIN = """
int main() {
  const uint8_t rgb[3] = {0, 128, 255};
  int8_t pixels[3], scores[4] = {-128, 12, 127, 12};
  TfLiteIntArray shape = {2, {1, 4}};
  TfLiteTensor input = {{pixels}, &shape, {1 / 255.f, -128}, 3}, output = {{scores}, &shape, {1 / 256.f, -128}, 4};
  set_image(&input, rgb);
  float score;
  const int best = best_class(&output, &score);
  std::printf("%d %d %d %d %.4f", pixels[0], pixels[1], pixels[2], best, score);
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_the_functions_for_a_microcontroller_write_pixels_and_read_the_best_class(tmp_path):
    page = (EXAMPLES.parent / "docs/apps/microcontroller.md").read_text()
    functions = page.split("```cpp\n")[1].split("```")[0]
    source = tmp_path / "app.cc"
    source.write_text(STAND_IN + functions + MAIN)
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, "-o", tmp_path / "app"], check=True)
    printed = subprocess.run([tmp_path / "app"], check=True, capture_output=True, text=True).stdout
    assert printed == "-128 0 127 2 0.9961"  # the pixel less 128; 255 steps of 1/256
