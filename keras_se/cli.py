"""The command line: arguments in, a table or one JSON document out, and the exit status.

0: done, and every verdict passed. 1: a verdict failed, or the target would refuse a layer. 2: the arguments or the
input are wrong, with one line on standard error that says what and where. 3: another worker was lost. 143: SIGTERM,
and the run can be resumed.
"""

import contextlib
import io
import itertools
import json
import sys
from typing import Annotated, Any

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, subcommand

from keras_se.commands import Bench, Check, Diagnose, Export, Launch, Models, Parity, Quickstart, Train
from keras_se.errors import ClusterError, InputError

Command = (
    Annotated[Quickstart, subcommand("quickstart")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Launch, subcommand("launch")]
    | Annotated[Check, subcommand("check")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Parity, subcommand("parity")]
    | Annotated[Diagnose, subcommand("diagnose")]
    | Annotated[Bench, subcommand("bench")]
)


def run(arguments: list[str]) -> int:
    """Run the command line.

    Returns:
        The exit status.
    """
    try:
        command = _parse(arguments)
        # Whatever a library prints is not the document.
        with contextlib.redirect_stdout(sys.stderr if command.json else sys.stdout):
            result = command.run()
    except (InputError, OSError, ClusterError) as error:
        print(f"keras-se: {' '.join(str(error).split())}", file=sys.stderr)
        return 3 if isinstance(error, ClusterError) else 2
    if command.json:
        print(json.dumps(result.document, indent=2))
    elif getattr(command, "markdown", False):
        print(result.markdown())
    else:
        result.show(Console())
    return result.status


def _parse(arguments: list[str]) -> Any:
    """The command, as its dataclass.

    Raises:
        InputError: the arguments are wrong, with the first paragraph of what the parser says.
        SystemExit: help was asked for.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                Command,
                prog="keras-se",
                description="Squeeze-and-Excitation networks: trained, quantized, and proved on the engines of phones.",
                args=arguments,
                config=(FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(f"{_first_words(printed.getvalue())}; see keras-se --help") from None


def _first_words(box: str) -> str:
    """The first paragraph below the title of the box that the parser draws, in box characters or in ASCII."""
    lines = [line.strip("╭╮╰╯│|+ ") for line in box.splitlines()]
    drawn = [not line.strip("─-") for line in lines]  # rules, and empty lines
    below = list(zip(lines, drawn, strict=True))[drawn.index(False) + 1 :]
    words = itertools.takewhile(lambda row: not row[1], itertools.dropwhile(lambda row: row[1], below))
    return " ".join(line for line, _ in words)
