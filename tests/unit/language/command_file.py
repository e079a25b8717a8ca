# SPDX-License-Identifier: Apache-2.0
"""Commands in a text file with what they ask for, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mllmseg_ros.language.command import Command, Target, parse_command
from mllmseg_ros.language.conversation import LANGUAGES, UnderstoodCommand, understand

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Example:
    text: str
    intent: str  # or act: repeat, correct
    structured: str
    before: str  # command before it, "" without one
    language: str

    @property
    def targets(self) -> tuple[Target, ...]:
        return () if self.intent == "stop" else parse_command(self.structured).targets

    def understood(self) -> UnderstoodCommand:
        table = LANGUAGES[self.language]
        last: Command | None = understand(self.before, table).command if self.before else None
        return understand(self.text, table, last)


def examples(name: str) -> list[Example]:
    """Read ``<name>_<language>.txt``."""
    found = []
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            text, intent, structured, *before = (part.strip() for part in f"{line} ".split(" |"))
            found.append(
                Example(
                    text=text,
                    intent=intent,
                    structured=structured,
                    before=before[0] if before else "",
                    language=name[-2:],
                )
            )
    return found
