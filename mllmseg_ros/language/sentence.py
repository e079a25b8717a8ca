# SPDX-License-Identifier: Apache-2.0
"""Which things a sentence names, and in which roles.

Works on words and a table, and knows nothing of the commands before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mllmseg_ros.language.language import Language, SentencePattern
from mllmseg_ros.language.words import Word, keys_of

__all__ = ["Mention", "read_sentence", "read_things"]

_KINDS_THAT_MOVE = ("put", "carry")
_BESIDE = "place_beside"


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A thing that a sentence names."""

    role: str  # "pick", "place", "place_beside", ..., "destination", "find"; "" without one
    words: tuple[Word, ...]  # its expression
    moved: bool = False  # it is to be put somewhere
    is_restated: bool = False  # it follows another by a pause alone: "the mug, the red one"


def read_sentence(words: Sequence[Word], language: Language) -> list[Mention] | None:
    """Read a sentence with a verb that the table knows, or several joined by "and".

    Returns:
        What is named, in the order said; None where there is no such verb.
    """
    words = _from_verb(words, language)
    clauses = [_clause(clause, language) for clause in _split_clauses(words, language)]
    if any(clause is None for clause in clauses):
        return None
    return [mention for clause in clauses for mention in clause or ()]


def read_things(words: Sequence[Word], language: Language) -> list[Mention] | None:
    """Read a sentence without a verb: one thing or several; None where it names none.

    What follows a preposition is not split: "the mug next to the can and the bowl" is one thing.
    """
    words = without_politeness(words, language)
    if not names_a_thing(words, language):
        return None
    return _mentions(words, language, unless_related=True)


