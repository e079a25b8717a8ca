# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/commands.md are what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mllmseg_ros.language.conversation import LANGUAGES, understand

TEXT = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()


def rows(header: str) -> list[list[str]]:
    """Cells of the tables with that header."""
    found = []
    for table in re.findall(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.M):
        for line in table.splitlines():
            found.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return found


SAID = [("en", "", said, meant) for said, meant in rows("sentence | understood as")]
FOLLOW_UPS = [
    ("en", after, said, meant) for after, said, meant in rows("after | sentence | understood as")
]
GERMAN = [("de", "", said, meant) for said, meant in rows("German sentence | understood as")]


def test_there_are_examples() -> None:
    assert min(len(SAID), len(FOLLOW_UPS)) > 10
    assert len(GERMAN) >= 5


@pytest.mark.parametrize(("language", "before", "said", "meant"), SAID + FOLLOW_UPS + GERMAN)
def test_an_example(language: str, before: str, said: str, meant: str) -> None:
    table = LANGUAGES[language]
    last = understand(before, table).command if before else None
    assert understand(said, table, last).command.text == meant
