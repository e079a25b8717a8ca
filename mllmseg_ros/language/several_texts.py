# SPDX-License-Identifier: Apache-2.0
"""Understand several texts as one command: the expressions of a service call or a command line."""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.language.command import build_command
from mllmseg_ros.language.conversation import UnderstoodCommand, understand
from mllmseg_ros.language.language import Language
from mllmseg_ros.language.plain_text import normalize_text

__all__ = ["understand_each"]


def understand_each(texts: Sequence[str], language: Language) -> UnderstoodCommand:
    """Understand texts, each on its own.

    A single text may be any command. Of several, none changes another: beside "pick up the mug",
    "the cube" has no role.

    Args:
        texts: at least one.
        language: of the texts.

    Raises:
        ValueError: one of them names nothing to look for, or is one of several and has a ";".
    """
    if len(texts) == 1:
        return understand(texts[0], language)
    said = [text for text in texts if normalize_text(text)]
    if not said:
        raise ValueError(f"{len(texts)} expressions, and each names nothing to look for")
    understood = [understand(text, language) for text in said]
    stop = next((each for each in understood if each.command.is_stop), None)
    if stop is not None:
        return stop
    several = next((text for text in said if ";" in normalize_text(text)), None)
    if several is not None:
        raise ValueError(f"{several!r} has a ';' in it; give each expression separately")
    command = build_command([target for each in understood for target in each.command.targets])
    notes = [
        f"{text!r}: {each.note}" for text, each in zip(said, understood, strict=True) if each.note
    ]
    return UnderstoodCommand(command=command, act=command.intent, note="; ".join(notes))
