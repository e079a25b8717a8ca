# SPDX-License-Identifier: Apache-2.0
"""The words of a model that was taught few words.

It answers any other word at random, and is as sure of it.
"""

from __future__ import annotations

import re
from collections.abc import Set

__all__ = ["unknown_words", "words_in"]

_WORD = re.compile(r"[^\W\d_]+")
_MIN_TYPO_LETTERS = 5


def words_in(text: str) -> list[str]:
    """The words of a text, lower case, without numbers and punctuation."""
    return _WORD.findall(text.casefold())


def unknown_words(expression: str, known: Set[str]) -> list[str]:
    """Words of an expression that are none of ``known``; itself, where it has no word at all.

    A longer word with two letters in the wrong order is known, as in the training.
    """
    words = list(dict.fromkeys(words_in(expression))) or [expression]
    return [word for word in words if not known & _spellings(word)]


def _spellings(word: str) -> set[str]:
    """What may be meant by a word: itself, and where it is long with two neighbours exchanged."""
    swapped = (word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1))
    return {word, *swapped} if len(word) >= _MIN_TYPO_LETTERS else {word}
