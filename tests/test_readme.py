"""What the README says of itself."""

import shlex
import subprocess
from pathlib import Path

from keras_se import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_table_of_models_is_the_commands(capsys):
    command = "keras-se models --markdown"
    before, _, after = README.partition(f"<!-- {command} -->\n")
    assert before != README
    assert cli.run(command.split()[1:]) == 0
    assert after.partition("\n<!-- end -->")[0] == capsys.readouterr().out.rstrip()


def test_ci_runs_the_readmes_own_commands():
    """.ci/run takes the set-up and the test command from the line that a stranger copies."""
    [line] = [line for line in README.splitlines() if "&& .venv/bin/pytest" in line]
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    script = ROOT / ".ci" / "run"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "README.md" in script.read_text()


def test_the_commands_that_it_shows_can_be_given():
    """Every one, with the options that stand there."""
    lines = README.replace("\\\n", " ").splitlines()
    shown = [shlex.split(line, comments=True) for line in lines if line.startswith("keras-se ")]
    commands = [cli._parse(arguments) for _, *arguments in shown]
    kinds = {type(command) for command in commands}
    assert kinds == {cli.Models, cli.Train, cli.Check, cli.Export, cli.Parity, cli.Diagnose, cli.Launch}
    for command in commands:
        if isinstance(command, cli.Launch):
            assert isinstance(cli._parse(list(command.command)), cli.Train)
