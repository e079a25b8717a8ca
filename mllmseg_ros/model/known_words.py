# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of a model that was trained with few words.

Its results for other words are random, with scores as high as for known words.
"""

from __future__ import annotations

import re
from collections.abc import Set

__all__ = ["split_words", "unknown_words"]

_WORD = re.compile(r"[^\W\d_]+")
_MIN_TYPO_LETTERS = 5


def split_words(text: str) -> list[str]:
    """Split a text into words, lower case, without numbers and punctuation."""
    return _WORD.findall(text.casefold())


def unknown_words(expression: str, known: Set[str]) -> list[str]:
    """Return the words of an expression that are not in ``known``, or itself if it has no words.

    A long word with two adjacent letters swapped counts as known, as in the training.
    """
    words = list(dict.fromkeys(split_words(expression))) or [expression]
    return [word for word in words if not known & _correct_typos(word)]


def _correct_typos(word: str) -> set[str]:
    """Return the word and, if it is long, all variants with two adjacent letters swapped."""
    swapped = (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))
    return {word, *swapped} if len(word) >= _MIN_TYPO_LETTERS else {word}
