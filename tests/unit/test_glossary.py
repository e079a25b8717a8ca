# SPDX-License-Identifier: Apache-2.0
"""The words that docs/glossary.md retires are not used in code, logs and documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
SUFFIXES = {
    *(".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".sh", ".xml", ".cff"),
    *(".msg", ".srv", ".action", ".js", ".html", ".css", ".svg", ".in"),
}
# Words that people say to a robot, and what was called so at the time.
EXEMPT = (
    "CHANGELOG.rst",
    "docs/glossary.md",
    "mllmseg_ros/language/",
    "tests/unit/language/",
    "tests/unit/test_glossary.py",
    "benchmarks/speech_texts/",
)
# Former names that are still accepted, and formats of files and pages that people have.
ACCEPTED = re.compile(
    r"looks? at\b|has_picture|n_pictures|[\"'(`/]pictures?(?=[\"/])", re.IGNORECASE
)


def retired() -> list[str]:
    """The phrases in the first column of the table of retired words."""
    table = GLOSSARY.read_text(encoding="utf-8").split("## Retired words", 1)[1]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    assert rows[0] == "not"
    return [phrase.strip() for row in rows[1:] for phrase in row.split(",")]


def pattern(phrase: str) -> re.Pattern[str]:
    """A phrase as whole words, also inside identifiers, also in the plural."""
    words = phrase.replace(" ", r"[\s_]+")
    return re.compile(rf"(?<![A-Za-z]){words}s?(?![A-Za-z])", re.IGNORECASE)


def texts() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return {
        name: ACCEPTED.sub("", (ROOT / name).read_text(encoding="utf-8"))
        for name in listed.stdout.splitlines()
        if Path(name).suffix in SUFFIXES and not name.startswith(EXEMPT) and (ROOT / name).is_file()
    }


def test_retired_words_are_not_used() -> None:
    patterns = {phrase: pattern(phrase) for phrase in retired()}
    used = [
        f"{name}: {phrase!r}: {text[max(0, found.start() - 30) : found.end() + 30]!r}"
        for name, text in texts().items()
        for phrase, each in patterns.items()
        if (found := each.search(text))
    ]
    assert used == []


def test_a_retired_word_would_be_found() -> None:
    assert pattern("picture").search("def draw_pictures(")
    assert pattern("a look").search("The model needs a look.")
    assert not pattern("shot").search("a screenshot")
    assert {"picture", "errand", "manieth"} <= set(retired())
