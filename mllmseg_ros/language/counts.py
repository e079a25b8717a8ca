# SPDX-License-Identifier: Apache-2.0
"""How many things an English expression asks for: "two mugs", "one of the mugs", "the mug".

Entry points: :func:`count_asked`, :func:`asks_for_one`.
"""

from __future__ import annotations

from functools import lru_cache

from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.english_words import PLURALS, SINGULARS
from mllmseg_ros.language.language import fold, word_set

__all__ = ["asks_for_one", "count_asked"]

_NUMBERS = {
    word: number
    for number, word in enumerate(
        (
            *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
            *("eighteen", "nineteen", "twenty"),
        ),
        start=1,
    )
} | {"both": 2, "dozen": 12}
_BEFORE = word_set("the my your our his her its their these those another a")
_PHRASES = {("a", "couple", "of"): 2, ("a", "dozen"): 12, ("half", "a", "dozen"): 6}
# An expression with one of these asks for one thing, if its noun is singular.
_ONE = word_set("the a an this that my your our his her its their another one")


@lru_cache(maxsize=256)
def count_asked(expression: str) -> int | None:
    """Return how many things an expression asks for by a number; None without a number.

    "The two mugs" and "two of the mugs" are 2. "The ten millimetre socket", "mug two" and "the
    second mug" have no number of things.
    """
    keys = _keys(expression)
    for phrase, count in _PHRASES.items():
        if tuple(keys[: len(phrase)]) == phrase:
            return count
    begin = 1 if keys and keys[0] in _BEFORE else 0
    if begin >= len(keys):
        return None
    number = int(keys[begin]) if keys[begin].isdecimal() else _NUMBERS.get(keys[begin], 0)
    rest = keys[begin + 1 :]
    if not number or not rest:
        return None
    if rest[0] == "of":
        return number
    head = _head(rest)
    if number == 1:
        return None if begin or _is_plural(head) else 1
    return number if _is_plural(head) or len(rest) == 1 or head == "more" else None


@lru_cache(maxsize=256)
def asks_for_one(expression: str) -> bool:
    """Whether an expression asks for one thing: "the red mug", but not "the mugs"."""
    keys = _keys(expression)
    if not keys or keys[0] not in _ONE:  # "red mug"
        return bool(keys) and ENGLISH.things.issuperset(keys) and keys[-1] in PLURALS
    count = count_asked(expression)
    return count == 1 or (count is None and not _is_plural(_head(keys[1:])))


def _keys(expression: str) -> list[str]:
    return [fold(word.strip(",.!?;:")) for word in expression.split()]


def _head(keys: list[str]) -> str:
    """Return the last word of the noun phrase; "" without one."""
    tails = ENGLISH.phrases("tails")
    end = next((at for at in range(1, len(keys)) if tails.length_at(keys, at)), len(keys))
    return keys[end - 1] if keys else ""


def _is_plural(noun: str) -> bool:
    """Whether a noun is plural; one that is not in the table by its ending."""
    if noun in SINGULARS:
        return True
    return noun not in PLURALS and noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
