# SPDX-License-Identifier: Apache-2.0
"""Perturbations of expressions and images, in several strengths.

Typos, speech recognition errors, noise, blur and the like. Pure functions of their input and a
random generator, without any model.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

__all__ = ["PERTURBATIONS", "Perturbation"]

Rgb = NDArray[np.uint8]
OnText = Callable[[str, np.random.Generator], str]
OnImage = Callable[[Rgb, np.random.Generator], Rgb]


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One change at one strength. An image keeps its size unless ``margin`` cuts it."""

    name: str
    strength: str  # as shown in tables
    text: OnText | None = None
    image: OnImage | None = None
    margin: float = 0.0  # share of the image cut off at each side, masks with it


# Keys beside each other on a QWERTY keyboard.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Words that speech recognisers were observed to write for words of commands.
_MISHEARD = {
    "red": "read", "blue": "blew", "green": "grin", "white": "why", "black": "back",
    "pink": "think", "mug": "mud", "cup": "cop", "bowl": "ball", "ball": "bowl", "can": "ken",
    "plate": "played", "book": "brook", "duck": "dock", "box": "fox", "cube": "queue",
    "right": "write", "left": "lift", "one": "won", "two": "to", "front": "found",
    "bottle": "battle", "large": "launch", "small": "smell", "the": "a",
}  # fmt: skip
_PARAPHRASES = (
    "could you find {x}",
    "{x} please",
    "I am looking for {x}",
    "can you see {x}",
    "show me {x}",
)
_ARTICLES = re.compile(r"\b(the|a|an)\s+", re.IGNORECASE)


def add_typos(text: str, rng: np.random.Generator, n: int) -> str:
    """Mistype n letters: left out, doubled, swapped with the next, or the key beside it."""
    letters = list(text)
    for _ in range(n):
        places = [i for i, letter in enumerate(letters) if letter.isalpha()]
        if len(places) < 3:
            break
        place = places[int(rng.integers(1, len(places)))]  # first letters are rarely mistyped
        kind = int(rng.integers(4))
        if kind == 0:
            del letters[place]
        elif kind == 1:
            letters.insert(place, letters[place])
        elif kind == 2 and place + 1 < len(letters):
            letters[place], letters[place + 1] = letters[place + 1], letters[place]
        else:
            letters[place] = _beside(letters[place], rng)
    return "".join(letters)


def _beside(letter: str, rng: np.random.Generator) -> str:
    for row in _ROWS:
        place = row.find(letter.lower())
        if place >= 0:
            neighbours = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            return neighbours[int(rng.integers(len(neighbours)))]
    return letter


def remove_articles(text: str) -> str:
    """Remove all articles, unless the text has nothing else."""
    return _ARTICLES.sub("", text) or text


def paraphrase(text: str, rng: np.random.Generator) -> str:
    """Rephrase a text as a request to a robot."""
    return _PARAPHRASES[int(rng.integers(len(_PARAPHRASES)))].replace("{x}", text)


def mishear(text: str, rng: np.random.Generator, n: int) -> str:
    """Replace up to n words by what a speech recogniser may write, and add an "um" at times."""
    words = text.split()
    places = [i for i, word in enumerate(words) if word.lower() in _MISHEARD]
    for place in rng.permutation(places)[:n].astype(int):
        words[place] = _MISHEARD[words[place].lower()]
    if rng.random() < 0.3:
        words.insert(int(rng.integers(len(words) + 1)), "um")
    return " ".join(words)


def make_vague(text: str) -> str:
    """Replace the last word by "thing"."""
    head, _, _ = text.rstrip(" .").rpartition(" ")
    return f"{head} thing".strip()


def add_noise(rgb: Rgb, rng: np.random.Generator, sigma: float) -> Rgb:
    """Add Gaussian noise of sigma grey levels."""
    noise = rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def blur(rgb: Rgb, share: float) -> Rgb:
    """Blur with a Gaussian of that share of the image's height."""
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), share * rgb.shape[0]), dtype=np.uint8)


def darken(rgb: Rgb, gain: float) -> Rgb:
    """Scale brightness by a gain."""
    return (rgb * np.float32(gain)).astype(np.uint8)


def compress_jpeg(rgb: Rgb, quality: int) -> Rgb:
    """Compress as JPEG and decompress."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(rgb).save(buffer, format="JPEG", quality=quality)
    return np.asarray(PIL.Image.open(buffer))


def _text(name: str, strength: str, change: OnText) -> Perturbation:
    return Perturbation(name=name, strength=strength, text=change)


def _image(name: str, strength: str, change: OnImage) -> Perturbation:
    return Perturbation(name=name, strength=strength, image=change)


PERTURBATIONS: tuple[Perturbation, ...] = (
    _text("typos", "1 letter", lambda text, rng: add_typos(text, rng, 1)),
    _text("typos", "3 letters", lambda text, rng: add_typos(text, rng, 3)),
    _text("no articles", "all", lambda text, rng: remove_articles(text)),
    _text("paraphrase", "as to a robot", paraphrase),
    _text("misheard", "1 word", lambda text, rng: mishear(text, rng, 1)),
    _text("misheard", "2 words", lambda text, rng: mishear(text, rng, 2)),
    _text("vague", '"thing"', lambda text, rng: make_vague(text)),
    _image("noise", "sigma 10", lambda rgb, rng: add_noise(rgb, rng, 10)),
    _image("noise", "sigma 30", lambda rgb, rng: add_noise(rgb, rng, 30)),
    _image("blur", "0.4 % of height", lambda rgb, rng: blur(rgb, 0.004)),
    _image("blur", "1 % of height", lambda rgb, rng: blur(rgb, 0.01)),
    _image("darkness", "half the light", lambda rgb, rng: darken(rgb, 0.5)),
    _image("darkness", "a fifth", lambda rgb, rng: darken(rgb, 0.2)),
    _image("JPEG", "quality 30", lambda rgb, rng: compress_jpeg(rgb, 30)),
    _image("JPEG", "quality 8", lambda rgb, rng: compress_jpeg(rgb, 8)),
    Perturbation(name="crop", strength="5 % a side", margin=0.05),
    Perturbation(name="crop", strength="15 % a side", margin=0.15),
)
