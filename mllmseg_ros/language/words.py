# SPDX-License-Identifier: Apache-2.0
"""Words of a spoken sentence, and the repair of what speech and its recognition leave in them.

Repairs are these and no others: fillers and words said twice are left out, numbers before a thing
are written out, and words that sound like another are replaced beside words for things. Entry
points: :class:`Word`, :func:`words_of`, :func:`said`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mllmseg_ros.language.language import Language, fold

_PAUSES = ",.!?…:"
_AROUND = _PAUSES + "\"“”„'’‘()-–—"
_LONGEST_REPETITION = 3  # words


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word of a sentence."""

    text: str  # as said, with its punctuation
    key: str  # folded, without punctuation
    pause: bool  # a comma or the like follows

    def replaced(self, text: str) -> Word:
        """This word as another one, with the same punctuation."""
        tail = self.text[len(self.text.rstrip(_PAUSES)) :]
        return dataclasses.replace(self, text=text + tail, key=fold(text))


def words_of(text: str, language: Language) -> list[Word]:
    """Split a sentence into words and repair it."""
    words: list[Word] = []
    for chunk in text.split():
        pause = chunk[-1] in _PAUSES
        key = fold(chunk.strip(_AROUND))
        if not key:  # punctuation by itself
            if words:
                words[-1] = dataclasses.replace(words[-1], pause=True)
            continue
        expanded = language.contractions.get(key)
        if expanded is None:
            words.append(Word(text=chunk, key=key, pause=pause))
        else:
            parts = expanded.split()
            words += [Word(text=each, key=fold(each), pause=False) for each in parts[:-1]]
            words.append(Word(text=parts[-1], key=fold(parts[-1]), pause=pause))
    return _sounds_repaired(_once(_without_fillers(words, language)), language)


def said(words: Sequence[Word]) -> str:
    """The words as they were said, without punctuation around them."""
    return " ".join(word.text for word in words).strip(_PAUSES + '"“”„ ')


def keys_of(words: Sequence[Word]) -> list[str]:
    """The words as they are compared."""
    return [word.key for word in words]


def _without_fillers(words: Sequence[Word], language: Language) -> list[Word]:
    fillers, keys, at = language.phrases("fillers"), keys_of(words), 0
    closers = language.phrases("closers")
    kept: list[Word] = []
    while at < len(words):
        # "noch mal" is more than the filler "mal" where it is the command.
        whole = 0 if kept else language.phrases("repeat").length_at(keys, at)
        if whole:
            kept += words[at : at + whole]
            at += whole
            continue
        length = fillers.length_at(keys, at)
        if not length:
            kept.append(words[at])
        elif kept and (
            words[at + length - 1].pause
            or (len(kept) > 1 and keys[at : at + length] in closers)  # "please" after a sentence
        ):
            kept[-1] = dataclasses.replace(kept[-1], pause=True)
        at += length or 1
    return kept


def _once(words: Sequence[Word]) -> list[Word]:
    """Without what is said twice in a row; the last time counts."""
    kept: list[Word] = []
    for word in words:
        kept.append(word)
        for length in range(1, _LONGEST_REPETITION + 1):
            last, before = keys_of(kept[-length:]), keys_of(kept[-2 * length : -length])
            if last == before and all(key[0].isalpha() for key in last):
                del kept[-2 * length : -length]
    return kept


def _sounds_repaired(words: Sequence[Word], language: Language) -> list[Word]:
    repaired = list(words)
    for index in range(1, len(words)):
        right = language.misheard_nouns.get(words[index].key)
        before = words[index - 1].key
        if right and (before in language.adjectives or before in language.misheard_adjectives):
            repaired[index] = words[index].replaced(right)
    for index in reversed(range(len(words) - 1)):
        word, after = repaired[index], repaired[index + 1].key
        # "The two boxes", not "bay 2 on the left": that is a name.
        is_name = index and repaired[index - 1].key in language.nouns
        number = None if is_name else language.numbers.get(word.key)
        right = language.misheard_adjectives.get(word.key) or number
        # Between an article and a word that is not known there is an adjective, too.
        between = index and repaired[index - 1].key in language.determiners
        is_thing = after in language.things or ((number or between) and after.isalpha())
        if right and not word.pause and is_thing:
            repaired[index] = word.replaced(right)
    return repaired
