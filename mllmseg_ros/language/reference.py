# SPDX-License-Identifier: Apache-2.0
"""What "it", "the other one" and "no, the bowl" mean after a command.

Works on English expressions, in whatever language they were said.
"""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.language.command import Target
from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.english_words import ADJECTIVE_CLASSES, PLACES, PLURALS, SINGULARS
from mllmseg_ros.language.language import fold

__all__ = ["corrected", "named_like", "refers_back", "resolved"]

_ONES = ("one", "ones")
_SEVERAL = ("them", "these", "those", "both", "both of them", "all of them", "these two")
_NUMBERS = frozenset({"two", "three", "four", "five", "six"})
_CLASS_OF = {word: name for name, words in ADJECTIVE_CLASSES.items() for word in words}


def _keys(expression: str) -> list[str]:
    return [fold(word.strip(",.!?")) for word in expression.split()]


def is_pronoun(expression: str) -> bool:
    """Whether an expression is "it" or the like."""
    keys = _keys(expression)
    return keys in ENGLISH.phrases("here") or " ".join(keys) in ENGLISH.pronouns


def _one(keys: Sequence[str]) -> int | None:
    """Where "one" stands for a thing named before: "the bigger one", not "one mug"."""
    tails = ENGLISH.phrases("tails")
    for index, key in enumerate(keys):
        ends = index + 1 == len(keys) or tails.length_at(keys, index + 1)
        if key in _ONES and ends and (index > 0 or index + 1 < len(keys)):
            return index
    return None


def refers_back(expression: str) -> bool:
    """Whether an expression means nothing without the command before it."""
    keys = _keys(expression)
    return is_pronoun(expression) or _one(keys) is not None or keys[-2:] == ["the", "other"]


def named_like(expression: str, before: str) -> str:
    """Fill "the bigger one" from the expression before: "the bigger red mug"."""
    words, keys = expression.split(), _keys(expression)
    if keys[-2:] == ["the", "other"]:
        words, keys = [*words, "one"], [*keys, "one"]
    at = _one(keys)
    if at is None:
        return expression
    adjectives, noun = _plain_noun_phrase(before)
    classes = {_CLASS_OF.get(key) for key in keys[:at]} - {None}
    kept = [
        word
        for word in adjectives
        if _CLASS_OF.get(fold(word)) not in classes and fold(word) != "other"
    ]
    if at == 0:
        words, keys, at = ["the", *words], ["the", *keys], 1
    several = keys[at] == "ones" or bool(_NUMBERS & set(keys[:at]))
    number = PLURALS if several else SINGULARS
    noun = [*noun[:-1], number.get(noun[-1], noun[-1])]
    return " ".join([*words[:at], *kept, *noun, *words[at + 1 :]])


def _plain_noun_phrase(expression: str) -> tuple[list[str], list[str]]:
    """Adjectives and noun, without what says where it is: "the big red mug on the left"."""
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


def resolved(
    targets: Sequence[Target], before: Sequence[Target], moved: Sequence[bool]
) -> list[Target]:
    """Replace what refers back.

    Args:
        targets: of a command, in the order said.
        before: targets of the command before it; may be empty.
        moved: for each target, whether it is to be put somewhere.

    Returns:
        The targets, fewer where "it" is in the hand already: after "pick up the mug",
        "put it in the bowl" names only the bowl.

    Raises:
        LookupError: naming the expression that refers to nothing.
    """
    found: list[Target] = []
    for target, is_moved in zip(targets, moved, strict=True):
        new = [target]
        if is_pronoun(target.expression):
            context = found or before
            meant = _meant_by_pronoun(fold(target.expression), context, before, found, target.role)
            if is_moved and (not meant or _is_held(context)):
                continue
            if not meant:
                raise LookupError(target.expression)
            new = [Target(expression=each.expression, role=target.role) for each in meant]
        elif refers_back(target.expression):
            alike = _same_kind(before, found, target.role)
            if alike is not None:
                said = named_like(target.expression, alike.expression)
                new = [Target(expression=said, role=target.role)]
        found += [each for each in new if each not in found]
    return found


def _is_held(context: Sequence[Target]) -> bool:
    """Whether the last thing done was to pick something up."""
    return bool(context) and context[-1].role == "pick"


def _meant_by_pronoun(
    expression: str,
    context: Sequence[Target],
    before: Sequence[Target],
    found: Sequence[Target],
    role: str,
) -> list[Target]:
    if role.startswith("place"):  # not what is to be put there
        return [each for each in (*before, *found) if each.role != "pick"][-1:] or list(before[-1:])
    picks = [each for each in context if each.role == "pick"]
    if expression in _SEVERAL:
        return picks or list(context)
    return picks or list(context[-1:])


def _same_kind(before: Sequence[Target], found: Sequence[Target], role: str) -> Target | None:
    """The target that "the blue one" is like."""
    in_found = [each for each in found if each.role == role]
    in_before = [each for each in before if each.role == role]
    if role.startswith("place"):
        candidates = [*found[-1:], *before[-1:], *in_before[-1:], *in_found[-1:]]
    else:
        candidates = [*before[-1:], *in_before[-1:], *found[-1:], *in_found[-1:]]
    return candidates[-1] if candidates else None


def corrected(
    before: Sequence[Target], said: Sequence[str], meant_not: str = "", role: str = ""
) -> list[Target]:
    """Put what was meant in the place of what was understood.

    Args:
        before: targets of the command that is corrected.
        said: expressions that take a place.
        meant_not: expression of what was not meant, "" where that was not said.
        role: of the place, "" where that was not said.

    Returns:
        The targets with one replaced: the one that was not meant, else the one of that role, else
        the one that what is said suits: with an adjective of the same class ("the green one" after
        "put the red cup on the tray"), a bowl for a place, an apple for none; else the last one.
    """
    at = _replaced(before, said, meant_not, role)
    old = before[at]
    new = [Target(expression=named_like(each, old.expression), role=old.role) for each in said]
    return [*before[:at], *new, *before[at + 1 :]]


def _replaced(before: Sequence[Target], said: Sequence[str], meant_not: str, role: str) -> int:
    if meant_not:
        nouns = set(_plain_noun_phrase(meant_not)[1])
        for index in reversed(range(len(before))):
            if nouns & set(_plain_noun_phrase(before[index].expression)[1]):
                return index
    if role:
        for index in reversed(range(len(before))):
            if before[index].role.startswith(role):
                return index
    if refers_back(said[0]):
        wanted = _classes(said[0])
        alike = [at for at, each in enumerate(before) if _classes(each.expression) & wanted]
        return alike[-1] if alike else len(before) - 1
    is_place = [target.role.startswith("place") for target in before]
    if any(is_place) and not all(is_place):
        noun = _plain_noun_phrase(said[0])[1][-1]
        if SINGULARS.get(noun, noun) not in PLACES:
            return is_place.index(False)
    return len(before) - 1


def _classes(expression: str) -> set[str]:
    """Of its adjectives: "the big red mug" has a size and a colour."""
    return {_CLASS_OF[key] for key in _keys(expression) if key in _CLASS_OF}
