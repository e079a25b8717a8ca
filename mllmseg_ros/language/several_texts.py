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
    understood = {text: understand(text, language) for text in texts if normalize_text(text)}
    stop = next((each for each in understood.values() if each.command.is_stop), None)
    if stop is not None or not understood:
        return stop or understand("", language)
    for text in understood:
        if ";" in normalize_text(text):
            raise ValueError(f"{text!r} has a ';' in it; give each expression separately")
    targets = [target for each in understood.values() for target in each.command.targets]
    command = build_command(targets)
    notes = [f"{text!r}: {each.note}" for text, each in understood.items() if each.note]
    return UnderstoodCommand(command=command, act=command.intent, note="; ".join(notes))
