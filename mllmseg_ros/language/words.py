# SPDX-License-Identifier: Apache-2.0
"""Split a spoken sentence into words, and repair slips of speech and of its recognition.

There are three repairs: fillers and repeated words are removed, numbers before a thing are spelled
out, and misheard words beside words for things are replaced.
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

    text: str  # original, with punctuation
    key: str  # folded, without punctuation
    pause: bool  # a comma or the like follows

    def with_text(self, text: str) -> Word:
        """Replace the text, keeping the punctuation."""
        tail = self.text[len(self.text.rstrip(_PAUSES)) :]
        return dataclasses.replace(self, text=text + tail, key=fold(text))


def split_words(text: str, language: Language) -> list[Word]:
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
    return _repair_misheard(_remove_repetitions(_remove_fillers(words, language)), language)


def join_words(words: Sequence[Word]) -> str:
    """Join words to text, without punctuation around it."""
    return " ".join(word.text for word in words).strip(_PAUSES + '"“”„ ')


def word_keys(words: Sequence[Word]) -> list[str]:
    """Get the folded words, for comparisons."""
    return [word.key for word in words]


def _remove_fillers(words: Sequence[Word], language: Language) -> list[Word]:
    fillers, keys, at = language.phrases("fillers"), word_keys(words), 0
    closers = language.phrases("closers")
    kept: list[Word] = []
    while at < len(words):
        # "noch mal" as a command contains the filler "mal".
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


def _remove_repetitions(words: Sequence[Word]) -> list[Word]:
    """Remove immediate repetitions; the last one is kept."""
    kept: list[Word] = []
    for word in words:
        kept.append(word)
        for length in range(1, _LONGEST_REPETITION + 1):
            last, before = word_keys(kept[-length:]), word_keys(kept[-2 * length : -length])
            if last == before and all(key[0].isalpha() for key in last):
                del kept[-2 * length : -length]
    return kept


def _repair_misheard(words: Sequence[Word], language: Language) -> list[Word]:
    repaired = list(words)
    for index in range(1, len(words)):
        right = language.misheard_nouns.get(words[index].key)
        before = words[index - 1].key
        if right and (before in language.adjectives or before in language.misheard_adjectives):
            repaired[index] = words[index].with_text(right)
    for index in reversed(range(len(words) - 1)):
        word, after = repaired[index], repaired[index + 1].key
        # "The two boxes", not "bay 2 on the left": that is a name.
        is_name = index and repaired[index - 1].key in language.nouns
        number = None if is_name else language.numbers.get(word.key)
        right = language.misheard_adjectives.get(word.key) or number
        # Between an article and an unknown word there is also an adjective.
        between = index and repaired[index - 1].key in language.determiners
        is_thing = after in language.things or ((number or between) and after.isalpha())
        if right and not word.pause and is_thing:
            repaired[index] = word.with_text(right)
    return repaired
