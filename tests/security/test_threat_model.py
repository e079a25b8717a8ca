# SPDX-License-Identifier: Apache-2.0
"""docs/security.md and the tests speak of the same statements, and of the limits in the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
UNITS = {
    "characters": 1, "px": 1, "s": 1, "a second": 1, ": 1": 1, "": 1,
    "M px": 1e6, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table after a line that begins so."""
    table = DOCUMENT[DOCUMENT.index(heading) :].partition("|---|")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[1:]]


def test_every_statement_has_a_test_and_every_test_a_statement() -> None:
    statements = {row[0] for row in rows("What must hold: ")}
    assert len(statements) > 15
    named = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for names in re.findall(r"mark\.threat\((.*?)\)", path.read_text(encoding="utf-8"))
        for name in re.findall(r'"(\w+)"', names)
        if path != Path(__file__).resolve()
    }
    assert named == statements


@pytest.mark.parametrize("row", rows("### Limits"), ids=lambda row: row[2].strip("`"))
def test_limit_is_that_of_the_code(row: list[str]) -> None:
    _, stated, constant = row
    module, _, name = constant.strip("`").rpartition(".")
    value = getattr(importlib.import_module(f"mllmseg_ros.{module}"), name)
    number, _, unit = stated.partition(" ")
    if isinstance(value, str):
        assert value == stated
        return
    factor = UNITS[unit] * (1e9 if name.endswith("_NS") else 1)
    assert value == float(number) * factor
