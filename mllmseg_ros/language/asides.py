# SPDX-License-Identifier: Apache-2.0
"""What people say beside a command: "get me the mug, I can't reach it".

A statement after what is asked is left out. A relative clause without a relative pronoun looks
alike ("the book I bought") and stays: it lacks the object that a statement has. What is said before
a command may name the thing that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mllmseg_ros.language.language import Language
from mllmseg_ros.language.sentence import (
    begins_with_verb,
    names_a_thing,
    without_closers,
    without_openers,
)
from mllmseg_ros.language.words import Word, keys_of

__all__ = ["led_up_to", "without_asides"]

_SUBJECT_WORDS = 3  # "the old man is": up to so many before the verb


def without_asides(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Leave out each aside, up to the next command or to the end."""
    at = 1
    while at < len(words):
        if _is_aside(words, at, language):
            end = _end_of_aside(words, at, language)
            at = max(1, at - language.phrases("connectors").length_before(keys_of(words), at))
            words = [*words[:at], *words[end:]]
        else:
            at += 1
    return words


def _is_aside(words: Sequence[Word], at: int, language: Language) -> bool:
    """Whether a statement begins at a word that is no part of what is asked before it."""
    keys, asides = keys_of(words), language.asides
    if not _may_begin(words, at, language):
        return False
    clause = without_closers(words[at : _end_of_aside(words, at, language)], language)
    if not clause:
        return False
    is_start = asides.starts.length_at(keys, at) > 0
    is_apart = words[at - 1].pause or language.phrases("closers").length_before(keys, at) > 0
    lacks_object = asides.lacks_object(clause[-1].key)
    if is_start and keys[at] not in asides.subjects | asides.stating:  # "because I ..."
        return True
    if is_start or keys[at] in asides.stating:  # "it's hot", "he's tired"
        return is_apart or not lacks_object
    if keys[at] in asides.subjects:  # "I spilled it"
        says_it = bool(asides.objects & set(keys_of(_up_to_pause(clause))[1:]))
        return is_apart or (says_it and not lacks_object)
    return not lacks_object and _is_about_a_thing(keys, at, language, is_apart=is_apart)


def _may_begin(words: Sequence[Word], at: int, language: Language) -> bool:
    keys = keys_of(words)
    is_bound = keys[at - 1] in language.binders  # "the box that he has"
    is_bound = is_bound or language.phrases("asking").length_at(keys, at - 1) > 1  # "can you"
    if is_bound or not _asks(keys[:at], language):
        return False
    if language.asides.starts.length_at(keys, at):
        is_joined = language.phrases("connectors").length_at(keys, at)
        if is_joined and begins_with_verb(words[at:], language):
            return False
        return not _denies(keys[:at], language)  # "not the mug, it's the cup"
    corrects = any(language.phrases(name).length_at(keys, at) for name in ("correct", "repairs"))
    return not (corrects or begins_with_verb(words[at:], language))


def _is_about_a_thing(keys: Sequence[str], at: int, language: Language, *, is_apart: bool) -> bool:
    """Whether a thing is said to be or to do something: "my leg is killing me"."""
    goes_on = keys[at - 1] in language.determiners or any(
        language.phrases(name).length_before(keys, at) for name in ("tails", "joiners", "but")
    )
    subject = keys[at + 1 : at + 1 + _SUBJECT_WORDS]
    return (
        language.is_determiner(keys[at])
        and (is_apart or not goes_on)
        and any(key in language.asides.verbs for key in subject[1:])
        and not any(key in language.binders for key in subject)
    )


def _up_to_pause(words: Sequence[Word]) -> Sequence[Word]:
    ends = [at + 1 for at, word in enumerate(words) if word.pause]
    return words[: ends[0]] if ends else words


def _asks(keys: Sequence[str], language: Language) -> bool:
    """Whether there is something that an aside may follow."""
    whole = any(
        language.phrases(name).length_before(keys, len(keys)) for name in ("stop", "repeat")
    )
    return whole or any(
        key in language.determiners or key in language.things or key in language.pronouns
        for key in keys
    )


def _denies(keys: Sequence[str], language: Language) -> bool:
    """Whether something is said not to be meant, so that what is meant may follow."""
    negations = language.phrases("negations")
    return any(negations.length_at(keys, index) for index in range(len(keys)))


def _end_of_aside(words: Sequence[Word], at: int, language: Language) -> int:
    keys, connectors = keys_of(words), language.phrases("connectors")
    for end in range(at + 1, len(words)):
        length = connectors.length_at(keys, end)
        if (length or words[end - 1].pause) and begins_with_verb(words[end + length :], language):
            return end
    return len(words)


# ---- before a command


def led_up_to(
    words: Sequence[Word], language: Language
) -> Iterator[tuple[Sequence[Word], Sequence[Word]]]:
    """Find the command that something is said before: a thing, a place or a statement.

    "My glasses are on the table, can you get them", "on the shelf put the cup", "I can't reach it,
    could you get the mug".

    Yields:
        What "it" is in the command, empty without one, and the words of the command; the likeliest
        first.
    """
    keys, place = keys_of(words), _place_in_front(words, language)
    asking, connectors = language.phrases("asking"), language.phrases("connectors")
    for at in range(1, len(words)):
        before, rest = words[:at], words[at:]
        if language.is_determiner(keys[at - 1]) or not begins_with_verb(rest, language):
            continue
        if place:
            yield (), [*without_closers(rest, language), *place]
            return
        is_apart = before[-1].pause or asking.length_at(keys, at)
        is_apart = is_apart or connectors.length_before(keys, at)
        says_it = language.asides.objects & set(keys_of(rest[1:]))
        is_bound = keys[at - 1] in language.asides.subjects  # "the box you put it in"
        if is_apart or (says_it and not is_bound):
            yield _topic(before, language), rest


def _place_in_front(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """The place in "on the shelf put the cup", up to a pause or the verb; empty without one."""
    words = without_openers(words, language)
    keys = keys_of(words)
    lengths = [phrases.length_at(keys, 0) for _, phrases in language.prepositions]
    length = max(lengths)
    if not length or not names_a_thing(words[length:], language):
        return ()
    for end in range(length + 1, len(words)):
        if words[end - 1].pause or begins_with_verb(words[end:], language):
            return words[:end]
    return ()


def _topic(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """The thing that is spoken of last, up to a pause or "is"; empty where none is named."""
    keys, openers = keys_of(words), language.phrases("openers")
    begins = [
        at
        for at in range(len(words))
        if names_a_thing(words[at:], language) and not openers.length_at(keys, at)
    ]
    begins = [at for at in begins if at == 0 or words[at - 1].pause] or begins[:1]
    thing: list[Word] = []
    for word in words[begins[-1] :] if begins else ():
        is_bound = any(each.key in language.binders for each in thing)
        if thing and (thing[-1].pause or (word.key in language.asides.verbs and not is_bound)):
            break
        thing.append(word)
    return thing
