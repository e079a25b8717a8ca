# SPDX-License-Identifier: Apache-2.0
"""Understand commands in natural language.

Commands in structured form (command.py) are taken literally. All other texts are parsed with the
table of a language as a stop, a repetition, a correction, a sentence with a known verb, or the name
of a thing, in this order. A text that is none of these becomes one expression, and
:attr:`UnderstoodCommand.note` says so. Deterministic; uses neither ROS nor models.

Stops are recognised in four places: between separators (:func:`_is_stop`), at the beginning of a
sentence (stopping.py), as the whole sentence without politeness (:func:`iterate_stripped`), and
after a repair ("the mug, no, stop").
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mllmseg_ros.language.asides import split_asides, split_lead_in
from mllmseg_ros.language.command import (
    AROUND_STOP,
    MAX_EXPRESSION_CHARS,
    STOP_INTENT,
    Command,
    Target,
    build_command,
    check_text,
    parse_plain_text,
)
from mllmseg_ros.language.coverage import (
    build_refusal,
    check_idioms,
    check_lead_in,
    check_mention,
    check_request,
    may_be_action,
    names_no_kind,
)
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.german import GERMAN
from mllmseg_ros.language.language import Language
from mllmseg_ros.language.plain_text import is_in_brackets
from mllmseg_ros.language.reference import (
    apply_correction,
    complete_expression,
    contains_pronoun,
    is_bare_reference,
    is_same,
    refers_back,
    resolve_references,
)
from mllmseg_ros.language.sentence import (
    Mention,
    begins_with_thing,
    begins_with_verb,
    iterate_stripped,
    parse_sentence,
    parse_things,
    strip_closers,
    strip_openers,
)
from mllmseg_ros.language.stopping import begins_with_stop
from mllmseg_ros.language.structured import (
    doubt_structured,
    is_structured,
    join_lines,
    may_be_structured,
)
from mllmseg_ros.language.translation import translate
from mllmseg_ros.language.words import Word, join_words, split_words, word_keys

__all__ = ["Conversation"]

LANGUAGES = {"en": ENGLISH, "de": GERMAN}

REPEAT_ACT = "repeat"
CORRECT_ACT = "correct"

_STOP_COMMAND = Command(intent=STOP_INTENT, targets=())
_SEPARATORS = re.compile(r"[;:]")


@dataclass(frozen=True, kw_only=True)
class UnderstoodCommand:
    """A command with how it was understood."""

    command: Command
    act: str  # "repeat", "correct", else the command's intent
    note: str = ""  # for users: how it was understood, if that is not obvious


_REFERS_TO_NOTHING = "refers to nothing that was named before"

_STOP = UnderstoodCommand(command=_STOP_COMMAND, act=STOP_INTENT)


class Conversation:
    """Understands commands that refer to the last one: "again", "the other one".

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Command | None = None

    def understand(
        self, text: str, language: str = "en", *, remember: bool = True
    ) -> UnderstoodCommand:
        """Understand a command.

        Args:
            text: the command, in natural language or in structured form.
            language: key of LANGUAGES.
            remember: let later commands refer to this one.

        Raises:
            ValueError: As in :func:`~mllmseg_ros.language.command.parse_command`, or there is no
                command to repeat.
        """
        with self._lock:
            understood = understand(text, LANGUAGES[language], self._last)
            if remember and not understood.command.is_stop:
                self._last = understood.command
        return understood


def understand(text: str, language: Language, last: Command | None = None) -> UnderstoodCommand:
    """Understand a command; see :meth:`Conversation.understand`."""
    text, said = check_text(join_lines(text, language)), text
    if _is_stop(text, language):
        return _STOP
    literal = parse_plain_text(text)
    if literal.is_stop:
        return _STOP
    if len(text) == 1:  # a letter as a name, not the article
        return UnderstoodCommand(command=literal, act=literal.intent)
    if is_structured(text, language):
        return UnderstoodCommand(
            command=literal, act=literal.intent, note=doubt_structured(literal, language)
        )
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ValueError(
            f"a sentence has {len(text)} characters, accepted are up to {MAX_EXPRESSION_CHARS}"
        )
    words = split_words(text.replace(";", ","), language)
    if is_in_brackets(said) and not (
        begins_with_verb(words, language) or (words and language.is_determiner(words[0].key))
    ):
        raise ValueError(
            f"{said.strip()!a} is how a recogniser writes a sound; send a command without brackets"
        )
    understood = _understand_words(words, language, last)
    if understood is None:
        note = "not understood as a command, used as one expression"
        for key, other in LANGUAGES.items():
            if other is not language and begins_with_verb(split_words(text, other), other):
                note += f"; it looks like a command in language {key}"
        note += f"; accepted: {language.examples}"
        return UnderstoodCommand(command=literal, act=literal.intent, note=note)
    if understood.command == literal and understood.note == _describe(literal):
        return UnderstoodCommand(command=literal, act=understood.act)
    return understood


