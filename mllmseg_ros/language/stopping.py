# SPDX-License-Identifier: Apache-2.0
"""Recognise a stop at the beginning of a sentence, whatever follows it."""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.language.language import Language
from mllmseg_ros.language.sentence import begins_with_thing, begins_with_verb
from mllmseg_ros.language.words import Word, word_keys

__all__ = ["begins_with_stop"]


def begins_with_stop(words: Sequence[Word], language: Language) -> bool:
    """Whether a sentence begins with a stop: "stop, you are hurting me"."""
    keys = word_keys(words)
    at, stop = 0, language.phrases("stop")
    while at < len(keys) and not (keys[at] in language.halt or stop.length_at(keys, at) > 1):
        length = max(language.phrases(name).length_at(keys, at) for name in ("openers", "correct"))
        if not length:
            return False
        at += length
    if at >= len(keys):
        return False
    length = max(1, stop.length_at(keys, at))
    rest = words[at + length :]
    halts = any(key in language.halt for key in keys[at : at + length])
    if halts and (words[at].pause or words[at + length - 1].pause):  # "stop, that is my hand"
        return True
    if language.phrases("openers").length_at(keys, at) > 1:  # "stop and go to the door"
        return False
    if begins_with_verb(words[at:], language):  # "stop at the door"
        return False
    forbids = language.phrases("forbid").length_at(keys, at) > 1  # "stop following"
    if not rest or (halts and (forbids or rest[0].key in language.asides.verbs)):
        return True
    if length == 1:  # "stop sign" is a thing, "stop the car" and "stop you hurt me" are none
        asides = language.asides
        no_names = language.pronouns | asides.subjects | asides.stating | language.halt
        is_tail = language.phrases("tails").length_at(keys, at + 1) > 0  # "for a moment"
        return language.is_determiner(rest[0].key) or rest[0].key in no_names or is_tail
    return not (begins_with_verb(rest, language) or begins_with_thing(rest, language))
