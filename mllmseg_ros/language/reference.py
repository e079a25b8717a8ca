# SPDX-License-Identifier: Apache-2.0
"""Resolve references to the last command: "it", "the other one", "no, the bowl".

Works on English expressions, after translation.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.language.command import Target
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.english_words import ADJECTIVE_CLASSES, PLACES, PLURALS, SINGULARS
from mllmseg_ros.language.language import fold, word_set

__all__ = ["apply_correction", "complete_expression", "refers_back", "resolve_references"]

_ONES = ("one", "ones")
_SEVERAL = ("them", "these", "those", "both", "both of them", "all of them", "these two")
_NUMBERS = frozenset({"two", "three", "four", "five", "six"})
_SAME = ("the same", "the same one", "the same thing", "same one")
_WHOLES = (["everything"], ["everyone"])  # which name something without an earlier command
_NAMES = word_set("one ones more here there of us everything everyone nothing")
# Words that, without a noun, only tell one thing from another.
_POINTING = word_set("one ones other next last previous same more there here of them us")
_POINTING |= ADJECTIVE_CLASSES["order"]
_CLASS_OF = {word: name for name, words in ADJECTIVE_CLASSES.items() for word in words}


def _keys(expression: str) -> list[str]:
    return [fold(word.strip(",.!?")) for word in expression.split()]


def is_pronoun(expression: str) -> bool:
    """Whether an expression is "it" or the like."""
    keys = _keys(expression)
    return keys in ENGLISH.phrases("here") or " ".join(keys) in ENGLISH.pronouns


def _find_one(keys: Sequence[str]) -> int | None:
    """Find "one" as a pronoun: in "the bigger one", not in "one mug"."""
    tails = ENGLISH.phrases("tails")
    for index, key in enumerate(keys):
        ends = index + 1 == len(keys) or tails.length_at(keys, index + 1)
        is_part = not index and keys[1:2] == ["of"]  # "one of the mugs"
        if key in _ONES and ends and not is_part and (index > 0 or index + 1 < len(keys)):
            return index
    return None


def refers_back(expression: str) -> bool:
    """Whether an expression refers to the last command."""
    keys = _keys(expression)
    return is_pronoun(expression) or _find_one(keys) is not None or _lacks_noun(keys)


def contains_pronoun(expression: str) -> bool:
    """Whether "it" or "them" is the object of a preposition: "the mug next to it"."""
    keys = _keys(expression)
    is_bound = bool(set(keys) & (ENGLISH.binders | ENGLISH.asides.subjects - {"it"}))
    return not is_bound and bool(set(keys[1:]) & ENGLISH.object_pronouns)


def _lacks_noun(keys: Sequence[str]) -> bool:
    """Whether only the noun is missing: "the other", "another", "two"."""
    without = ENGLISH.pronouns | ENGLISH.indefinite | _NAMES
    return (
        not without & set(keys)
        and keys[-1] not in ENGLISH.articles
        and all(key in ENGLISH.determiners or key in _POINTING for key in keys)
    )


def is_same(expression: str) -> bool:
    """Whether an expression asks for the last command once more: "the same one"."""
    return " ".join(_keys(expression)) in _SAME


def is_bare_reference(expression: str) -> bool:
    """Whether an expression says nothing of a thing without an earlier one: "it", "next one"."""
    keys = _keys(expression)
    if keys in _WHOLES:
        return False
    return is_pronoun(expression) or all(
        key in ENGLISH.determiners or key in _POINTING for key in keys
    )


def complete_expression(expression: str, before: str) -> str:
    """Complete "the bigger one" from the expression before: "the bigger red mug"."""
    words, keys = expression.split(), _keys(expression)
    if _lacks_noun(keys):
        words, keys = [*words, "one"], [*keys, "one"]
    at = _find_one(keys)
    if at is None:
        return expression
    adjectives, noun = _split_noun_phrase(before)
    classes = {_CLASS_OF.get(key) for key in keys[:at]} - {None}
    kept = [
        word
        for word in adjectives
        if _CLASS_OF.get(fold(word)) not in classes and fold(word) != "other"
    ]
    if at == 0 or keys[0] == "next":
        words, keys, at = ["the", *words], ["the", *keys], at + 1
    several = keys[at] == "ones" or bool(_NUMBERS & set(keys[:at]))
    number = PLURALS if several else SINGULARS
    noun = [*noun[:-1], number.get(noun[-1], noun[-1])]
    return " ".join([*words[:at], *kept, *noun, *words[at + 1 :]])


def _split_noun_phrase(expression: str) -> tuple[list[str], list[str]]:
    """Split off adjectives and noun, without the place: "the big red mug on the left"."""
    words, tails = expression.split(), ENGLISH.phrases("tails")
    keys = _keys(expression)
    begin = 0
    while begin < len(keys) - 1 and (keys[begin] in ENGLISH.determiners or keys[begin].isdigit()):
        begin += 1
    end = begin + 1
    while end < len(keys) and not tails.length_at(keys, end):
        end += 1
    words, keys = [word.strip(",") for word in words[begin:end]], keys[begin:end]
    adjectives = 0
    while adjectives < len(keys) - 1 and keys[adjectives] in ENGLISH.adjectives:
        adjectives += 1
    return words[:adjectives], words[adjectives:]


def resolve_references(
    targets: Sequence[Target], before: Sequence[Target], moved: Sequence[bool]
) -> list[Target]:
    """Replace expressions that refer to the last command.

    Args:
        targets: targets of a command, in their order.
        before: targets of the last command; may be empty.
        moved: for each target, whether it is to be put somewhere.

    Returns:
        The resolved targets. A target that is held already is dropped: after "pick up the mug",
        "put it in the bowl" names only the bowl.

    Raises:
        LookupError: An expression refers to nothing.
    """
    found: list[Target] = []
    held = ""  # expression of what is to be put somewhere and is not named
    for target, is_moved in zip(targets, moved, strict=True):
        new = [target]
        if is_pronoun(target.expression):
            context = found or before
            meant = _resolve_pronoun(fold(target.expression), context, before, found, target.role)
            if is_moved and (not meant or _is_held(context)):
                held = context[-1].expression if context else ""
                continue
            if not meant or held in [each.expression for each in meant]:  # not upon itself
                raise LookupError(target.expression)
            new = [Target(expression=each.expression, role=target.role) for each in meant]
        elif refers_back(target.expression):
            alike = _find_antecedent(before, found, target.role)
            if alike is not None:
                expressions = complete_expression(target.expression, alike.expression)
                new = [Target(expression=expressions, role=target.role)]
        found += [each for each in new if each not in found]
    return found


def _is_held(context: Sequence[Target]) -> bool:
    """Whether the last command picked something up."""
    return bool(context) and context[-1].role == "pick"


def _resolve_pronoun(
    expression: str,
    context: Sequence[Target],
    before: Sequence[Target],
    found: Sequence[Target],
    role: str,
) -> list[Target]:
    if role.startswith("place"):  # not the thing to be put there
        return [each for each in (*before, *found) if each.role != "pick"][-1:] or list(before[-1:])
    picks = [each for each in context if each.role == "pick"]
    if expression in _SEVERAL:
        return picks or list(context)
    return picks or list(context[-1:])


def _find_antecedent(before: Sequence[Target], found: Sequence[Target], role: str) -> Target | None:
    """Find the target that "the blue one" refers to."""
    in_found = [each for each in found if each.role == role]
    in_before = [each for each in before if each.role == role]
    if role.startswith("place"):
        candidates = [*found[-1:], *before[-1:], *in_before[-1:], *in_found[-1:]]
    else:
        candidates = [*before[-1:], *in_before[-1:], *found[-1:], *in_found[-1:]]
    return candidates[-1] if candidates else None


def apply_correction(
    before: Sequence[Target], expressions: Sequence[str], negated: str = "", role: str = ""
) -> list[Target]:
    """Replace a target of a command by what was meant.

    Args:
        before: targets of the corrected command.
        expressions: expressions that replace one.
        negated: expression of what was not meant, "" if unknown.
        role: role of the replaced target, "" if unknown.

    Returns:
        The targets with one replaced. It is the negated one, or else the one with the role, or else
        the one that fits best: with an adjective of the same class ("the green one" after "put the
        red cup on the tray"), or a place for a place; or else the last one.
    """
    at = _find_replaced(before, expressions, negated, role)
    old = before[at]
    new = [
        Target(expression=complete_expression(each, old.expression), role=old.role)
        for each in expressions
    ]
    return [*before[:at], *new, *before[at + 1 :]]


def _find_replaced(
    before: Sequence[Target], expressions: Sequence[str], negated: str, role: str
) -> int:
    if negated:
        nouns = set(_split_noun_phrase(negated)[1])
        for index in reversed(range(len(before))):
            if nouns & set(_split_noun_phrase(before[index].expression)[1]):
                return index
    if role:
        for index in reversed(range(len(before))):
            if before[index].role.startswith(role):
                return index
    if refers_back(expressions[0]):
        wanted = _adjective_classes(expressions[0])
        alike = [
            at for at, each in enumerate(before) if _adjective_classes(each.expression) & wanted
        ]
        return alike[-1] if alike else len(before) - 1
    is_place = [target.role.startswith("place") for target in before]
    if any(is_place) and not all(is_place):
        noun = _split_noun_phrase(expressions[0])[1][-1]
        if SINGULARS.get(noun, noun) not in PLACES:
            return is_place.index(False)
    return len(before) - 1


def _adjective_classes(expression: str) -> set[str]:
    """Get the classes of an expression's adjectives: "the big red mug" has a size and a colour."""
    return {_CLASS_OF[key] for key in _keys(expression) if key in _CLASS_OF}
