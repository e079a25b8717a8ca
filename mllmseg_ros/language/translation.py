# SPDX-License-Identifier: Apache-2.0
"""Translate expressions into English, word by word, with the glossary of a table.

Inflected words are found by stem and ending, compounds by their parts. Unknown words are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from mllmseg_ros.language.language import Glossary, Language, Phrases, fold
from mllmseg_ros.language.words import Word, join_words, word_keys

__all__ = ["translate"]

_MIN_STEM = 2  # letters
_WORDS_BEFORE = 4  # of a noun, where its article may be


def translate(words: Sequence[Word], language: Language) -> tuple[str, list[str]]:
    """Translate an expression into English.

    Returns:
        The expression, and the words that are not in the glossary.
    """
    glossary = language.glossary
    if glossary is None:
        return join_words(words), []
    keys, index, english, unknown, at = word_keys(words), _get_index(language), [], [], 0
    ends_as = ""
    while at < len(words):
        length = index.phrases.length_at(keys, at)
        if length:
            english.append(index.phrase[tuple(keys[at : at + length])])
            at, ends_as = at + length, ""
            continue
        noun, adjective = (
            index.translate_noun(keys[at], keys[max(0, at - _WORDS_BEFORE) : at]),
            index.translate_adjective(keys[at]),
        )
        if noun or adjective:
            english.append(noun or adjective)
            ends_as = "" if noun else "adjective"
        else:
            english.append(join_words(words[at : at + 1]))
            ends_as = ""
            if keys[at].isalpha():
                unknown.append(english[-1])
        at += 1
        # "die größere am Rand": an adjective at the end of its phrase stands for "the bigger one"
        follows = at < len(words) and not language.phrases("tails").length_at(keys, at)
        if ends_as and not follows and len(english) > 1:
            several = english[0] in glossary.plural_after
            english.append("ones" if several else "one")
            ends_as = ""
    return " ".join(each for each in english if each), unknown


class _GlossaryIndex:
    """A glossary, prepared for lookups."""

    def __init__(self, glossary: Glossary, determiners: frozenset[str]) -> None:
        self._glossary, self._determiners = glossary, determiners
        self.phrase = {tuple(fold(key).split()): value for key, value in glossary.phrases.items()}
        self.phrases = Phrases(glossary.phrases)
        self._singular: dict[str, str] = {}
        self._plural: dict[str, str] = {}
        for key, (one, several) in glossary.nouns.items():
            single, plural, *more = fold(key).split()
            for form in (single, *more):
                self._singular[form] = one
            for ending in glossary.noun_endings:
                self._singular.setdefault(single + ending, one)
            for form in (plural, plural + "n"):
                self._plural[form] = several
                if form != single and form not in more:
                    self._singular.pop(form, None)
        self._plural_determiners = glossary.plural_determiners
        self._adjectives = {fold(stem): value for stem, value in glossary.adjectives.items()}
        self._parts = {fold(part): value for part, value in glossary.parts.items()}
        self._shades = {fold(part): value for part, value in glossary.shades.items()}

    def translate_noun(self, key: str, before: Sequence[str]) -> str:
        """Translate a noun, or a compound that ends in one; "" for other words.

        If singular and plural are the same, the words before decide.
        """
        found = self._translate_simple_noun(key, before)
        for cut in range(_MIN_STEM, 0 if found else len(key) - 1):
            head = self._translate_simple_noun(key[cut:].lstrip("-"), before)
            part = self._parts.get(key[:cut].rstrip("-"))
            if head and part is not None:
                return f"{part} {head}".strip()
        return found

    def _translate_simple_noun(self, key: str, before: Sequence[str]) -> str:
        one, several = self._singular.get(key, ""), self._plural.get(key, "")
        if one and several:
            nearest = next((word for word in reversed(before) if word in self._determiners), "")
            return several if nearest in self._plural_determiners else one
        return one or several

    def translate_adjective(self, key: str) -> str:
        """Translate an adjective in any of its forms; "" for other words."""
        for ending in (*self._glossary.endings, ""):
            if not key.endswith(ending):
                continue
            stem = key[: len(key) - len(ending)]
            if stem in self._adjectives:
                return self._adjectives[stem]
            for shade, english in self._shades.items():
                if stem.startswith(shade) and stem[len(shade) :].lstrip("-") in self._adjectives:
                    return f"{english} {self._adjectives[stem[len(shade) :].lstrip('-')]}"
        return ""


@cache
def _get_index(language: Language) -> _GlossaryIndex:
    assert language.glossary is not None
    return _GlossaryIndex(language.glossary, language.determiners)
