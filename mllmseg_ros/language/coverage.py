# SPDX-License-Identifier: Apache-2.0
"""Refuse what the tables of a language do not cover, instead of bending it into something else.

A pattern cuts an expression out of a sentence without looking into it. The expression may then
contain a second request ("the mug and open the door"), a question ("what I mean"), a number of
times ("the mug twice"), or name nothing that can be seen ("a minute"). Entry points:
:func:`check_request` for a sentence, :func:`check_mention` for an expression in one.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.language.language import Language
from mllmseg_ros.language.sentence import (
    ROLES_OF_ACTIONS,
    Mention,
    begins_with_thing,
    begins_with_verb,
    find_clause_without_destination,
    parse_things,
    strip_openers,
    strip_politeness,
)
from mllmseg_ros.language.words import Word, join_words, word_keys

__all__ = [
    "build_refusal",
    "check_idioms",
    "check_lead_in",
    "check_mention",
    "check_request",
    "may_be_action",
    "names_no_kind",
]


def build_refusal(text: str, reason: str, language: Language) -> ValueError:
    """Build the error for a text that is not understood: what, why, and what is accepted."""
    return ValueError(f"{text!r} {reason}; send {language.examples}")


# ---- sentences


def check_request(words: Sequence[Word], language: Language) -> None:
    """Refuse a sentence that no pattern covers and that is no name of a thing.

    Raises:
        ValueError: it is a request of another kind ("open the door"), a question without a thing, a
            statement, or has a condition.
    """
    clause = find_clause_without_destination(words, language)
    if clause:
        raise build_refusal(join_words(clause), "does not say where to", language)
    openers, stages = language.phrases("openers"), [words]
    while length := openers.length_at(word_keys(stages[-1]), 0):
        stages.append(stages[-1][length:])
    # What follows the openers tells more: "can you" begins a question, and "can you open ..." too.
    for rest in reversed(stages):
        reason = _find_other_kind(rest, language) if rest else ""
        if reason:
            raise build_refusal(join_words(words), reason, language)


def check_idioms(words: Sequence[Word], language: Language) -> None:
    """Refuse a sentence that looks like a known one but names no thing.

    Raises:
        ValueError: "take a picture of the mug", "what is your battery level".
    """
    idioms = language.uncovered.phrases("idioms")
    for rest in (words, strip_openers(words, language)):
        if rest and idioms.length_at(word_keys(rest), 0):
            raise build_refusal(join_words(words), "names nothing to look for", language)


def may_be_action(words: Sequence[Word], language: Language) -> bool:
    """Whether the name of a thing may be meant as a request of another kind: "open door"."""
    return len(words) > 1 and words[0].key in language.uncovered.actions - language.nouns


def check_lead_in(words: Sequence[Word], language: Language) -> str:
    """Check the part before a request, which is left out.

    Returns:
        What people are told of as left out: a condition ("if the mug is red"), or a sentence that
        names no thing ("turn left and"). "" for statements, which change nothing.

    Raises:
        ValueError: it is a request itself: "open the drawer and".
    """
    rest = strip_politeness(words, language)
    connectors = language.phrases("connectors")
    rest = rest[: len(rest) - connectors.length_before(word_keys(rest), len(rest))]
    if not rest:
        return ""
    if _begins_with_action(rest, language) and not _is_nameless(rest, language):
        raise build_refusal(join_words(rest), "is not understood before a request", language)
    is_condition = language.uncovered.phrases("conditions").length_at(word_keys(rest), 0) > 0
    return join_words(rest) if is_condition or _is_nameless(rest, language) else ""


def _find_other_kind(words: Sequence[Word], language: Language) -> str:
    """Say what a sentence is instead of a request with a thing; "" if that is not sure."""
    keys = word_keys(words)
    if language.uncovered.phrases("questions").length_at(keys, 0):
        return "is a question that names no thing to look for"
    if language.uncovered.phrases("conditions").length_at(keys, 0):
        return "has a condition, which is not understood"
    begins_as_statement = keys[0] in language.asides.subjects | language.asides.stating
    if (begins_as_statement and not language.is_determiner(keys[0])) or _is_statement(
        words, language
    ):
        return "is a statement that asks for nothing"
    if _begins_with_action(words, language):
        return f"asks for something that is not known here ({keys[0]!r})"
    names = language.things | language.nouns_too | language.uncovered.question_words | language.halt
    if begins_with_verb(words, language) or (_is_verb(keys[0], language) and keys[0] not in names):
        return "is not understood"
    return ""


def _is_statement(words: Sequence[Word], language: Language) -> bool:
    """Whether a sentence says something about a thing: "the mug is red", "this is a mug"."""
    if not begins_with_thing(words, language) or language.asides.lacks_object(words[-1].key):
        return False
    keys = word_keys(words)
    for at, key in enumerate(keys):
        if (at and key in language.subordinators) or (not at and key in language.indefinite):
            return False
        if at and key in language.asides.verbs:
            return True
    return False


def _begins_with_action(words: Sequence[Word], language: Language) -> bool:
    """Whether words begin with a request of another kind: "open the door", not "open door".

    That is a verb of the table, or any other word before an article.
    """
    keys = word_keys(words)
    key = keys[0]
    follows = keys[1] if len(keys) > 1 else ""
    has_object = bool(follows) and (
        language.is_determiner(follows)
        or follows in language.pronouns
        or follows in language.persons
    )
    if key in language.uncovered.actions:
        if len(keys) == 1:  # "clean" is a request, "book" may be one
            return key not in language.nouns | language.nouns_too
        is_name_too = key in language.things or key in language.nouns_too
        return has_object or not is_name_too
    return (
        has_object
        and language.is_determiner(follows)
        and key.isalpha()
        and not language.is_determiner(key)
        and key not in language.binders | language.pronouns | language.persons
        and not any(
            language.phrases(name).length_at(keys, 0)
            for name in ("tails", "joiners", "connectors", "negations", "but", "openers", "correct")
        )
        and not any(phrases.length_at(keys, 0) for _, phrases in language.prepositions)
        and not _is_verb(key, language)
    )


def _is_verb(key: str, language: Language) -> bool:
    return key in language.by_first_word


def _is_bare_verb(words: Sequence[Word], language: Language) -> bool:
    """Whether a single word is a verb of the table and no thing: "and leave"."""
    key = words[0].key
    return len(words) == 1 and key not in language.nouns and _is_verb(key, language)


def _is_nameless(words: Sequence[Word], language: Language) -> bool:
    return word_keys(words) in language.nameless_phrases


# ---- expressions


def check_mention(mention: Mention, language: Language) -> None:
    """Refuse an expression of a sentence that is no name of a thing.

    Raises:
        ValueError: naming the part that is not understood.
    """
    words, keys = mention.words, word_keys(mention.words)
    said = join_words(words)
    if (
        keys in language.uncovered.phrases("no_things")
        or _find_head(keys, language) in language.uncovered.abstract
    ):
        raise build_refusal(said, "names nothing that can be seen", language)
    is_question = (
        keys[0] in language.uncovered.question_words and keys[0] not in language.indefinite
    )
    is_question = is_question or language.uncovered.phrases("questions").length_at(keys, 0) > 0
    if is_question or language.uncovered.phrases("conditions").length_at(keys, 0):
        raise build_refusal(said, "is a question or condition, not a thing", language)
    if language.uncovered.phrases("quantities").length_at(keys, 0):
        reason = "is no exact number; say how many, or all"
        raise build_refusal(said, reason, language)
    is_pronoun = keys[0] in language.pronouns and not language.is_determiner(keys[0])
    if is_pronoun and len(keys) > 1 and keys[1] not in language.subordinators:
        raise build_refusal(said, "is not understood beside a request", language)  # "it back"
    is_place = mention.role.startswith("place")
    if is_place and keys[0] in language.uncovered.each:
        raise build_refusal(
            said, "is not understood as a place; send one after the other", language
        )
    if mention.role == "place" and len(parse_things(words, language) or ()) > 1:
        raise build_refusal(said, "is more than one place", language)
    if keys[-1] in language.articles or any(
        word.pause and word.key in language.articles for word in words
    ):
        raise build_refusal(said, "is cut off", language)
    second = _find_second_request(words, language)
    if second:
        raise build_refusal(join_words(second), "is not understood beside a request", language)
    leftover = _find_leftover(mention, language)
    if leftover:
        raise build_refusal(leftover, "is not understood in a request", language)


def names_no_kind(words: Sequence[Word], language: Language) -> bool:
    """Whether an expression tells of no kind of thing: "something to drink"."""
    return bool(words) and words[0].key in language.indefinite


def _find_head(keys: Sequence[str], language: Language) -> str:
    """Find the last word of the noun phrase that an expression begins with."""
    tails = language.phrases("tails")
    end = next((at for at in range(1, len(keys)) if tails.length_at(keys, at)), len(keys))
    return keys[end - 1]


def _find_second_request(words: Sequence[Word], language: Language) -> Sequence[Word]:
    """Find a request within an expression: "the mug and wash it", "the mug pick it up"."""
    keys = word_keys(words)
    for at in range(1, len(words)):
        length = max(
            language.phrases(name).length_at(keys, at) for name in ("joiners", "connectors")
        )
        rest = words[at + length :]
        if not rest:
            return words[at:] if length else ()
        if keys[at - 1] in language.binders or keys[at - 1] in language.asides.subjects:
            continue
        if length or words[at - 1].pause:
            begun = strip_openers(rest, language) or rest
            if (
                _begins_with_action(begun, language)
                or _is_bare_verb(begun, language)
                or begins_with_verb(begun, language)
                or _is_nameless(begun, language)
                or language.uncovered.phrases("questions").length_at(word_keys(begun), 0)
                or begun[0].key in language.uncovered.question_words
            ):
                return rest
        elif _is_request_without_pause(words, at, language):
            return rest
    return ()


def _is_request_without_pause(words: Sequence[Word], at: int, language: Language) -> bool:
    """Whether a verb with its object begins within a noun phrase, after its noun."""
    keys = word_keys(words)
    before = set(keys[:at])
    if before & (language.subordinators | language.asides.subjects):
        return False
    if keys[at - 1] in language.adjectives or language.is_determiner(keys[at - 1]):
        return False
    tails = language.phrases("tails")
    if tails.length_before(keys, at) or tails.length_at(keys, at) or at + 1 >= len(words):
        return False
    if keys[at] in language.nouns:  # "the soda can that is blue"
        return False
    is_known = keys[at] in language.uncovered.actions or _is_verb(keys[at], language)
    follows = keys[at + 1]
    return is_known and (language.is_determiner(follows) or follows in language.pronouns)


def _find_leftover(mention: Mention, language: Language) -> str:
    """Find words that change the request and that no pattern covers: "twice", "or the bowl"."""
    words, keys = mention.words, word_keys(mention.words)
    tails, joiners = language.phrases("tails"), language.phrases("joiners")
    is_bound = keys[0] in language.binders
    for at in range(1, len(words)):
        length = language.uncovered.phrases("leftovers").length_at(keys, at)
        if mention.role in ROLES_OF_ACTIONS or mention.role.startswith("place"):
            length = length or language.phrases("choices").length_at(keys, at)
        if length:
            return join_words(words[at : at + length])
        ends = at + 1 == len(words) or tails.length_at(keys, at + 1)
        is_object = keys[at] in language.object_pronouns and ends
        if is_object and not is_bound and not language.phrases("here").length_before(keys, at + 1):
            return join_words(words[at : at + 1])
        is_bound = is_bound or keys[at] in language.subordinators
        is_bound = is_bound or keys[at] in language.asides.subjects - language.object_pronouns
    is_result = len(keys) > 1 and keys[-1] in language.uncovered.results and not is_bound
    if is_result and not (
        language.is_determiner(keys[-2])
        or keys[-2] in language.adjectives
        or joiners.length_before(keys, len(keys) - 1)
    ):  # "hold the door open"
        return join_words(words[-1:])
    return ""
