# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md names functions that exist, and draws the layers that are checked."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MAX_FILES = 21  # on an image's way through the node


def rows(section: str) -> list[tuple[str, list[str]]]:
    """File and functions of each row of a section's table."""
    text = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"\]\(\.\./(mllmseg_ros/[\w/]+\.py)\) \| (.*) \|$", text, re.MULTILINE)
    return [(file, re.findall(r"`(\w+)`", functions)) for file, functions in found]


def definitions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("section", ["From image message to result", "Inside an inference"])
def test_each_stage_names_functions_of_its_file(section: str) -> None:
    assert len(rows(section)) >= 7
    for file, functions in rows(section):
        assert functions, file
        assert set(functions) <= definitions(file), file


def test_an_image_passes_few_files() -> None:
    files = [file for file, _ in rows("From image message to result")]
    assert len(files) == len(set(files)), "a row goes back to a file"
    assert len(files) <= MAX_FILES
    assert f"That is {len(files)} files." in PAGE


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_the_page_draws_the_layers_that_lint_checks() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["name"] == "Layers of the package")
    drawn = PAGE.split("## Layers\n\n```text\n", 1)[1].split("\n```", 1)[0].splitlines()
    assert drawn == layers
