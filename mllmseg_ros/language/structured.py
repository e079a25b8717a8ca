# SPDX-License-Identifier: Apache-2.0
"""Tell commands in structured form, which are taken literally, from sentences.

Entry points: :func:`is_structured`, :func:`join_lines`, :func:`doubt_structured`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mllmseg_ros.language.command import (
    MAX_COMMAND_CHARS,
    Command,
    is_known_role,
    split_parts,
    split_role,
)
from mllmseg_ros.language.language import Language
from mllmseg_ros.language.reference import is_pronoun
from mllmseg_ros.language.sentence import (
    begins_with_thing,
    begins_with_verb,
    parse_things,
    strip_openers,
)
from mllmseg_ros.language.words import Word, split_words, word_keys

__all__ = ["doubt_structured", "is_structured", "join_lines", "may_be_structured"]

# A word and a colon, or a separator: probably in structured form.
_ROLE = re.compile(r"[A-Za-z]\w*\s*:", re.ASCII)
_STRUCTURED = re.compile(rf";|{_ROLE.pattern}", re.ASCII)
_STEP = re.compile(r"(?:^|(?<=[\s;,.]))(?:step |schritt )?\d{1,2} ?[.):]\s+", re.IGNORECASE)


def may_be_structured(text: str) -> bool:
    """Whether a text has a separator, or a word with a colon."""
    return _STRUCTURED.search(text) is not None


def join_lines(text: str, language: Language) -> str:
    """Join lines and numbered steps that are requests or things of their own by separators."""
    is_step = _STEP.match(text)
    if len(text) > MAX_COMMAND_CHARS or not (is_step or "\n" in text):
        return text
    if is_step:
        text = _STEP.sub("; ", text).strip("; ")
    lines = [line for line in text.splitlines() if line.strip()]
    keys = [word_keys(split_words(line, language)) for line in lines]
    goes_on = any(
        each and (each[-1] in language.adjectives or language.is_determiner(each[-1]))
        for each in keys[:-1]
    )  # "the red", "mug"
    begin_anew = not goes_on and all(
        begins_with_verb(words, language) or begins_with_thing(words, language) or _ROLE.match(line)
        for line in lines
        for words in [strip_openers(split_words(line, language), language)]
    )
    return "; ".join(lines) if begin_anew else text


def is_structured(text: str, language: Language) -> bool:
    """Whether a text is in structured form, which is taken literally."""
    if not _STRUCTURED.search(text):
        return False
    for part in split_parts(text):
        role, expression = split_role(part)
        words = split_words(expression, language)
        if is_known_role(role):
            continue
        if begins_with_verb(words, language):  # "pick the mug; place it in the bowl"
            return False
        if not role and _ROLE.search(part) and _begins_sentence(words, language):
            return False
    return True


def _begins_sentence(words: Sequence[Word], language: Language) -> bool:
    keys = word_keys(words)
    return bool(keys) and (
        keys[0] in language.by_first_word or language.phrases("openers").length_at(keys, 0) > 0
    )


def doubt_structured(command: Command, language: Language) -> str:
    """Say what of a command in structured form is probably meant otherwise."""
    doubts = []
    for target in command.targets:
        if target.role and not is_known_role(target.role):
            doubts.append(f"role {target.role!r} is not known here, passed on as given")
        words = split_words(target.expression, language)
        if len(parse_things(words, language) or ()) > 1:
            doubts.append(f"{target.expression!r} is one expression; separate several by ';'")
        is_foreign = language.glossary is not None and begins_with_thing(words, language)
        if is_foreign:
            doubts.append(f"{target.expression!r} is not translated in structured form")
        if is_pronoun(target.expression):
            doubts.append(f"{target.expression!r} is taken literally in structured form")
    return "; ".join(doubts)
