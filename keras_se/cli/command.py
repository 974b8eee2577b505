"""Base of every command of `keras-se`.

A command is a frozen dataclass: its fields are its options, their docstrings the help of `--help`, and its `run`
returns the `keras_se.cli.tables.Rows` that `keras_se.cli.main` prints. Modules of commands import at the top only what
is cheap; Keras, training and export are imported in `run`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from tyro.conf import UseAppendAction, arg

from keras_se.cli.tables import Rows


def left_out(value: str, *, metavar: str) -> Any:
    """Say in the help what holds where an option without a default of its own is left out."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {value})")


@dataclass(frozen=True)
class Group:
    """Group of the help that an option stands in, as metadata of its type."""

    title: str


_EVERY_COMMAND = Group("of every command")


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """Options of every command."""

    example: ClassVar[str] = ""
    """A command line that works, which stands at the end of the help."""

    usage: ClassVar[str] = ""
    """Arguments of the usage line, where they are not the required ones in front of the options."""

    json: Annotated[bool, _EVERY_COMMAND] = False
    """One JSON document on standard output, and nothing else there."""
    imports: Annotated[UseAppendAction[tuple[str, ...]], arg(name="import", metavar="MODULE"), _EVERY_COMMAND] = ()
    """A module to import first, which registers a model's own layers with keras.saving.register_keras_serializable. It
    is found as `python -m MODULE` finds it; the option may be given several times."""
    debug: Annotated[bool, _EVERY_COMMAND] = False
    """Show the trace of an error too."""

    @abstractmethod
    def run(self) -> Rows:
        """Do the command's work.

        Raises:
            InputError: an option or an input file is wrong.
        """
