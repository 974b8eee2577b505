"""Command line: arguments in, a table or one JSON document out, and the exit status.

0: done, and every verdict passed. 1: a verdict failed, or the target would refuse a layer. 2: the arguments or the
input are wrong, with one line on standard error that says what and where. 3: another worker was lost. 70: an error
that nothing here foresaw. 130: Ctrl-C. 143: SIGTERM, and the run can be resumed.
"""

import contextlib
import importlib
import io
import itertools
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, get_args

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, subcommand

from keras_se.cli.bench import Bench
from keras_se.cli.card import Card
from keras_se.cli.check import Check
from keras_se.cli.command import Command
from keras_se.cli.diagnose import Diagnose
from keras_se.cli.evaluate import Evaluate
from keras_se.cli.excite import Excite
from keras_se.cli.export import Export
from keras_se.cli.help_text import command_help, program_help
from keras_se.cli.launch import Launch
from keras_se.cli.models import Models
from keras_se.cli.parity import Parity
from keras_se.cli.predict import Predict
from keras_se.cli.quickstart import Quickstart
from keras_se.cli.report import Report
from keras_se.cli.tables import Rows
from keras_se.cli.train import Train
from keras_se.errors import ClusterError, InputError, did_you_mean
from keras_se.versions import installed_versions

COMMANDS = (
    Annotated[Quickstart, subcommand("quickstart")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Predict, subcommand("predict")]
    | Annotated[Launch, subcommand("launch")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Parity, subcommand("parity")]
    | Annotated[Diagnose, subcommand("diagnose")]
    | Annotated[Bench, subcommand("bench")]
    | Annotated[Excite, subcommand("excite")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Card, subcommand("card")]
)

_COMMANDS: dict[str, type[Command]] = {
    get_args(command)[1].name: get_args(command)[0] for command in get_args(COMMANDS)
}

UNFORESEEN, INTERRUPTED = 70, 130  # EX_SOFTWARE of sysexits.h; 128 and SIGINT, as shells say it


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    try:
        if arguments == ["--version"]:
            print("\n".join(f"{name} {version}" for name, version in installed_versions().items()))
            return 0
        _check_command(arguments)
        if {"-h", "--help"} & set(itertools.takewhile(lambda word: word != "--", arguments)):
            _print_help(arguments)
            return 0
        command = _parse(arguments)
        # Whatever a library prints is not the document.
        with contextlib.redirect_stdout(sys.stderr if command.json else sys.stdout):
            _import(command.imports)
            result = command.run()
        _print(command, result)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        status, line = _ending(error)
        print(f"keras-se: {' '.join(line.split())}", file=sys.stderr)
        return status
    return result.status


def _check_command(arguments: list[str]) -> None:
    """Refuse a command that there is not, also where its help is asked for.

    Raises:
        InputError: the first word is none of them; the message names the nearest.
    """
    word = next(iter(arguments), "-")
    if not word.startswith("-") and word not in _COMMANDS:
        names = list(_COMMANDS)
        raise InputError(f"a command is one of {', '.join(names)}; got {word!r}{did_you_mean(word, names)}")


def _ending(error: BaseException) -> tuple[int, str]:
    """Return the exit status that an error ends with, and its line."""
    match error:
        case InputError():
            return 2, str(error)
        case ClusterError():
            return 3, str(error)
        case OSError(filename=None):
            return 2, error.strerror or str(error)
        case OSError():
            return 2, f"{error.filename}: {error.strerror}"
        case MemoryError():
            return 2, "memory ran out; choose fewer or smaller images, or a smaller network"
        case KeyboardInterrupt():
            return INTERRUPTED, "interrupted"
    summary = f"{type(error).__name__}: {error}"[:300]
    return UNFORESEEN, f"an error that should not happen ({summary}); please report it with what --debug shows"


def _import(modules: tuple[str, ...]) -> None:
    """Import the user's own modules, which lie in the current folder or are installed.

    Raises:
        InputError: one is not there, or raises an error.
    """
    if modules:
        sys.path.insert(0, str(Path.cwd()))  # where `python -m` looks first
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # it is the user's code
            raise InputError(f"--import {name} failed ({type(error).__name__}: {error})") from error


def _print(command: Command, result: Rows) -> None:
    """Write the result to standard output.

    Raises:
        InputError: it cannot be written. Where its reader has gone, as `head` does, nothing is missing.
    """
    try:
        if command.json:
            print(json.dumps(result.document, indent=2))
        elif getattr(command, "markdown", False):
            print(result.markdown())
        else:
            result.show(_Console(markup=False, emoji=False))  # [plot] and :bear: are names, and no styles
        sys.stdout.flush()
    except OSError as error:
        _discard_standard_output()
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write the result to standard output ({error.strerror})") from None


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller: rich would end the process with status 1."""
        raise BrokenPipeError


def _discard_standard_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter's last flush would fail too."""
    with contextlib.suppress(OSError, ValueError):  # a test's standard output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: list[str]) -> Command:
    """Read the command into its dataclass.

    Raises:
        InputError: the arguments are wrong, with the first paragraph of what the parser says.
        SystemExit: a script of shell completion was asked for.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(COMMANDS, prog="keras-se", args=arguments, config=(FlagCreatePairsOff,))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        name = next((f" {word}" for word in arguments[:1] if word in _COMMANDS), "")
        raise InputError(f"{_first_words(printed.getvalue())}; see keras-se{name} --help") from None


def _print_help(arguments: list[str]) -> None:
    """Print the help of the command that the arguments begin with, or of the program."""
    named = [word for word in arguments[:1] if word in _COMMANDS]
    try:
        print(command_help(named[0], _COMMANDS[named[0]]) if named else program_help(_COMMANDS), flush=True)
    except BrokenPipeError:  # its reader has gone, as `head` does
        _discard_standard_output()


def _first_words(box: str) -> str:
    """Return the first paragraph below the title of the box that the parser draws, in box characters or in ASCII."""
    lines = [line.strip("╭╮╰╯│|+ ") for line in box.splitlines()]
    drawn = [not line.strip("─-") for line in lines]  # rules, and empty lines
    below = list(zip(lines, drawn, strict=True))[drawn.index(False) + 1 :]
    words = itertools.takewhile(lambda row: not row[1], itertools.dropwhile(lambda row: row[1], below))
    return " ".join(line for line, _ in words)
