"""Each code block of README.md, CONTRIBUTING.md and docs/: Python is run, shell commands are held to what they call.

A comment in front of a block of Python makes an exception: `<!-- slow: REASON -->` leaves it to the slow tests, and
`<!-- not run: REASON -->` leaves it at its imports.
"""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from keras_se.cli import main
from keras_se.export.quantization.observers import find_method
from keras_se.export.quantization.recipes import find_recipe
from keras_se.export.runtimes.registry import find_engine
from keras_se.export.targets.registry import find_target
from keras_se.registry import list_models
from keras_se.training import PRESETS

ROOT = Path(__file__).parents[1]
FOREIGN = ("cpp", "kotlin", "swift")
"""Languages of apps, for which there is no compiler here."""
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_FENCE = re.compile(r"(?:^<!-- (slow|not run): [^\n]+ -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of code."""

    place: str
    """Page and number of the block's first line."""
    language: str
    code: str
    exception: str
    """ "slow", "not run" or nothing."""


def blocks_of(page: str) -> Iterator[Block]:
    text = PAGES[page]
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start(3)) + 1
        yield Block(f"{page}:{line}", match[2], match[3], match[1] or "")


BLOCKS = {page: list(blocks_of(page)) for page in PAGES}


def pages_with_python(*exceptions: str) -> list[str]:
    return [
        page
        for page, blocks in BLOCKS.items()
        if any(block.language == "python" and block.exception in exceptions for block in blocks)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_that_is_tested(page):
    blocks = BLOCKS[page]
    assert {block.language for block in blocks} <= {"python", "sh", "text", *FOREIGN}  # a drawing is text
    text = PAGES[page]
    assert text.count("```") == 2 * len(blocks)
    assert len(re.findall("^<!-- (?:slow|not run)", text, re.MULTILINE)) == sum(
        bool(block.exception) for block in blocks
    )
    assert all(block.language in ("python", *FOREIGN) for block in blocks if block.exception)
    assert all(block.exception == "not run" for block in blocks if block.language in FOREIGN)


@pytest.mark.parametrize("page", pages_with_python(""))
def test_python_runs(page, tmp_path, monkeypatch):
    run(page, {""}, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with_python("slow"))
def test_slow_python_runs(page, tmp_path, monkeypatch):
    run(page, {"", "slow"}, tmp_path, monkeypatch)


def run(page, exceptions, folder, monkeypatch):
    """Run the blocks of a page one after the other, as a reader would paste them."""
    monkeypatch.chdir(folder)
    namespace = {}
    for block in BLOCKS[page]:
        if block.language == "python" and block.exception in exceptions:
            exec(compile(block.code, block.place, "exec"), namespace)


@pytest.mark.parametrize("page", pages_with_python("slow", "not run"))
def test_python_that_waits_imports_what_is_there(page):
    for block in BLOCKS[page]:
        if block.exception:
            tree = ast.parse(block.code, block.place)
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(tree, block.place, "exec"), {})


def shell_commands(code: str) -> Iterator[list[str]]:
    """Split shell code at line ends, `&&` and `|`; variables set in front of a command are left out."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, "&&"]:
            if not set(word) <= set("&|;"):
                if command or not re.fullmatch(r"[A-Z_]+=.*", word):
                    command.append(word)
            elif command:
                yield command
                command = []


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if any(b.language == "sh" for b in blocks)])
def test_shell_commands_can_be_given(page):
    for block in BLOCKS[page]:
        if block.language == "sh":
            for program, *arguments in shell_commands(block.code):
                name = program.removeprefix(".venv/bin/")
                assert name in PROGRAMS, f"{block.place}: {program}"
                PROGRAMS[name](arguments)


def test_commands_in_running_text_can_be_given():
    """Commands of tables that start a run are parsed, and so are the options that sentences name."""
    spans = {span for text in PAGES.values() for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)}
    scripts = " ".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    known = OPTIONS | set(re.findall(r"\"(--[a-z-]+)\"", scripts)) | {"--help", "--version"}
    for span in spans:
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", span)) <= known | PIP_OPTIONS, span
        program, *arguments = span.split()
        if program in ("sbatch", "kubectl", "python") and arguments:
            PROGRAMS[program](arguments)
        elif program == "keras-se" and arguments and arguments[0] not in ("…", "--version"):
            assert arguments[0] in {command.__name__.lower() for command in COMMANDS}, span


COMMANDS = (
    main.Quickstart,
    main.Models,
    main.Train,
    main.Evaluate,
    main.Predict,
    main.Launch,
    main.Check,
    main.Export,
    main.Parity,
    main.Diagnose,
    main.Bench,
    main.Excite,
    main.Report,
    main.Card,
)
OPTIONS = {f"--{name.replace('_', '-')}" for command in COMMANDS for name in command.__dataclass_fields__}
OPTIONS = OPTIONS - {"--imports"} | {"--import"}
PIP_OPTIONS = {"--group"}


def keras_se(arguments):
    """Parse the command, and look up the names among its values."""
    command = main._parse(arguments)
    match command:
        case main.Launch():
            keras_se(list(command.command))
        case main.Train():
            assert command.model in (*list_models(), None)  # weights may name it
            assert command.recipe in (*PRESETS, None)  # the images may choose it
        case main.Check() | main.Export():
            find_target(command.target, [find_recipe(name) for name in command.recipes or ()])
            find_method(getattr(command, "calibration_method", "min_max"))
        case main.Parity() | main.Bench():
            assert all(find_engine(name) for name in command.engines or ())


def pip(arguments):
    """Look up the extras of what is installed from here, and the dependency groups."""
    assert arguments.pop(0) == "install"
    if "--group" in arguments:
        assert arguments[-1] in PYPROJECT["dependency-groups"]
    for extra in re.findall(r"^(?:keras-se|\.)\[(\w+)\]$", "\n".join(arguments), re.MULTILINE):
        assert extra in PYPROJECT["project"]["optional-dependencies"]


def pytest_(arguments):
    """Look up markers, files, and at least one test for a name."""
    names = {"-m": "", "-k": "", "-n": "", "--dist": ""}
    words = iter(arguments)
    for word in words:
        if word in names:
            names[word] = next(words)
        else:
            assert word in ("-q", "-rs") or (ROOT / word).exists(), word
    markers = {line.split(":")[0] for line in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert names["-m"] in markers | {""}
    assert any(
        re.search(rf"def test_\w*{names['-k']}", path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")
    )


def python(arguments):
    """Look up the options of a script of ours, without running it."""
    script, *rest = arguments
    if script == "-m":
        return
    tree = ast.parse((ROOT / script).read_text())
    strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {word for word in rest if word.startswith("--")} <= strings, arguments


def file_at_the_end(arguments):
    assert (ROOT / arguments[-1]).is_file(), arguments


def nothing(arguments):
    """Do nothing: programs of others are not called here."""


PROGRAMS = {
    "keras-se": keras_se,
    "pip": pip,
    "pytest": pytest_,
    "python": python,
    "python3": python,
    "sbatch": file_at_the_end,
    "kubectl": file_at_the_end,
    ".ci/run": lambda arguments: file_at_the_end([".ci/run"]),
    **dict.fromkeys(("cd", "mkdocs", "npm", "pre-commit", "ruff"), nothing),
}
