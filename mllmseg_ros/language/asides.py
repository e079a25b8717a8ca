# SPDX-License-Identifier: Apache-2.0
"""Remove statements beside a command: "get me the mug, I can't reach it".

Statements after a request are removed. A relative clause without a relative pronoun looks similar
("the book I bought") but is kept: it lacks the object that a statement has. A statement before a
command may name the thing that the command refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mllmseg_ros.language.language import Language
from mllmseg_ros.language.sentence import (
    begins_with_thing,
    begins_with_verb,
    strip_closers,
    strip_openers,
)
from mllmseg_ros.language.words import Word, word_keys

__all__ = ["split_asides", "split_lead_in"]

_SUBJECT_WORDS = 3  # "the old man is": maximum before the verb


def split_asides(
    words: Sequence[Word], language: Language
) -> tuple[Sequence[Word], list[Sequence[Word]]]:
    """Split off each aside, up to the next command or to the end.

    Returns:
        The words without asides, and the asides.
    """
    at, asides = 1, []
    while at < len(words):
        if _is_aside(words, at, language):
            end = _find_end_of_aside(words, at, language)
            asides.append(words[at:end])
            at = max(1, at - language.phrases("connectors").length_before(word_keys(words), at))
            words = [*words[:at], *words[end:]]
        else:
            at += 1
    return words, asides


def _is_aside(words: Sequence[Word], at: int, language: Language) -> bool:
    """Whether a statement begins at a word and does not belong to the request before it."""
    keys, asides = word_keys(words), language.asides
    if not _may_begin_aside(words, at, language):
        return False
    clause = strip_closers(words[at : _find_end_of_aside(words, at, language)], language)
    if not clause:
        return False
    is_start = asides.starts.length_at(keys, at) > 0
    is_separate = words[at - 1].pause or language.phrases("closers").length_before(keys, at) > 0
    lacks_object = asides.lacks_object(clause[-1].key)
    if is_start and keys[at] not in asides.subjects | asides.stating:  # "because I ..."
        return True
    if is_start or keys[at] in asides.stating:  # "it's hot", "he's tired"
        return is_separate or not lacks_object
    if keys[at] in asides.subjects:  # "I spilled it"
        has_object = bool(asides.objects & set(word_keys(_cut_at_pause(clause))[1:]))
        return is_separate or (has_object and not lacks_object)
    return not lacks_object and _is_statement(keys, at, language, is_separate=is_separate)


def _may_begin_aside(words: Sequence[Word], at: int, language: Language) -> bool:
    keys = word_keys(words)
    is_bound = keys[at - 1] in language.binders  # "the box that he has"
    is_bound = is_bound or language.phrases("asking").length_at(keys, at - 1) > 1  # "can you"
    if is_bound or not _contains_request(keys[:at], language):
        return False
    if language.asides.starts.length_at(keys, at):
        is_joined = language.phrases("connectors").length_at(keys, at)
        if is_joined and begins_with_verb(words[at:], language):
            return False
        return not _contains_negation(keys[:at], language)  # "not the mug, it's the cup"
    corrects = any(language.phrases(name).length_at(keys, at) for name in ("correct", "repairs"))
    return not (corrects or begins_with_verb(words[at:], language))


def _is_statement(keys: Sequence[str], at: int, language: Language, *, is_separate: bool) -> bool:
    """Whether a statement about a thing begins here: "my leg is killing me"."""
    goes_on = keys[at - 1] in language.determiners or any(
        language.phrases(name).length_before(keys, at) for name in ("tails", "joiners", "but")
    )
    subject = keys[at + 1 : at + 1 + _SUBJECT_WORDS]
    return (
        language.is_determiner(keys[at])
        and (is_separate or not goes_on)
        and any(key in language.asides.verbs for key in subject[1:])
        and not any(key in language.binders for key in subject)
    )


def _cut_at_pause(words: Sequence[Word]) -> Sequence[Word]:
    ends = [at + 1 for at, word in enumerate(words) if word.pause]
    return words[: ends[0]] if ends else words


def _contains_request(keys: Sequence[str], language: Language) -> bool:
    """Whether there is a request that an aside may follow."""
    whole = any(
        language.phrases(name).length_before(keys, len(keys)) for name in ("stop", "repeat")
    )
    return whole or any(
        key in language.determiners or key in language.things or key in language.pronouns
        for key in keys
    )


def _contains_negation(keys: Sequence[str], language: Language) -> bool:
    """Whether something is negated, so that what is meant may follow."""
    negations = language.phrases("negations")
    return any(negations.length_at(keys, index) for index in range(len(keys)))


def _find_end_of_aside(words: Sequence[Word], at: int, language: Language) -> int:
    keys, connectors = word_keys(words), language.phrases("connectors")
    for end in range(at + 1, len(words)):
        length = connectors.length_at(keys, end)
        if (length or words[end - 1].pause) and begins_with_verb(words[end + length :], language):
            return end
    return len(words)


# ---- before a command


def split_lead_in(
    words: Sequence[Word], language: Language
) -> Iterator[tuple[Sequence[Word], Sequence[Word]]]:
    """Split off a thing, a place or a statement before a command.

    "My glasses are on the table, can you get them", "on the shelf put the cup", "I can't reach it,
    could you get the mug".

    Yields:
        The words that "it" refers to in the command, or none, and the words of the command; the
        most likely split first.
    """
    keys, place = word_keys(words), _find_leading_place(words, language)
    asking, connectors = language.phrases("asking"), language.phrases("connectors")
    for at in range(1, len(words)):
        before, rest = words[:at], words[at:]
        if language.is_determiner(keys[at - 1]) or not begins_with_verb(rest, language):
            continue
        if place:
            yield (), [*strip_closers(rest, language), *place]
            return
        is_separate = before[-1].pause or asking.length_at(keys, at)
        is_separate = is_separate or connectors.length_before(keys, at)
        has_object = language.asides.objects & set(word_keys(rest[1:]))
        is_bound = keys[at - 1] in language.asides.subjects  # "the box you put it in"
        if is_separate or (has_object and not is_bound):
            yield _find_topic(before, language), rest


def _find_leading_place(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Find the place in "on the shelf put the cup", up to a pause or the verb; may be empty."""
    words = strip_openers(words, language)
    keys = word_keys(words)
    lengths = [phrases.length_at(keys, 0) for _, phrases in language.prepositions]
    length = max(lengths)
    if not length or not begins_with_thing(words[length:], language):
        return ()
    for end in range(length + 1, len(words)):
        if words[end - 1].pause or begins_with_verb(words[end:], language):
            return words[:end]
    return ()


def _find_topic(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Find the last thing named, up to a pause or "is"; may be empty."""
    keys, openers = word_keys(words), language.phrases("openers")
    begins = [
        at
        for at in range(len(words))
        if begins_with_thing(words[at:], language) and not openers.length_at(keys, at)
    ]
    begins = [at for at in begins if at == 0 or words[at - 1].pause] or begins[:1]
    thing: list[Word] = []
    for word in words[begins[-1] :] if begins else ():
        is_bound = any(each.key in language.binders for each in thing)
        if thing and (thing[-1].pause or (word.key in language.asides.verbs and not is_bound)):
            break
        thing.append(word)
    return thing
