# SPDX-License-Identifier: Apache-2.0
"""Describe results in English sentences: "I see two red mugs", "There is no banana here"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.language.english import ENGLISH
from mllmseg_ros.language.english_words import PLURALS, SINGULARS
from mllmseg_ros.language.language import fold, word_set
from mllmseg_ros.language.vocabulary import COUNTS
from mllmseg_ros.segmentation import Status

__all__ = ["ExpressionResult", "describe_results", "find_head_noun"]

_SWAPPED = {"my": "your", "your": "my", "our": "your", "me": "you", "mine": "yours"}
_ARTICLES = word_set("the a an any some all every each both no several another")
_NOTHING = {"anything": "nothing", "something": "nothing", "everything": "nothing"}
_NOBODY = {"anyone": "nobody", "anybody": "nobody", "someone": "nobody", "somebody": "nobody"}
_NO = _NOTHING | _NOBODY


@dataclass(frozen=True, kw_only=True)
class ExpressionResult:
    """Result for one expression."""

    expression: str
    status: Status
    count: int = 1  # instances found
    doubt: str = ""  # why it is not found, where there is a reason to name


def describe_results(results: Sequence[ExpressionResult]) -> str:
    """Describe what is found, then what is uncertain, then what is not there; "" for nothing.

    The reasons for what is not found come last.
    """
    found = [_describe_found(each) for each in results if each.status is Status.FOUND]
    unsure = [
        _swap_persons(each.expression) for each in results if each.status is Status.LOW_CONFIDENCE
    ]
    doubts = [each.doubt for each in results if each.status is not Status.FOUND and each.doubt]
    sentences = []
    if found:
        sentences.append(f"I see {_join_names(found, 'and')}.")
    if unsure:
        sentences.append(f"I am not sure about {_join_names(unsure, 'and')}.")
    sentences += [
        _describe_absent(each.expression) for each in results if each.status is Status.NO_TARGET
    ]
    sentences += [f"The reason: {doubt}." for doubt in dict.fromkeys(doubts)]
    return " ".join(sentences)


def _join_names(names: Sequence[str], last: str) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def _swap_persons(expression: str) -> str:
    """Change the grammatical person: "my keys" become "your keys"."""
    return " ".join(_SWAPPED.get(fold(word), word) for word in expression.split())


def _describe_found(result: ExpressionResult) -> str:
    words = _swap_persons(result.expression).split()
    head = find_head_noun(words)
    begin = _skip_articles(words)
    if head is None or begin > head or (not begin and fold(words[0]) not in ENGLISH.things):
        return " ".join(words)  # "your keys", "something to drink from"
    is_plural = fold(words[head]) in SINGULARS
    if result.count == 1 and not is_plural:
        return " ".join(words) if begin else " ".join(["a", *words])
    number = COUNTS[result.count] if result.count < len(COUNTS) else str(result.count)
    forms = SINGULARS if result.count == 1 else PLURALS
    noun = forms.get(fold(words[head]), words[head])
    return " ".join([number, *words[begin:head], noun, *words[head + 1 :]])


def _describe_absent(expression: str) -> str:
    words = _swap_persons(expression).split()
    first = fold(words[0])
    if first in _NO:
        return _add_here("There is", [_NO[first], *words[1:]])
    begin, head = _skip_articles(words), find_head_noun(words)
    if head is None or begin > head or (not begin and first not in ENGLISH.things):
        return f"I do not see {' '.join(words)}."
    are = "are" if fold(words[head]) in SINGULARS else "is"
    return _add_here(f"There {are} no", words[begin:])


def _add_here(begin: str, words: Sequence[str]) -> str:
    has_place = any(
        ENGLISH.phrases("tails").length_at([fold(word) for word in words], at)
        for at in range(1, len(words))
    )
    return f"{begin} {' '.join(words)}{'' if has_place else ' here'}."


def _skip_articles(words: Sequence[str]) -> int:
    """Find the first word after "the", "all the", "two"."""
    begin = 0
    while begin < len(words) - 1 and (fold(words[begin]) in _ARTICLES or _is_number(words[begin])):
        begin += 1
    return begin


def _is_number(word: str) -> bool:
    return word.isdigit() or fold(word) in COUNTS


def find_head_noun(words: Sequence[str]) -> int | None:
    """Find the index of an expression's head noun; None without a known one."""
    keys = [fold(word.strip(",")) for word in words]
    end = next(
        (at for at in range(1, len(keys)) if ENGLISH.phrases("tails").length_at(keys, at)),
        len(keys),
    )
    last = end - 1
    return last if keys[last] in PLURALS or keys[last] in SINGULARS else None