def without_politeness(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Without the openers before a sentence and the closers after it."""
    return without_closers(without_openers(words, language), language)


def readings(words: Sequence[Word], language: Language) -> Iterator[list[str]]:
    """The sentence, without its openers, and without one closer after the other; folded."""
    yield keys_of(words)
    words = without_openers(words, language)
    closers = language.phrases("closers")
    while words:
        yield keys_of(words)
        length = closers.length_before(keys_of(words), len(words))
        if not length:
            return
        words = words[: len(words) - length]


def without_closers(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Without the closers after a sentence."""
    closers = language.phrases("closers")
    while length := closers.length_before(keys_of(words), len(words)):
        words = words[: len(words) - length]
    return words


def without_openers(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Without the openers before a sentence."""
    openers = language.phrases("openers")
    while length := openers.length_at(keys_of(words), 0):
        words = words[length:]
    return words


def names_a_thing(words: Sequence[Word], language: Language) -> bool:
    """Whether an expression begins here, by its first word."""
    if not words:
        return False
    return language.is_determiner(words[0].key) or words[0].key in language.things


# ---- sentences


def _split_clauses(words: Sequence[Word], language: Language) -> list[Sequence[Word]]:
    """Cut before each connector, pause or question that a verb follows."""
    keys, connectors = keys_of(words), language.phrases("connectors")
    asking = language.phrases("asking")
    clauses, began, at = [], 0, 1
    while at < len(words):
        length = connectors.length_at(keys, at)
        asks = asking.length_at(keys, at) and begins_with_verb(words[began:at], language)
        if length or words[at - 1].pause or asks:
            rest = words[at + length :]
            if begins_with_verb(rest, language):
                if without_openers(words[began:at], language):
                    clauses.append(words[began:at])
                began = at = at + length
        at += 1
    return [*clauses, words[began:]]


def begins_with_verb(words: Sequence[Word], language: Language) -> bool:
    """Whether a sentence begins here: a known verb, and then surely something that it names."""
    return _verb(words, language, sure=True) is not None


def _clause(words: Sequence[Word], language: Language) -> list[Mention] | None:
    words = without_closers(words, language)
    match = _verb(words, language)
    if match is None:
        return None
    pattern, thing = match
    role = {"segment": "", "carry": "pick"}.get(pattern.kind, pattern.kind)
    if pattern.kind in _KINDS_THAT_MOVE:
        parts = _split_destination(thing, language, to_it=pattern.kind == "carry")
        if parts is not None:
            moved, role, place = parts
            return [
                *_mentions(moved, language, role="pick", moved=True),
                Mention(role=role, words=tuple(place)),
            ]
        if pattern.kind == "put":
            return None
    return _mentions(thing, language, role=role)


def _verb(
    words: Sequence[Word], language: Language, *, sure: bool = False
) -> tuple[SentencePattern, Sequence[Word]] | None:
    """The pattern that a sentence has, and what fills it; openers may come before it.

    Args:
        words: the sentence, without closers.
        language: table.
        sure: demand a word with which expressions begin after the verb.
    """
    openers = language.phrases("openers")
    while words:
        keys = keys_of(words)
        length = openers.length_at(keys, 0)
        begins_with_thing = () if length else language.by_first_word.get("", ())
        for pattern in (*language.by_first_word.get(keys[0], ()), *begins_with_thing):
            begin, end = len(pattern.before), len(words) - len(pattern.after)
            if begin >= end or tuple(keys[:begin]) != pattern.before or (sure and not begin):
                continue
            if not sure and tuple(keys[end:]) != pattern.after:
                continue
            thing = words[begin : len(words) if sure else end]
            is_noun_too = begin == 1 and keys[0] in language.nouns_too
            if _may_be_named(thing, language, sure=sure or is_noun_too):
                return pattern, thing
        if not length:
            return None
        words = words[length:]
    return None


def _from_verb(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Without the openers before the verb: "go ahead and" is no sentence of its own."""
    match = _verb(words, language, sure=True)
    if match is None:
        return words
    pattern, thing = match
    return words[len(words) - len(thing) - len(pattern.before) :]


def _may_be_named(words: Sequence[Word], language: Language, *, sure: bool) -> bool:
    keys = keys_of(words)
    if language.is_determiner(keys[0]) or keys[0] in language.pronouns:
        return True
    if sure:
        return keys[0] in language.things
    return not language.phrases("tails").length_at(keys, 0)


def _split_destination(
    words: Sequence[Word], language: Language, *, to_it: bool
) -> tuple[Sequence[Word], str, Sequence[Word]] | None:
    """Find the preposition that says where to: what is moved, the role of the place, the place.

    Of several it is the one of the kind that the table prefers ("in" before "on"), of those the
    last one.

    Args:
        words: what follows the verb.
        language: table.
        to_it: demand a preposition of `carry_to` and, after it, a word for a thing.
    """
    keys, best, best_rank = keys_of(words), None, len(language.prepositions)
    is_bound, at = False, 1
    while at < len(words):
        if language.phrases("here").length_at(keys, at) == len(words) - at:
            return words[:at], "place", words[at:]
        is_bound = is_bound or keys[at] in language.binders
        rank, length = _preposition(keys, at, language)
        rest = keys[at + length :]
        if (
            length
            and rank <= best_rank
            and (best is None or _may_follow(best_rank, rank, language))
            and not _says_which(keys, at, rest, is_bound, language)
            and (not to_it or _says_to_what(keys[at : at + length], words[at + length :], language))
        ):
            best, best_rank = (at, length), rank
        # After a side part of it may be one: "in front of" in "on the right in front of".
        at += 1 if _is_side(rest, language) else max(1, length)
    if best is None:
        return None
    at, length = best
    return words[:at], language.prepositions[best_rank][0], words[at + length :]


def _may_follow(best_rank: int, rank: int, language: Language) -> bool:
    """Whether a preposition after the best one until now may say where to in its place."""
    best, after = language.destinations[best_rank], language.destinations[rank]
    return best.role == after.role or best.role != _BESIDE or after.wins


def _says_to_what(preposition: Sequence[str], words: Sequence[Word], language: Language) -> bool:
    is_numbered = len(words) > 1 and words[1].key.isdigit()  # "stall 6"
    is_named = is_numbered or _may_be_named(words, language, sure=True)
    return preposition in language.phrases("carry_to") and is_named


def _preposition(keys: Sequence[str], at: int, language: Language) -> tuple[int, int]:
    """Place in the table of the longest preposition at a word, and its number of words, or 0."""
    lengths = [phrases.length_at(keys, at) for _, phrases in language.prepositions]
    longest = max(lengths)
    return lengths.index(longest), longest


def _says_which(
    keys: Sequence[str], at: int, rest: Sequence[str], is_bound: bool, language: Language
) -> bool:
    """Whether a preposition belongs to an expression, and does not say where to.

    So it is before a side ("on the left"), before a pronoun after "with" ("with the banana in
    it"), after the verb of a relative clause ("that is on the table"), and where the article says
    so ("in der").
    """
    return (
        not rest
        or _is_side(rest, language)
        or (is_bound and (rest[0] in language.pronouns - language.determiners))
        or keys[at - 1] in language.copulas
        or (keys[at] in language.two_way and rest[0] in language.locative)
        or _preposition(rest, 0, language)[1] > 0
    )


def _is_side(keys: Sequence[str], language: Language) -> bool:
    """Whether the next thing named is a side: "the left", "the far left in ..."."""
    index = 0
    while index < len(keys) and (keys[index] in language.determiners):
        index += 1
    while index < len(keys) and keys[index] in language.adjectives - language.sides:
        index += 1
    if index >= len(keys) or keys[index] not in language.sides:
        return False
    after = index + 1
    return after == len(keys) or bool(language.phrases("tails").length_at(keys, after))


# ---- expressions


def _mentions(
    words: Sequence[Word],
    language: Language,
    *,
    role: str = "",
    moved: bool = False,
    unless_related: bool = False,
) -> list[Mention]:
    """Split "the mug, the can and the bowl"; "the mug between the can and the bowl" stays whole."""
    keys, joiners, tails = keys_of(words), language.phrases("joiners"), language.phrases("tails")
    things, ends = [(0, False)], []
    at, bound = 1, keys[0] in language.binders
    while at < len(words):
        length = joiners.length_at(keys, at)
        follows = at + length
        begins = follows < len(words) and (
            language.is_determiner(keys[follows]) or keys[follows] in language.pronouns
        )
        if (length or words[at - 1].pause) and begins and not bound:
            things.append((follows, not length))
            ends.append(at)
            at = follows + 1
            continue
        bound = bound or keys[at] in language.binders
        bound = bound or (unless_related and bool(tails.length_at(keys, at)))
        at += 1
    return [
        Mention(role=role, words=tuple(words[begin:end]), moved=moved, is_restated=is_restated)
        for (begin, is_restated), end in zip(things, [*ends, len(words)], strict=True)
    ]
