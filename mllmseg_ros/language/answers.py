# SPDX-License-Identifier: Apache-2.0
"""Answers as a person would say them: "I see two red mugs", "There is no banana here".

English; for who reads them aloud. Knows nothing of messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.english_words import PLURALS, SINGULARS
from mllmseg_ros.language.language import fold, word_set
from mllmseg_ros.language.vocabulary import COUNTS
from mllmseg_ros.segmentation import Status

__all__ = ["Seen", "answer_in_words", "head_at"]

_SWAPPED = {"my": "your", "your": "my", "our": "your", "me": "you", "mine": "yours"}
_ARTICLES = word_set("the a an any some all every each both no several another")
_NOTHING = {"anything": "nothing", "something": "nothing", "everything": "nothing"}
_NOBODY = {"anyone": "nobody", "anybody": "nobody", "someone": "nobody", "somebody": "nobody"}
_NO = _NOTHING | _NOBODY


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What became of one expression."""

    expression: str
    status: Status
    count: int = 1  # instances found


def answer_in_words(seen: Sequence[Seen]) -> str:
    """Say what was found, then what is uncertain, then what is not there; "" for nothing asked."""
    found = [_found(each) for each in seen if each.status is Status.FOUND]
    unsure = [_to_you(each.expression) for each in seen if each.status is Status.LOW_CONFIDENCE]
    sentences = []
    if found:
        sentences.append(f"I see {_listed(found, 'and')}.")
    if unsure:
        sentences.append(f"I am not sure about {_listed(unsure, 'and')}.")
    sentences += [_absent(each.expression) for each in seen if each.status is Status.NO_TARGET]
    return " ".join(sentences)


def _listed(names: Sequence[str], last: str) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def _to_you(expression: str) -> str:
    """As the one answers who was asked: "my keys" are "your keys"."""
    return " ".join(_SWAPPED.get(fold(word), word) for word in expression.split())


def _found(seen: Seen) -> str:
    words = _to_you(seen.expression).split()
    head = head_at(words)
    begin = _without_articles(words)
    if head is None or begin > head or (not begin and fold(words[0]) not in ENGLISH.things):
        return " ".join(words)  # "your keys", "something to drink from"
    is_plural = fold(words[head]) in SINGULARS
    if seen.count == 1 and not is_plural:
        return " ".join(words) if begin else " ".join(["a", *words])
    number = COUNTS[seen.count] if seen.count < len(COUNTS) else str(seen.count)
    forms = SINGULARS if seen.count == 1 else PLURALS
    noun = forms.get(fold(words[head]), words[head])
    return " ".join([number, *words[begin:head], noun, *words[head + 1 :]])


def _absent(expression: str) -> str:
    words = _to_you(expression).split()
    first = fold(words[0])
    if first in _NO:
        return _here("There is", [_NO[first], *words[1:]])
    begin, head = _without_articles(words), head_at(words)
    if head is None or begin > head or (not begin and first not in ENGLISH.things):
        return f"I do not see {' '.join(words)}."
    are = "are" if fold(words[head]) in SINGULARS else "is"
    return _here(f"There {are} no", words[begin:])


def _here(begin: str, words: Sequence[str]) -> str:
    said_where = any(
        ENGLISH.phrases("tails").length_at([fold(word) for word in words], at)
        for at in range(1, len(words))
    )
    return f"{begin} {' '.join(words)}{'' if said_where else ' here'}."


def _without_articles(words: Sequence[str]) -> int:
    """Where an expression goes on after "the", "all the", "two"."""
    begin = 0
    while begin < len(words) - 1 and (fold(words[begin]) in _ARTICLES or _is_number(words[begin])):
        begin += 1
    return begin


def _is_number(word: str) -> bool:
    return word.isdigit() or fold(word) in COUNTS


def head_at(words: Sequence[str]) -> int | None:
    """Index of the noun that an expression is about; None where none of the known ones is."""
    keys = [fold(word.strip(",")) for word in words]
    end = next(
        (at for at in range(1, len(keys)) if ENGLISH.phrases("tails").length_at(keys, at)),
        len(keys),
    )
    last = end - 1
    return last if keys[last] in PLURALS or keys[last] in SINGULARS else None
