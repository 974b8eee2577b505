"""Answers of a command: one line of refusal on standard error, or one JSON document."""

import json

from keras_se.cli import main


def refusal(capsys, *arguments):
    """Return the one line on standard error of a command that is refused."""
    assert main.run(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = printed.err.splitlines()
    assert line.startswith("keras-se: ")
    return line


def document(capsys, *arguments, status=0, after=()):
    """Return what a command prints with --json."""
    assert main.run([*arguments, "--json", *after]) == status
    return json.loads(capsys.readouterr().out)
