# SPDX-License-Identifier: Apache-2.0
"""From what somebody says to the command that is meant.

A command in structured form (command.py) is taken as it is. Everything else is a sentence in the
language of a table: read as a stop, a repetition, a correction, a sentence with a known verb, or
the name of a thing, in this order. What is none of these is one expression as said, and
:attr:`Heard.note` says so. Deterministic; knows nothing of ROS or of models.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.language.asides import led_up_to, without_asides
from mllmseg_ros.language.command import STOP_INTENT, Command, Target, command_of, parse_command
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.german import GERMAN
from mllmseg_ros.language.language import Language
from mllmseg_ros.language.reference import corrected, named_like, refers_back, resolved
from mllmseg_ros.language.sentence import (
    Mention,
    begins_with_verb,
    names_a_thing,
    read_sentence,
    read_things,
    readings,
    without_closers,
    without_openers,
)
from mllmseg_ros.language.stopping import begins_with_stop
from mllmseg_ros.language.translation import in_english
from mllmseg_ros.language.words import Word, keys_of, said, words_of

__all__ = ["Conversation"]

LANGUAGES = {"en": ENGLISH, "de": GERMAN}

REPEAT_ACT = "repeat"
CORRECT_ACT = "correct"

_STOP_COMMAND = Command(intent=STOP_INTENT, targets=())
# A word and a colon, or a separator: written for programs, or meant as it stands.
_STRUCTURED = re.compile(r";|[A-Za-z]\w*\s*:", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What was said, understood."""

    command: Command
    act: str  # "repeat", "correct", else the command's intent
    note: str = ""  # for people: how it was understood, where that is not plain from what was said


_STOP = Heard(command=_STOP_COMMAND, act=STOP_INTENT)


