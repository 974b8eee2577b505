"""README, pages and records of the project agree with its code and with each other."""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import keras_se
from keras_se.cli import main
from keras_se.export.quantization.recipes import DEFAULT_RECIPES, RECIPES
from keras_se.export.targets.registry import TARGETS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def names_in_first_column(text: str, title: str) -> list[str]:
    """Return the names in code in the first column of the table whose header starts with `title`."""
    [table] = re.findall(rf"^\| {title} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_its_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert all((ROOT / link).is_file() for link in links if not link.startswith("https://")), links


def test_ci_runs_its_own_commands():
    """.ci/run takes the set-up and the test command from the line that a stranger copies."""
    [line] = [line for line in README.splitlines() if "&& .venv/bin/pytest" in line]
    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    script = ROOT / ".ci" / "run"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "README.md" in script.read_text()


def test_its_formats_are_those_of_the_quickstart():
    assert names_in_first_column(README, "recipe") == list(DEFAULT_RECIPES)


def test_the_page_on_export_has_every_format():
    assert names_in_first_column((ROOT / "docs" / "export.md").read_text(), "recipe") == list(RECIPES)


def test_every_target_is_in_the_table_of_targets_and_no_table_has_another():
    complete, chosen = (
        [re.sub("^_", "ethos_", name) for name in names_in_first_column(page.read_text(), "target")]
        for page in (ROOT / "docs" / "targets" / "index.md", ROOT / "README.md")
    )
    assert [name for name in TARGETS if not any(fnmatch.fnmatch(name, pattern) for pattern in complete)] == []
    assert [pattern for pattern in (*complete, *chosen) if not fnmatch.filter(TARGETS, pattern)] == []
    assert set(chosen) <= set(complete)


@pytest.mark.slow
def test_the_table_of_models_is_the_commands(capsys):
    command = "keras-se models --markdown"
    before, mark, after = (ROOT / "docs" / "models.md").read_text().partition(f"<!-- {command} -->\n")
    assert mark, before
    assert main.run(command.split()[1:]) == 0
    assert after.partition("\n<!-- end -->")[0] == capsys.readouterr().out.rstrip()


def test_the_extras_are_listed():
    listed = names_in_first_column((ROOT / "docs" / "start.md").read_text(), "extra")
    assert sorted(name.strip("[]") for name in listed) == sorted(PYPROJECT["project"]["optional-dependencies"])


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == keras_se.__version__
    assert f"## {keras_se.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_commits_are_checked_by_the_ruff_of_the_project():
    [pinned] = [name for name in PYPROJECT["dependency-groups"]["style"] if name.startswith("ruff==")]
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["additional_dependencies"] for hook in repository["hooks"]] == [[pinned], [pinned]]


def test_files_that_the_pages_name_are_there():
    pages = (ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    named = {name for page in pages for name in re.findall(r"`((?:\w+|\.ci)/[\w./]+)`", page.read_text())}
    rooms = {"benchmarks", "docs", "examples", "export", "keras_se", "tests", "training", ".ci"}
    ours = {name for name in named if name.split("/")[0] in rooms}
    assert [name for name in ours if not (ROOT / name).exists()] == []
