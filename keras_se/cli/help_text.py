"""Text that `--help` prints: a command's dataclass in, lines of at most 80 columns out.

Tyro reads the same dataclass, and prints a help of its own that has one group for all options and a usage line of any
length. Here the options stand in groups, those that must be given first and those of every command last.
"""

import dataclasses
import inspect
import shutil
import textwrap
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
from tyro.conf import Positional, arg

from keras_se.cli.command import Command, Group

_COLUMN = 26  # where the descriptions begin
_METAVARS = {str: "NAME", int: "INT", float: "FLOAT", Path: "PATH"}


@dataclasses.dataclass(frozen=True)
class _Argument:
    words: str
    description: str
    group: str
    usage: str


def program_help(commands: Mapping[str, type[Command]]) -> str:
    """Return the help of `keras-se`: the commands and what each does."""
    rows = [(name, _first_sentence(kind.__doc__ or "")) for name, kind in commands.items()]
    return "\n".join(
        [
            "usage: keras-se COMMAND [options]",
            "       keras-se --version",
            "       keras-se --tyro-print-completion bash|zsh|tcsh",
            "",
            *_wrapped("Squeeze-and-Excitation networks: trained, quantized, and proved on the engines of phones."),
            "",
            "commands:",
            *_table(rows),
            "",
            "`keras-se COMMAND --help` shows the options of a command.",
        ]
    )


def command_help(name: str, kind: type[Command]) -> str:
    """Return the help of a command: usage, description, its arguments in groups, and an example."""
    arguments = list(_arguments(kind))
    titles = sorted(dict.fromkeys(argument.group for argument in arguments), key=_rank)
    words = [argument.usage for argument in sorted(arguments, key=lambda argument: argument.group) if argument.usage]
    usage = f"usage: keras-se {name} {kind.usage or ' '.join([*words, '[options]'])}"
    lines = [*_wrapped(usage, indent=7), "", *_wrapped(kind.__doc__ or "")]
    for title in titles:
        rows = [(argument.words, argument.description) for argument in arguments if argument.group == title]
        lines += ["", f"{title}:", *_table(rows)]
    return "\n".join([*lines, "", "example:", *_wrapped(kind.example, start=2, indent=4)])


def _rank(group: str) -> int:
    """Return the place of a group: required first, then what has no group, groups of their own, every command's."""
    return {"arguments": 0, "required": 1, "options": 2, "of every command": 4}.get(group, 3)


def _arguments(kind: type[Command]) -> Iterable[_Argument]:
    """Yield the arguments of a command, those of the class itself before those of its bases."""
    hints = get_type_hints(kind, include_extras=True)
    descriptions = _descriptions(kind)
    own = inspect.get_annotations(kind)
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name not in own)
    for field in fields:
        yield _argument(field, hints[field.name], descriptions[field.name])


def _argument(field: dataclasses.Field, hint: Any, description: str) -> _Argument:
    metadata: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    option = next((part for part in metadata if hasattr(part, "help_behavior_hint")), arg())  # what tyro's arg gives
    required = field.default is dataclasses.MISSING
    unsaid = required or field.default is None or field.default is False or field.default == ()
    default = getattr(option, "help_behavior_hint", None) or ("" if unsaid else f"(default: {_spelled(field.default)})")
    description = f"{description} {default}".rstrip()
    if Positional in metadata:
        metavar = field.name.upper() + (" …" if get_origin(hint) is tuple else "")
        if required:
            return _Argument(metavar, f"{description} (required)", "arguments", metavar)
        return _Argument(f"[{metavar}]", description, "arguments", f"[{metavar}]")
    metavar = getattr(option, "metavar", None) or _metavar(hint)
    name = getattr(option, "name", None) or field.name.replace("_", "-")
    words = f"--{name} {metavar}".rstrip()
    group = next((part.title for part in metadata if isinstance(part, Group)), "options")
    return _Argument(words, description, "required" if required else group, words if required else "")


def _metavar(hint: Any) -> str:
    """Return the placeholder of a value of a type."""
    if hint is bool:
        return ""
    if get_origin(hint) in (Union, types.UnionType):
        [hint] = [member for member in get_args(hint) if member is not type(None)]
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    if get_origin(hint) is tuple:
        return f"{_METAVARS[get_args(hint)[0]]} …"
    return _METAVARS[hint]


def _spelled(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _descriptions(kind: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, those of its bases too."""
    descriptions: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            parsed = docstring_parser.parse_from_object(base)
            descriptions |= {field.arg_name: " ".join((field.description or "").split()) for field in parsed.params}
    return descriptions


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ")[0].rstrip(".") + "."


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    lines = []
    for words, description in rows:
        wrapped = _wrapped(description, start=_COLUMN, indent=_COLUMN)
        if len(words) + 4 <= _COLUMN:
            lines += [f"  {words}".ljust(_COLUMN) + wrapped[0][_COLUMN:], *wrapped[1:]]
        else:
            lines += [f"  {words}", *wrapped]
    return lines


def _wrapped(text: str, *, start: int = 0, indent: int = 0) -> list[str]:
    width = min(80, max(60, shutil.get_terminal_size().columns))
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=" " * start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
