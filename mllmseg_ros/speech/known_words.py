# SPDX-License-Identifier: Apache-2.0
"""The words of commands about known things, and which of them an unknown word sounds like.

"The flyer vase" is probably "the flower vase". Entry point: :class:`KnownWords`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from mllmseg_ros.language import vocabulary
from mllmseg_ros.language.english import ENGLISH, FUNCTION_WORDS
from mllmseg_ros.language.grammar import build_jsgf, collect_words
from mllmseg_ros.language.language import fold
from mllmseg_ros.speech.pronunciation import Pronunciations

__all__ = ["KnownWords", "load_known_words"]

_COST_OF_SOUND = 3.5  # natural logarithm of the odds, for a phoneme that differs altogether
_COST_OF_UNKNOWN = 4.0  # of a word that no sentence about known things has
_COST_OF_NO_WORD = 6.0  # of one that is not in the dictionary either
_COST_OF_OTHER_THING = 1.0  # of a word for things that the parser knows beside those: "table"
_COST_OF_OTHER_WORD = 2.0  # of another word that it knows: "know"
_COST_OF_PART = 1.0  # of a part of a name without the rest: "toy" in "toy cart"
_MAX_COST = 3.5  # of one replacement
_MAX_REPLACED = 2  # words read as one: "tip out", "teapot"
_N_REPLACEMENTS = 3  # the nearest, of each word
_N_READINGS = 8  # the most likely, up to each word
_FUNCTION_WORDS = {word for word in FUNCTION_WORDS if len(word) > 1}  # not "t", of "isn't"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text with some of its words replaced by known ones that sound alike."""

    text: str
    cost: float  # natural logarithm of the odds against it; 0 if all words are known
    replaced: tuple[tuple[str, str], ...] = ()  # heard, read


class KnownWords:
    """Words of commands: those of the grammar, and the user's names of things."""

    def __init__(self, names: Sequence[str], pronunciations: Pronunciations | None) -> None:
        """Collect the words.

        Args:
            names: the user's own names of things, in lower case, singular.
            pronunciations: None replaces no words.
        """
        self._pronunciations = pronunciations
        self._words = collect_words(build_jsgf(own_names=names))
        of_model = (
            name for forms in vocabulary.VARIED.nouns.values() for pair in forms for name in pair
        )
        self._names = tuple(dict.fromkeys([*of_model, *names]))
        self._words_of_names = frozenset(word for name in self._names for word in name.split())
        self._parts = _find_parts(self._names)
        self._phrases = tuple(dict.fromkeys([*sorted(self._words), *self._names]))
        self._find_alike = cache(self._look_up_alike)

    def read(self, text: str) -> list[Reading]:
        """Read a text in all ways that are likely, the best first."""
        text = re.sub(r"(?<=\w)-(?=\w)", " ", text)  # "red-frying pans"
        words = [fold(word) for word in re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+", text)]
        begun = {0: [Reading(text="", cost=0.0)]}
        for at in range(len(words)):
            likely = sorted(begun.get(at, ()), key=_rank)[:_N_READINGS]
            for end, step in self._iterate_steps(words, at):
                begun.setdefault(end, []).extend(
                    Reading(
                        text=f"{reading.text} {step.text}".strip(),
                        cost=reading.cost + step.cost,
                        replaced=reading.replaced + step.replaced,
                    )
                    for reading in likely
                )
        # What is not replaced stays as it was written, with its punctuation.
        plain = Reading(text=text, cost=sum(map(self._cost_of, words)) + self._cost_of_parts(words))
        readings = {" ".join(words): plain}
        for reading in sorted(begun[len(words)], key=_rank)[:_N_READINGS]:
            cost = reading.cost + self._cost_of_parts(reading.text.split())
            readings.setdefault(reading.text, replace(reading, cost=cost))
        return sorted(readings.values(), key=_rank)

    def fits(self, reading: Reading, expressions: Sequence[str]) -> bool:
        """Whether what was replaced names things, where it is in expressions: no "purple pass"."""
        read = {word for _, phrase in reading.replaced for word in phrase.split()}
        return all(
            word in ENGLISH.things | ENGLISH.determiners | self._words_of_names
            for expression in expressions
            for word in read.intersection(expression.split())
        )

    def _cost_of_parts(self, words: Sequence[str]) -> float:
        """Sum up the cost of words that only occur in names of several words."""
        following = zip(words, [*words[1:], ""], strict=True)
        n = sum(after not in self._parts.get(word, (after,)) for word, after in following)
        return _COST_OF_PART * n

    def _iterate_steps(self, words: Sequence[str], at: int) -> Iterator[tuple[int, Reading]]:
        """Yield readings of what begins at a word, with the index of the word after it."""
        cost = self._cost_of(words[at])
        yield at + 1, Reading(text=words[at], cost=cost)
        for end in range(at + 1, min(at + _MAX_REPLACED, len(words)) + 1):
            heard = " ".join(words[at:end])
            if all(self._cost_of(word) == 0.0 for word in words[at:end]):
                continue
            for phrase, cost in self._find_alike(heard):
                yield end, Reading(text=phrase, cost=cost, replaced=((heard, phrase),))

    def _cost_of(self, word: str) -> float:
        if word in self._words or word in _FUNCTION_WORDS or word.isdigit():
            return 0.0
        if word in ENGLISH.things:
            return _COST_OF_OTHER_THING
        if word in _words_of_patterns():
            return _COST_OF_OTHER_WORD
        is_no_word = self._pronunciations is not None and not self._pronunciations(word)
        return _COST_OF_NO_WORD if is_no_word else _COST_OF_UNKNOWN

    def _look_up_alike(self, heard: str) -> list[tuple[str, float]]:
        """Find the known words that sound most like others, each with its cost."""
        if self._pronunciations is None:
            return []
        limit = _MAX_COST / _COST_OF_SOUND
        costs = (
            (_COST_OF_SOUND * self._pronunciations.difference(heard, phrase, limit), phrase)
            for phrase in self._phrases
        )
        nearest = sorted((cost, phrase) for cost, phrase in costs if cost <= _MAX_COST)
        return [(phrase, cost) for cost, phrase in nearest[:_N_REPLACEMENTS]]


def load_known_words(language: str, names: Sequence[str]) -> KnownWords | None:
    """Load the words of a language; None for all but English.

    Without pocketsphinx, which has the dictionary and does not exist for some machines, no words
    are replaced.
    """
    if language != "en":
        return None
    try:
        pronunciations = Pronunciations()
    except RuntimeError:
        pronunciations = None
    return KnownWords(names, pronunciations)


def _find_parts(names: Sequence[str]) -> dict[str, frozenset[str]]:
    """Find the words that are no name by themselves, and what follows each in a name."""
    following: dict[str, set[str]] = {}
    for name in names:
        words = name.split()
        for word, after in itertools.pairwise(words):
            following.setdefault(word, set()).add(after)
    return {word: frozenset(after) for word, after in following.items() if word not in names}


@cache
def _words_of_patterns() -> frozenset[str]:
    """Collect the words of the parser's patterns."""
    names = ("openers", "closers", "fillers", "stop", "repeat", "correct", "instead", "repairs")
    phrases = [phrase for name in names for phrase in ENGLISH.phrases(name).all]
    for patterns in ENGLISH.by_first_word.values():
        phrases += [pattern.before + pattern.after for pattern in patterns]
    return frozenset(word for phrase in phrases for word in phrase)


def _rank(reading: Reading) -> tuple[float, int]:
    """Rank by cost, then by what is replaced: "decks", not "rubber decks"."""
    return reading.cost, sum(len(heard) for heard, _ in reading.replaced)
