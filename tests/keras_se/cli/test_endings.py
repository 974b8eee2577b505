"""Status and one line of a command that fails, is interrupted, or cannot write."""

import errno
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import keras
import pytest

import keras_se_cli
from keras_se import atomic_files
from keras_se.cli import main, models

COMMAND = str(Path(sysconfig.get_path("scripts")) / "keras-se")
MODELS = ("models", "se_mobilenet")


def ending(capsys, monkeypatch, error, *options):
    """Return the status and the standard error of a command that raises `error`."""

    def fail(self):
        raise error

    monkeypatch.setattr(models.Models, "run", fail)
    status = main.run([*MODELS, *options])
    printed = capsys.readouterr()
    assert printed.out == ""
    return status, printed.err


def test_an_unforeseen_error_is_status_70_and_one_line_that_asks_for_a_report(capsys, monkeypatch):
    status, printed = ending(capsys, monkeypatch, KeyError("left\nright"))
    assert status == 70
    [line] = printed.splitlines()
    assert "KeyError" in line
    assert "please report it with what --debug shows" in line


def test_debug_shows_the_trace_and_then_the_line(capsys, monkeypatch):
    status, printed = ending(capsys, monkeypatch, KeyError("left"), "--debug")
    assert status == 70
    assert printed.startswith("Traceback")
    assert printed.splitlines()[-1].startswith("keras-se: an error that should not happen")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/x/a.tflite"), 2, "/x/a.tflite: No space left on device"),
        (OSError("Can't write data"), 2, "Can't write data"),
        (MemoryError(), 2, "memory ran out; choose fewer or smaller images, or a smaller network"),
    ],
)
def test_what_is_known_to_happen_has_a_status_and_a_line(error, status, line, capsys, monkeypatch):
    assert ending(capsys, monkeypatch, error) == (status, f"keras-se: {line}\n")


def test_a_module_is_imported_from_the_current_folder(capsys, monkeypatch, tmp_path):
    (tmp_path / "own_layers_of_a_user.py").write_text("import keras\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert main.run([*MODELS, "--import", "own_layers_of_a_user"]) == 0
    assert "own_layers_of_a_user" in sys.modules
    capsys.readouterr()
    assert main.run([*MODELS, "--import", "own_layers_of_none"]) == 2
    assert "--import own_layers_of_none failed (ModuleNotFoundError" in capsys.readouterr().err


def test_a_reader_that_goes_is_no_error():
    """`keras-se models | head -1` ends well."""
    gone = subprocess.run(
        f"{COMMAND} {' '.join(MODELS)} | true; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (gone.stdout, gone.stderr) == ("0\n", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, *MODELS, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "keras-se: cannot write the result to standard output (No space left on device)\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Ctrl-C goes to a group of processes, which this system has not")
def test_ctrl_c_during_an_export_is_one_line_ends_the_children_and_leaves_nothing(golden, tmp_path):
    """Half a second after the first child began; the terminal sends it to all processes of the command."""
    arguments = ["export", golden / "model.keras", "--data", "digits", "--images", "1400", "--out", tmp_path / "out"]
    with subprocess.Popen(
        [COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as command:
        try:
            while not (children := list(children_of(command.pid))) and command.poll() is None:
                time.sleep(0.05)
            time.sleep(0.5)
            os.killpg(command.pid, signal.SIGINT)
            assert command.communicate(timeout=120)[1] == "keras-se: interrupted\n"
        finally:
            command.kill()
    assert command.returncode == 130
    assert children
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.rglob("out/*")) == []  # a slow processor is interrupted before the folder is made


@pytest.mark.parametrize(
    ("module", "status", "printed"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", 130, ""),
        ("def _xla_gc_callback(*_): gc.callbacks.clear(); os.kill(os.getpid(), signal.SIGINT)", 130, "after it\n"),
        (
            "signal.signal(signal.SIGINT, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGINT)",
            0,
            "after it\nat the end\n",
        ),
    ],
    ids=["an import", "a callback of the garbage collector", "a command that ignores it"],
)
def test_ctrl_c_is_not_lost_and_crashes_nothing_in(module, status, printed, tmp_path):
    """It is the command's own process, without what it imports."""
    (tmp_path / "in_between.py").write_text(f"import gc, os, signal\n{module}\n")
    script = """
import gc, keras_se_cli, sys, time
keras_se_cli.take_interrupts()
try:
    import in_between
    gc.callbacks += [one for name, one in vars(in_between).items() if name == "_xla_gc_callback"]
    gc.collect()
    print("after it", flush=True)
    time.sleep(0.5)
    print("at the end", flush=True)
except KeyboardInterrupt:
    print("keras-se: interrupted", file=sys.stderr)
    sys.exit(130)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(keras_se_cli.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, printed)
    assert done.stderr == ("keras-se: interrupted\n" if status else "")


def children_of(process: int) -> list[str]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    return listed.read_text().split() if listed.exists() else []


@pytest.mark.parametrize("whole", [0, 1, 2])
def test_a_disk_that_is_full_after_some_files_of_an_export_has_none_of_them(whole, tmp_path, monkeypatch, capsys):
    """The first `whole` files still fit."""
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image), name="net").save(tmp_path / "net.keras")
    write, written = Path.write_bytes, []

    def write_bytes(path, content):
        if path.parent == tmp_path / "out":
            written.append(path)
            if len(written) > whole:
                raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    arguments = ["export", tmp_path / "net.keras", "--recipes", "float32", "--out", tmp_path / "out"]
    status = main.run([*map(str, arguments)])
    names = ["net.float32.tflite.json", "net.float32.tflite"]
    if whole == len(names):
        assert status == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
        return
    assert status == 2
    assert capsys.readouterr().err == f"keras-se: {tmp_path / 'out' / names[whole]}: No space left on device\n"
    assert not any((tmp_path / "out").iterdir())


def test_a_full_disk_is_named_with_the_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match="No space left") as caught, atomic_files.replacing(path):  # noqa: SIM117
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_name_that_is_no_text_is_printed_and_no_traceback(tmp_path):
    """Names of a class, of an image that cannot be decoded, and of a file that is none."""
    for name in (b"ant", b"b\xe9"):
        folder = os.fsencode(tmp_path) + b"/data/" + name
        os.makedirs(folder)
        Path(os.fsdecode(folder + b"/broken\xff.png")).write_bytes(b"no image")
        Path(os.fsdecode(folder + b"/notes.t\xff")).write_bytes(b"")
    command = ["train", "--model", "se_mobilenet", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    run = subprocess.run([COMMAND, *command], capture_output=True, text=True, timeout=300)
    assert run.returncode == 2
    [line] = run.stderr.splitlines()
    assert line.startswith("keras-se: 2 of 2 images")
    assert r"broken\udcff.png" in line
    assert r"b\udce9" in line