def _is_stop(text: str, language: Language) -> bool:
    """Whether a text is a stop between separators, or one of its parts says no more than "stop"."""
    bare = text.strip(AROUND_STOP)
    words = split_words(bare, language)
    if not may_be_structured(bare) and (
        begins_with_stop(words, language)
        or any(keys in language.phrases("stop") for keys in iterate_stripped(words, language))
    ):
        return True
    parts = _SEPARATORS.split(text) if _SEPARATORS.search(text) else ()
    return any(
        keys and language.halt.issuperset(keys)
        for keys in (
            word_keys(strip_openers(split_words(part, language), language)) for part in parts
        )
    )


def _understand_words(
    words: Sequence[Word], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    if begins_with_stop(words, language):
        return _STOP
    first, *repairs = _split_at_repairs(words, language)
    understood: UnderstoodCommand | None
    try:
        understood = _understand_sentence(first, language, last)
    except ValueError:
        if not repairs:
            raise
        understood = None  # "pick it, no wait, the mug"
    for repair in repairs:
        if word_keys(repair) in language.phrases("stop"):
            return _STOP
        before = (
            understood.command
            if understood is not None and not understood.command.is_stop
            else None
        )
        again = _understand_correction(repair, (), language, before) if before else None
        understood = again or _understand_sentence(repair, language, last) or understood
    if understood is None or not repairs:
        return understood
    return UnderstoodCommand(
        command=understood.command, act=understood.command.intent, note=understood.note
    )


def _split_at_repairs(words: Sequence[Word], language: Language) -> list[Sequence[Word]]:
    """Split at repairs in the middle: "the mug, no wait, the bowl"."""
    keys, parts, start = word_keys(words), [], 0
    at = max(1, _find_meant(words, language)[0])
    while at < len(words):
        length = language.phrases("repairs").length_at(keys, at)
        if language.phrases("connectors").length_before(keys, at):  # "go there and wait"
            length = 0
        bare = language.phrases("bare_repairs").length_at(keys, at)
        rest = words[at + bare :]
        if keys[at - 1] in language.asides.verbs:  # "that has no handle"
            bare = 0
        is_after_thing = any(
            language.is_determiner(key) or key in language.things or key in language.pronouns
            for key in keys[start:at]
        )  # not "pick up no mugs"
        if (
            bare
            and is_after_thing
            and (begins_with_verb(rest, language) or begins_with_thing(rest, language))
        ):
            length = max(length, bare)
        for cut in (0, length, bare):  # a stop counts after any pause or "no"
            if (cut or words[at - 1].pause) and keys[at + cut :] in language.phrases("stop"):
                return [words[start:at], words[at + cut :]]
        begun = strip_openers(words[start:at], language)
        if length and begun and at + length < len(words):
            parts.append(words[start:at])
            start = at + length
        at += length or 1
    return [*parts, words[start:]]


def _understand_sentence(
    words: Sequence[Word], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    if begins_with_stop(words, language):
        return _STOP
    words, asides = split_asides(words, language)
    left_out = _find_left_out(words, asides, language)
    understood = _understand_without_asides(words, language, last)
    if understood is None or understood.act in (STOP_INTENT, REPEAT_ACT):
        return understood
    return _add_left_out(understood, left_out)


def _find_left_out(
    words: Sequence[Word], asides: Sequence[Sequence[Word]], language: Language
) -> list[str]:
    """Find what is left out of a command and would change it: "if it is red", "and come back"."""
    conditions, connectors = (
        language.uncovered.phrases("conditions"),
        language.phrases("connectors"),
    )
    found = []
    for aside in asides:
        keys = word_keys(aside)
        if conditions.length_at(keys, 0) or conditions.length_at(
            keys, connectors.length_at(keys, 0)
        ):
            found.append(join_words(aside))
    closers = words[len(strip_closers(words, language)) :]
    if language.uncovered.noted_closers & set(word_keys(closers)):
        found.append(join_words(closers))
    return found


def _understand_without_asides(
    words: Sequence[Word], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    for keys in iterate_stripped(words, language):
        if keys in language.phrases("stop"):
            return _STOP
        if keys in language.phrases("repeat"):
            if last is None:
                raise ValueError("there is no command to repeat; send e.g. 'the red mug'")
            return UnderstoodCommand(command=last, act=REPEAT_ACT, note=_describe(last))
        if keys in language.nameless_phrases:
            if words[-1].key in language.halt:  # "put it down and stop"
                return _STOP
            raise build_refusal(join_words(words), "names nothing to look for", language)
    forbidden = language.phrases("forbid").length_at(word_keys(strip_openers(words, language)), 0)
    if forbidden and not begins_with_verb(words, language):
        return _understand_alternative(words, language, last) or _STOP
    if language.phrases("forbid_at_end").length_before(word_keys(words), len(words)):
        return _STOP
    begin, end = _find_meant(words, language)
    meant, negated = _split_negated(words[begin:end], language)
    if begin or end < len(words) or negated:
        if not meant:
            return _STOP
        if last is None or any(split_lead_in(meant, language)):
            return _understand_sentence(meant, language, last)
        return _understand_correction(meant, negated, language, last)
    check_idioms(words, language)
    mentions = parse_sentence(words, language)
    if mentions is not None:
        return _command_from_mentions(mentions, language, last)
    understood = _understand_after_lead_in(words, language, last)
    if understood is not None:
        return understood
    check_request(words, language)
    mentions = parse_things(words, language)
    if mentions is None:
        return None
    if last is not None and len(mentions) == 1:
        expression, untranslated = translate(mentions[0].words, language)
        if expression and language.phrases("joiners").length_at(word_keys(words), 0):
            return _add_target(expression, untranslated, last)
        if is_same(expression):
            return UnderstoodCommand(command=last, act=REPEAT_ACT, note=_describe(last))
        if refers_back(expression):
            targets = apply_correction(last.targets, [expression])
            return _make_understood(build_command(targets), CORRECT_ACT, untranslated)
    understood = _command_from_mentions(mentions, language, last)
    if understood is not None and may_be_action(mentions[0].words, language):
        note = f"{understood.note}; {join_words(words)!r} is taken as the name of a thing"
        return replace(understood, note=note)
    return understood


def _understand_after_lead_in(
    words: Sequence[Word], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    """Understand "my glasses are on the table, can you get them"; None without such a split.

    Raises:
        ValueError: there are splits, and none is understood; with the reason of the first.
    """
    first_error: ValueError | None = None
    for topic, rest in split_lead_in(words, language):
        try:
            left_out = check_lead_in(words[: max(0, len(words) - len(rest))], language)
            understood = _command_from_mentions(
                parse_sentence(rest, language) or (),
                language,
                _parse_topic(topic, language) or last,
            )
        except ValueError as error:
            first_error = first_error or error
            continue
        if understood is not None:
            return _add_left_out(understood, [left_out] if left_out else [])
    if first_error is not None:
        raise first_error
    return None


def _add_left_out(understood: UnderstoodCommand, left_out: Sequence[str]) -> UnderstoodCommand:
    if not left_out:
        return understood
    quoted = ", ".join(map(repr, left_out))
    note = understood.note or _describe(understood.command)
    return replace(understood, note=f"{note}; left out: {quoted}")


def _add_target(expression: str, untranslated: Sequence[str], last: Command) -> UnderstoodCommand:
    """Add a target to the last command: "and the white one, too"."""
    like = last.targets[-1]
    target = Target(expression=complete_expression(expression, like.expression), role=like.role)
    command = build_command([*last.targets, target])
    return _make_understood(command, command.intent, untranslated)


def _parse_topic(words: Sequence[Word], language: Language) -> Command | None:
    """Parse the thing that "it" refers to in the command that follows; None without words."""
    expression, _ = translate(words, language) if words else ("", ())
    return build_command([Target(expression=expression, role="")]) if expression else None


def _understand_alternative(
    words: Sequence[Word], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    """Understand what to do instead: "don't take the mug, take the bowl"."""
    keys, connectors = word_keys(words), language.phrases("connectors")
    but = language.phrases("but")
    for at in range(1, len(words)):
        length = max(connectors.length_at(keys, at), but.length_at(keys, at))
        rest = words[at + length :]
        if not (length or words[at - 1].pause) or not rest:
            continue
        if begins_with_verb(rest, language):
            understood = _understand_sentence(rest, language, last)
            if understood is None or last is None:
                return understood
            return UnderstoodCommand(
                command=understood.command, act=CORRECT_ACT, note=understood.note
            )
        if last is not None and begins_with_thing(rest, language):
            return _understand_correction(rest, (), language, last)
    return None


def _command_from_mentions(
    mentions: Sequence[Mention], language: Language, last: Command | None
) -> UnderstoodCommand | None:
    targets: list[Target] = []
    moved: list[bool] = []
    untranslated: list[str] = []
    for mention in mentions:
        check_mention(mention, language)
        expression, unknown = translate(mention.words, language)
        if not expression:
            return None
        if mention.is_restated and refers_back(expression):
            expression = complete_expression(expression, targets.pop().expression)
            moved.pop()
        targets.append(Target(expression=expression, role=mention.role))
        moved.append(mention.moved)
        untranslated += unknown
    if not targets:
        return None
    try:
        targets = resolve_references(targets, last.targets if last else (), moved)
    except LookupError as error:
        raise build_refusal(str(error.args[0]), _REFERS_TO_NOTHING, language) from None
    command = build_command(targets)
    return _make_understood(
        command,
        command.intent,
        untranslated,
        [join_words(each.words) for each in mentions if names_no_kind(each.words, language)],
    )


# ---- corrections


def _find_meant(words: Sequence[Word], language: Language) -> tuple[int, int]:
    """Find the meant part of a correction: "no, the blue one", "the blue one instead"."""
    keys, begin, at = word_keys(words), 0, 0
    openers, correct = language.phrases("openers"), language.phrases("correct")
    while at < len(words) and not begins_with_verb(words[at:], language):
        length = correct.length_at(keys, at)
        if length and not _is_expression_start(
            words[: at + length], words[at + length :], language
        ):
            at = begin = at + length
            continue
        length = openers.length_at(keys, at)
        if not length:
            break
        at += length
    end = len(strip_closers(words, language))
    instead = language.phrases("instead").length_before(keys, end)
    return begin, end - instead if instead and begin < end - instead else len(words)


def _is_expression_start(words: Sequence[Word], rest: Sequence[Word], language: Language) -> bool:
    """Whether the opener "not that" is part of "not that mug, the white one"."""
    if not rest or words[-1].pause or not language.is_determiner(words[-1].key):
        return False
    return len(words) > 1 and not language.is_determiner(rest[0].key)


def _split_negated(
    words: Sequence[Word], language: Language
) -> tuple[Sequence[Word], Sequence[Word]]:
    """Split "not the mug but the bowl" or "the bowl, not the mug" into meant and negated."""
    keys, negations = word_keys(words), language.phrases("negations")
    for at in range(len(words)):
        if at and keys[at - 1] in language.copulas:  # "the mug that is not the red one"
            continue
        length = negations.length_at(keys, at)
        rest = words[at + length :]
        if not length or not begins_with_thing(rest, language):
            continue
        if at:
            joiner = language.phrases("but").length_before(keys, at)
            return words[: at - joiner], rest
        for split in range(length + 1, len(words)):
            joiner = language.phrases("but").length_at(keys, split)
            follows = split + joiner
            article = keys[split] in language.determiners and split + 1 < len(words)
            if (joiner or words[split - 1].pause or article) and (
                begins_with_thing(words[follows:], language)
                or begins_with_verb(words[follows:], language)
            ):
                return words[follows:], words[length:split]
        return (), rest
    return words, ()


def _understand_correction(
    meant: Sequence[Word], negated: Sequence[Word], language: Language, last: Command
) -> UnderstoodCommand | None:
    meant = strip_closers(meant, language)
    full = parse_sentence(meant, language)
    if full is not None:
        understood = _command_from_mentions(full, language, last)
        return understood and UnderstoodCommand(
            command=understood.command, act=CORRECT_ACT, note=understood.note
        )
    keys, role = word_keys(meant), ""
    for name, prepositions in language.prepositions:
        length = prepositions.length_at(keys, 0)
        if length and length < len(meant):
            role, meant = name, meant[length:]
            break
    things = parse_things(meant, language)
    if things is None:
        things = [Mention(role="", words=tuple(meant))]
    expressions, untranslated = [], []
    for thing in things:
        expression, unknown = translate(thing.words, language)
        if expression:  # "die" alone has no English equivalent
            expressions.append(expression)
        untranslated += unknown
    if not expressions:
        return None
    negated_expression = translate(negated, language)[0] if negated else ""
    targets = apply_correction(
        last.targets, expressions, negated_expression, role.partition("_")[0]
    )
    return _make_understood(build_command(targets), CORRECT_ACT, untranslated)


def _make_understood(
    command: Command, act: str, untranslated: Sequence[str], without_kind: Sequence[str] = ()
) -> UnderstoodCommand:
    """Build the result, with a note on what a model may not get right.

    Raises:
        ValueError: an expression refers to nothing.
    """
    note = _describe(command)
    for expression in command.expressions:
        if is_bare_reference(expression):
            raise build_refusal(expression, _REFERS_TO_NOTHING, ENGLISH)
        if refers_back(expression):
            note += f"; {expression!r} refers to no earlier command"
        if contains_pronoun(expression):
            note += f"; what 'it' is in {expression!r} is left to the model"
    for expression in without_kind:
        note += f"; {expression!r} names no kind of thing"
    if untranslated:
        note += f", with no English known for {', '.join(repr(word) for word in untranslated)}"
    return UnderstoodCommand(command=command, act=act, note=note)


def _describe(command: Command) -> str:
    return f"understood as '{command.text}'"
