"""Files run in a Python that a command starts: what comes back is what runs here, and what goes wrong is one line."""

import getpass
import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_se.cli import main
from keras_se.errors import InputError
from keras_se.export import benchmark, compare_all, diagnose, load_classifier
from keras_se.export.runtimes.registry import ELSEWHERE, run_file
from keras_se.export.sandbox import remote
from keras_se.export.sandbox.remote import running_on
from keras_se.export.tflite.model import TFLiteModel

NEEDED = ("numpy", "ai_edge_litert", "flatbuffers")
"""LiteRT's wheel needs the third."""
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture(scope="session")
def python(tmp_path_factory) -> str:
    """Command that starts a Python which has no more than a machine elsewhere needs."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for place in {Path(importlib.util.find_spec(name).origin).parents[1] for name in NEEDED}:
        for path in place.iterdir():
            if path.name.split("-")[0].split(".")[0] in NEEDED:
                (folder / path.name).symlink_to(path)
    return f"env PYTHONPATH={shlex.quote(str(folder))} {shlex.quote(sys.executable)} -S"


@pytest.mark.parametrize("engine", ELSEWHERE)
@pytest.mark.parametrize("recipe", ["float32", "static_wi8_ai8"])
def test_the_same_processor_gives_the_same_bits(engine, recipe, trained, python):
    file, images = TFLiteModel.load(trained.files[recipe]), trained.images[:3]
    here = run_file(engine, file, images, "x.tflite")
    with running_on(python):
        there = run_file(engine, file, images, "x.tflite")
    np.testing.assert_array_equal(there.values, here.values)
    assert there.lsb == here.lsb


def test_what_compares_measures_diagnoses_and_classifies_runs_there(trained, monkeypatch, python):
    called, call = [], remote.call
    monkeypatch.setattr(remote, "call", lambda function, **named: called.append(function) or call(function, **named))
    files, images = [trained.files[name] for name in ("float32", "static_wi8_ai8")], trained.images[:2]
    with running_on(python) as machine:
        rows = compare_all(trained.model, files[1:], images)
        [bench] = benchmark(files[1:], engines=("litert",), runs=2)
        assert diagnose(*files, images)
        scores = load_classifier(files[1]).scores(images)
    assert [name.removeprefix("keras_se.export.") for name in called] == [
        *["runtimes.registry:run_in_child"] * len(ELSEWHERE),
        "runtimes.litert:partitions",
        "evaluation.latency:measure",
        "evaluation.layer_errors:diagnose_in_child",
        "runtimes.registry:run_in_child",
    ]
    assert {row.engine for row in rows} == set(ELSEWHERE)
    assert {row.machine for row in rows} == {bench.machine} == {str(machine)}
    assert bench.median_ms > 0
    assert bench.partitions == 1
    np.testing.assert_array_equal(scores, load_classifier(files[1]).scores(images))
    assert benchmark(files[1:], engines=("litert",), runs=2)[0].machine is None


def test_the_machine_is_told(trained, python):
    with running_on(python) as machine:
        assert remote.machine() == machine
    assert remote.machine() is None
    assert machine.python == ".".join(map(str, sys.version_info[:3]))
    assert machine.architecture == os.uname().machine
    assert machine.versions["numpy"] == np.__version__
    assert machine.processors == os.cpu_count()
    flags = Path("/proc/cpuinfo").read_text()
    assert all(feature in flags for feature in machine.features)


def test_a_crash_there_is_one_line_and_the_next_call_runs(trained, python):
    file = TFLiteModel.load(trained.files["float32"])
    with running_on(python):
        with pytest.raises(InputError, match=r"^litert crashed on x\.tflite \(signal SIGABRT\)"):
            remote.call("os:abort", by="litert", file="x.tflite", steps=None, arguments={})
        with pytest.raises(InputError, match=r"^litert cannot run x\.tflite: "):
            remote.call("os:fork", by="litert", file="x.tflite", steps=None, arguments={"none": 1})
        assert len(run_file("litert", file, trained.images[:1], "x.tflite").values) == 1


def test_what_is_silent_is_ended(python):
    with running_on(python, silence=0.5) as machine:
        with pytest.raises(InputError, match=r"^.* must start Python; it has not answered for 0\.5 s$"):
            remote.call("signal:pause", by="litert", file="x.tflite", steps=None, arguments={})
        assert machine


def test_a_folder_of_the_login_hides_no_module(tmp_path, monkeypatch, trained, python):
    """Those who write for CircuitPython have a code.py there."""
    for name in ("code", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('it is this file that ran')")
    monkeypatch.chdir(tmp_path)
    with running_on(python) as machine:
        outputs = run_file("litert", TFLiteModel.load(trained.files["float32"]), trained.images[:1], "x.tflite")
    assert machine.versions["numpy"] == np.__version__
    assert outputs.values.shape == (1, 10)


def test_more_threads_than_processors_there_are_refused(trained, python):
    with running_on(python), pytest.raises(InputError, match=r"threads must be at most the \d+ processors of "):
        benchmark([trained.files["float32"]], threads=(100_000,))


def test_what_reads_no_further_is_ended(python):
    """A file of more than a pipe holds."""
    arguments = {"content": bytes(1 << 20)}
    with running_on(python, silence=1):
        os.kill(remote._remote.get()._process.pid, signal.SIGSTOP)
        with pytest.raises(InputError, match=r"it has not answered for 1 s$"):
            remote.call("os:abort", by="litert", file="x.tflite", steps=None, arguments=arguments)


def script(text):
    return f"sh -c {shlex.quote(text)}"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "a command must start Python elsewhere, as 'ssh pi@raspberrypi python3'; got none"),
        ("ssh 'pi", 'the command must be words as a shell reads them (No closing quotation); got "ssh \'pi"'),
        ("/nowhere/python3", "'/nowhere/python3' must start Python; /nowhere/python3 cannot be run (No such file"),
        (script("exit 3"), "it ended with status 3"),
        (script("echo no such host >&2; exit 255"), "it ended with status 255: no such host"),
        (script("kill -9 $$"), "must start Python; signal 9 ended it"),
        (script("sleep 60"), "must start Python; it has not answered for 1 s"),
        (script("cat"), "must start Python; it has not answered for 1 s"),  # an echo of what is typed
        (script("echo kse1 ready; echo rubbish in place of a frame"), "print nothing else once it runs; it printed"),
        (f"{shlex.quote(sys.executable)} -S", "as this one; it has none: python3 -m pip install ai-edge-litert=="),
    ],
)
def test_what_is_no_such_python_is_one_line(command, message, monkeypatch):
    monkeypatch.setattr(remote, "_START", 1 if "60" in command or "cat" in command else 60)
    with pytest.raises(InputError) as raised, running_on(command):
        pass
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_another_version_there_is_refused(monkeypatch, python):
    monkeypatch.setattr(remote, "version", lambda name: "9.9.9")
    with (
        pytest.raises(InputError, match=r"must have ai-edge-litert 9\.9\.9, as this one; it has \d.*==9\.9\.9$"),
        running_on(python),
    ):
        pass


def test_what_runs_here_alone_is_refused(trained, python):
    with running_on(python), pytest.raises(InputError, match="must be one of litert, litert_reference; got tflm"):
        compare_all(trained.model, [trained.files["static_wi8_ai8"]], trained.images[:1], engines=["tflm"])


def test_the_command_says_where_it_ran(golden, trained, capsys, python):
    command = ["parity", str(golden / "model.keras"), str(trained.files["static_wi8_ai8"]), "--data", "digits"]
    assert main.run([*command, "--images", "4", "--on", python, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["engine"] for row in rows} == set(ELSEWHERE)
    assert all(f"({os.uname().machine}" in row["machine"] for row in rows)
    assert main.run([*command, "--on", "/nowhere/python3"]) == 2
    assert "must start Python; /nowhere/python3 cannot be run" in capsys.readouterr().err


@pytest.fixture
def over_ssh(tmp_path, python):
    """Command that starts Python over ssh, through a server on this machine with keys of its own."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("openssh-server is not installed")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # without which a server of root's does not start
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    server = subprocess.Popen([SSHD, "-D", "-f", "/dev/null", *options], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
        yield f"ssh -q -i {tmp_path / 'user'} -p {port} {known} {getpass.getuser()}@127.0.0.1 {python}"
    finally:
        server.kill()
        server.wait()


def test_over_ssh_it_is_the_same(over_ssh, trained):
    file, images = TFLiteModel.load(trained.files["static_wi8_ai8"]), trained.images[:3]
    with running_on(over_ssh):
        there = run_file("litert", file, images, "x.tflite")
    np.testing.assert_array_equal(there.values, run_file("litert", file, images, "x.tflite").values)