class Conversation:
    """Remembers the last command, which "again" and "the other one" refer to.

    May be used from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Command | None = None

    def hear(self, text: str, language: str = "en", *, remember: bool = True) -> Heard:
        """Understand a command.

        Args:
            text: as somebody says it, or in structured form.
            language: key of LANGUAGES.
            remember: later commands may refer to this one.

        Raises:
            ValueError: as :func:`~mllmseg_ros.language.command.parse_command` does, or if there
                is no command to repeat.
        """
        with self._lock:
            heard = understand(text, LANGUAGES[language], self._last)
            if remember and not heard.command.is_stop:
                self._last = heard.command
        return heard


def understand(text: str, language: Language, last: Command | None = None) -> Heard:
    """Understand a command; see :meth:`Conversation.hear`."""
    as_said = parse_command(text)
    if as_said.is_stop or _STRUCTURED.search(text):
        return Heard(command=as_said, act=as_said.intent)
    heard = _understood(words_of(text, language), language, last)
    if heard is None:
        note = "not understood as a command, looked for as said"
        for key, other in LANGUAGES.items():
            if other is not language and begins_with_verb(words_of(text, other), other):
                note += f"; it looks like a command in language {key}"
        return Heard(command=as_said, act=as_said.intent, note=note)
    if heard.command == as_said:
        return Heard(command=as_said, act=heard.act)
    return heard


def _understood(words: Sequence[Word], language: Language, last: Command | None) -> Heard | None:
    if begins_with_stop(words, language):
        return _STOP
    first, *repairs = _at_repairs(words, language)
    heard = _sentence(first, language, last)
    for repair in repairs:
        if keys_of(repair) in language.phrases("stop"):
            return _STOP
        before = heard.command if heard is not None and not heard.command.is_stop else None
        again = _correction(repair, (), language, before) if before else None
        heard = again or _sentence(repair, language, last) or heard
    if heard is None or not repairs:
        return heard
    return Heard(command=heard.command, act=heard.command.intent, note=heard.note)


def _at_repairs(words: Sequence[Word], language: Language) -> list[Sequence[Word]]:
    """Cut at "no wait" and the like in the middle: "the mug, no wait, the bowl"."""
    keys, parts, began = keys_of(words), [], 0
    at = max(1, _meant(words, language)[0])
    while at < len(words):
        length = language.phrases("repairs").length_at(keys, at)
        if language.phrases("connectors").length_before(keys, at):  # "go there and wait"
            length = 0
        bare = language.phrases("bare_repairs").length_at(keys, at)
        rest = words[at + bare :]
        if keys[at - 1] in language.asides.verbs:  # "that has no handle"
            bare = 0
        if bare and (begins_with_verb(rest, language) or names_a_thing(rest, language)):
            length = max(length, bare)
        for cut in (0, length, bare):  # a stop counts wherever a pause or a "no" is before it
            if (cut or words[at - 1].pause) and keys[at + cut :] in language.phrases("stop"):
                return [words[began:at], words[at + cut :]]
        begun = without_openers(words[began:at], language)
        if length and begun and at + length < len(words):
            parts.append(words[began:at])
            began = at + length
        at += length or 1
    return [*parts, words[began:]]


def _sentence(words: Sequence[Word], language: Language, last: Command | None) -> Heard | None:
    if begins_with_stop(words, language):
        return _STOP
    words = without_asides(words, language)
    for keys in readings(words, language):
        if keys in language.phrases("stop"):
            return _STOP
        if keys in language.phrases("repeat"):
            if last is None:
                raise ValueError("there is no command to repeat; send e.g. 'the red mug'")
            return Heard(command=last, act=REPEAT_ACT, note=_note(last))
        if keys in language.nameless_phrases:
            if words[-1].key in language.halt:  # "put it down and stop"
                return _STOP
            raise ValueError(
                f"{said(words)!r} names nothing to look for; send what, e.g. 'the red mug'"
            )
    forbidden = language.phrases("forbid").length_at(keys_of(without_openers(words, language)), 0)
    if forbidden and not begins_with_verb(words, language):
        return _allowed(words, language, last) or _STOP
    if language.phrases("forbid_at_end").length_before(keys_of(words), len(words)):
        return _STOP
    begin, end = _meant(words, language)
    meant, meant_not = _without_negated(words[begin:end], language)
    if begin or end < len(words) or meant_not:
        if not meant:
            return _STOP
        if last is None or any(led_up_to(meant, language)):
            return _sentence(meant, language, last)
        return _correction(meant, meant_not, language, last)
    mentions = read_sentence(words, language)
    if mentions is not None:
        return _of_mentions(mentions, language, last)
    for topic, rest in led_up_to(words, language):
        meant_here = read_sentence(rest, language) or ()
        heard = _of_mentions(meant_here, language, _topic(topic, language) or last)
        if heard is not None:
            return heard
    mentions = read_things(words, language)
    if mentions is None:
        return None
    if last is not None and len(mentions) == 1:
        expression, lacking = in_english(mentions[0].words, language)
        if expression and language.phrases("joiners").length_at(keys_of(words), 0):
            return _added(expression, lacking, last)
        if refers_back(expression):
            targets = corrected(last.targets, [expression])
            return _heard(command_of(targets), CORRECT_ACT, lacking)
    return _of_mentions(mentions, language, last)


def _added(expression: str, lacking: Sequence[str], last: Command) -> Heard:
    """One more for the command before: "and the white one, too"."""
    like = last.targets[-1]
    target = Target(expression=named_like(expression, like.expression), role=like.role)
    command = command_of([*last.targets, target])
    return _heard(command, command.intent, lacking)


def _topic(words: Sequence[Word], language: Language) -> Command | None:
    """What "it" is in a command that the words are said before; None without words."""
    expression, _ = in_english(words, language) if words else ("", ())
    return command_of([Target(expression=expression, role="")]) if expression else None


def _allowed(words: Sequence[Word], language: Language, last: Command | None) -> Heard | None:
    """What is to be done in the place of what is not: "don't take the mug, take the bowl"."""
    keys, connectors = keys_of(words), language.phrases("connectors")
    but = language.phrases("but")
    for at in range(1, len(words)):
        length = max(connectors.length_at(keys, at), but.length_at(keys, at))
        rest = words[at + length :]
        if not (length or words[at - 1].pause) or not rest:
            continue
        if begins_with_verb(rest, language):
            heard = _sentence(rest, language, last)
            if heard is None or last is None:
                return heard
            return Heard(command=heard.command, act=CORRECT_ACT, note=heard.note)
        if last is not None and names_a_thing(rest, language):
            return _correction(rest, (), language, last)
    return None


def _of_mentions(
    mentions: Sequence[Mention], language: Language, last: Command | None
) -> Heard | None:
    targets: list[Target] = []
    moved: list[bool] = []
    lacking: list[str] = []
    for mention in mentions:
        expression, unknown = in_english(mention.words, language)
        if not expression:
            return None
        if mention.is_restated and refers_back(expression):
            expression = named_like(expression, targets.pop().expression)
            moved.pop()
        targets.append(Target(expression=expression, role=mention.role))
        moved.append(mention.moved)
        lacking += unknown
    if not targets:
        return None
    try:
        targets = resolved(targets, last.targets if last else (), moved)
    except LookupError:
        return None
    command = command_of(targets)
    return _heard(command, command.intent, lacking)


# ---- corrections


def _meant(words: Sequence[Word], language: Language) -> tuple[int, int]:
    """Where what is meant begins and ends in "no, the blue one", "the blue one instead"."""
    keys, begin, at = keys_of(words), 0, 0
    openers, correct = language.phrases("openers"), language.phrases("correct")
    while at < len(words) and not begins_with_verb(words[at:], language):
        length = correct.length_at(keys, at)
        if length and not _is_cut_short(words[: at + length], words[at + length :], language):
            at = begin = at + length
            continue
        length = openers.length_at(keys, at)
        if not length:
            break
        at += length
    end = len(without_closers(words, language))
    instead = language.phrases("instead").length_before(keys, end)
    return begin, end - instead if instead and begin < end - instead else len(words)


def _is_cut_short(said: Sequence[Word], rest: Sequence[Word], language: Language) -> bool:
    """Whether "not that" is part of "not that mug, the white one"."""
    if not rest or said[-1].pause or not language.is_determiner(said[-1].key):
        return False
    return len(said) > 1 and not language.is_determiner(rest[0].key)


def _without_negated(
    words: Sequence[Word], language: Language
) -> tuple[Sequence[Word], Sequence[Word]]:
    """Part "not the mug but the bowl" or "the bowl, not the mug": what is meant, what is not."""
    keys, negations = keys_of(words), language.phrases("negations")
    for at in range(len(words)):
        if at and keys[at - 1] in language.copulas:  # "the mug that is not the red one"
            continue
        length = negations.length_at(keys, at)
        rest = words[at + length :]
        if not length or not names_a_thing(rest, language):
            continue
        if at:
            joiner = language.phrases("but").length_before(keys, at)
            return words[: at - joiner], rest
        for split in range(length + 1, len(words)):
            joiner = language.phrases("but").length_at(keys, split)
            follows = split + joiner
            article = keys[split] in language.determiners and split + 1 < len(words)
            if (joiner or words[split - 1].pause or article) and (
                names_a_thing(words[follows:], language)
                or begins_with_verb(words[follows:], language)
            ):
                return words[follows:], words[length:split]
        return (), rest
    return words, ()


def _correction(
    meant: Sequence[Word], meant_not: Sequence[Word], language: Language, last: Command
) -> Heard | None:
    meant = without_closers(meant, language)
    full = read_sentence(meant, language)
    if full is not None:
        heard = _of_mentions(full, language, last)
        return heard and Heard(command=heard.command, act=CORRECT_ACT, note=heard.note)
    keys, role = keys_of(meant), ""
    for name, prepositions in language.prepositions:
        length = prepositions.length_at(keys, 0)
        if length and length < len(meant):
            role, meant = name, meant[length:]
            break
    things = read_things(meant, language)
    if things is None:
        things = [Mention(role="", words=tuple(meant))]
    expressions, lacking = [], []
    for thing in things:
        expression, unknown = in_english(thing.words, language)
        if expression:  # "die" alone says nothing in English
            expressions.append(expression)
        lacking += unknown
    if not expressions:
        return None
    negated = in_english(meant_not, language)[0] if meant_not else ""
    targets = corrected(last.targets, expressions, negated, role.partition("_")[0])
    return _heard(command_of(targets), CORRECT_ACT, lacking)


def _heard(command: Command, act: str, lacking: Sequence[str]) -> Heard:
    note = _note(command)
    if lacking:
        note += f", with no English known for {', '.join(repr(word) for word in lacking)}"
    return Heard(command=command, act=act, note=note)


def _note(command: Command) -> str:
    return f"understood as '{command.text}'"
