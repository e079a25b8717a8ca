# SPDX-License-Identifier: Apache-2.0
"""How alike English words sound, by the pronouncing dictionary that comes with pocketsphinx.

Entry point: :class:`Pronunciations`. Words that are not in the dictionary have no pronunciation.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Pronunciations", "sound_difference"]

# Phonemes as the dictionary writes them (ARPABET, without stress), by what tongue and lips do.
# Vowels: height from 0 (open) to 1 (closed), place from 0 (front) to 1 (back), roundness; of
# diphthongs the middle.
_VOWELS = {
    "IY": (1.0, 0.0, 0.0), "IH": (0.85, 0.15, 0.0), "EY": (0.75, 0.0, 0.0),
    "EH": (0.5, 0.1, 0.0), "AE": (0.2, 0.15, 0.0), "AA": (0.0, 0.8, 0.0),
    "AH": (0.4, 0.6, 0.0), "AO": (0.3, 0.9, 0.5), "OW": (0.6, 0.9, 0.8),
    "UH": (0.8, 0.8, 0.5), "UW": (1.0, 0.9, 0.8), "ER": (0.5, 0.5, 0.5),
    "AY": (0.4, 0.4, 0.0), "AW": (0.35, 0.7, 0.4), "OY": (0.55, 0.5, 0.5),
}  # fmt: skip
# Consonants: manner, place from 0 (lips) to 1 (glottis), voice.
_CONSONANTS = {
    "P": ("stop", 0.0, 0), "B": ("stop", 0.0, 1), "T": ("stop", 0.4, 0), "D": ("stop", 0.4, 1),
    "K": ("stop", 0.8, 0), "G": ("stop", 0.8, 1),
    "CH": ("affricate", 0.5, 0), "JH": ("affricate", 0.5, 1),
    "F": ("fricative", 0.1, 0), "V": ("fricative", 0.1, 1),
    "TH": ("fricative", 0.25, 0), "DH": ("fricative", 0.25, 1),
    "S": ("fricative", 0.4, 0), "Z": ("fricative", 0.4, 1),
    "SH": ("fricative", 0.5, 0), "ZH": ("fricative", 0.5, 1), "HH": ("fricative", 1.0, 0),
    "M": ("nasal", 0.0, 1), "N": ("nasal", 0.4, 1), "NG": ("nasal", 0.8, 1),
    "L": ("glide", 0.4, 1), "R": ("glide", 0.5, 1), "W": ("glide", 0.1, 1),
    "Y": ("glide", 0.6, 1),
}  # fmt: skip
_MANNER, _PLACE, _VOICE = 0.3, 0.8, 0.2  # costs of a difference between consonants
_VOWEL = 0.6  # the same between vowels, as a factor: they are misheard more easily
_ANY = 0.2  # cost of any difference
_LOST = 0.6  # cost of a phoneme that is there in one of the words only

Phonemes = tuple[str, ...]


class Pronunciations:
    """Pronunciations of words."""

    def __init__(self) -> None:
        """Read the dictionary.

        Raises:
            RuntimeError: pocketsphinx, which has the dictionary, is not installed.
        """
        spec = find_spec("pocketsphinx")
        if spec is None or spec.origin is None:
            raise RuntimeError(
                "pocketsphinx, which has the pronouncing dictionary, is missing: install "
                "requirements/speech.txt (pip install pocketsphinx)"
            )
        path = Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"
        # Searched as text: 130,000 words as objects would take 60 MB.
        self._text = f"\n{path.read_text(encoding='utf-8')}\n"
        self._of_word = cache(self._look_up)
        self._of_phrase = lru_cache(maxsize=1000)(self._join)

    def __call__(self, words: str) -> tuple[Phonemes, ...]:
        """Get the pronunciations of one or several words in lower case; () if one is not known."""
        return self._of_phrase(words)

    def _join(self, words: str) -> tuple[Phonemes, ...]:
        spoken: tuple[Phonemes, ...] = ((),)
        for word in words.split():
            spoken = tuple(
                before + phonemes for before in spoken for phonemes in self._of_word(word)
            )
        return spoken

    def difference(self, a: str, b: str, limit: float = math.inf) -> float:
        """Compute how differently two phrases sound; infinite if a word has no pronunciation.

        Above ``limit`` the result may be infinite too.
        """
        return min(
            (
                sound_difference(x, y)
                for x in self(a)
                for y in self(b)
                if abs(len(x) - len(y)) * _LOST <= limit
            ),
            default=math.inf,
        )

    def _look_up(self, word: str) -> tuple[Phonemes, ...]:
        found: list[Phonemes] = []
        at = self._text.find(f"\n{word} ")
        while at >= 0:  # "read R EH D", and in the next line "read(2) R IY D"
            end = self._text.find("\n", at + 1)
            found.append(tuple(self._text[at:end].split()[1:]))
            at = end if self._text.startswith(f"\n{word}(", end) else -1
        return tuple(found)


@lru_cache(maxsize=100_000)
def sound_difference(a: Phonemes, b: Phonemes) -> float:
    """Compute the edit distance of two pronunciations.

    A phoneme counts as much as it differs, up to 1: 0.46 between "mug" and "mud".
    """
    row = [_LOST * n for n in range(len(b) + 1)]
    for phoneme in a:
        previous, row[0] = row[0], row[0] + _LOST
        for j, other in enumerate(b, 1):
            previous, row[j] = (
                row[j],
                min(row[j] + _LOST, row[j - 1] + _LOST, previous + _difference(phoneme, other)),
            )
    return row[-1]


@cache
def _difference(a: str, b: str) -> float:
    """Compute the cost of one phoneme instead of another."""
    if a == b:
        return 0.0
    cost = 1.0
    if a in _VOWELS and b in _VOWELS:
        cost = _VOWEL * math.dist(_VOWELS[a], _VOWELS[b])
    if a in _CONSONANTS and b in _CONSONANTS:
        (manner, place, voice), (manner_b, place_b, voice_b) = _CONSONANTS[a], _CONSONANTS[b]
        cost = _MANNER * (manner != manner_b) + _PLACE * abs(place - place_b)
        cost += _VOICE * (voice != voice_b)
    return min(1.0, _ANY + (1 - _ANY) * cost)
