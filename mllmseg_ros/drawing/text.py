# SPDX-License-Identifier: Apache-2.0
"""Text on pictures, smooth at any size.

The font comes with Pillow and has the letters of English; others are spelt with those ("ü" as "ue",
"é" as "e"), and what cannot be is a question mark. Rendered text is kept: a label that stands on
every frame costs only its blending.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["fit_text", "render_text", "write"]

Color = tuple[int, int, int]  # RGB
_MOST_CHARS = 200
_GERMAN = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "…": "..."}
)


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType, which text on pictures needs")
    return font


@lru_cache(maxsize=512)
def render_text(text: str, size_px: int) -> NDArray[np.uint8]:
    """Render one line: how much ink each pixel has, (h, w) in 0 to 255; h is one for all texts."""
    font = _font(size_px)
    clean = _spelt(text[:_MOST_CHARS])
    ascent, descent = font.getmetrics()
    width = max(1, int(np.ceil(font.getlength(clean))))
    line = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(line).text((0, ascent), clean, fill=255, font=font, anchor="ls")
    ink = np.asarray(line)
    ink.flags.writeable = False
    return ink


def _spelt(text: str) -> str:
    """Spell a text in printable ASCII."""
    bare = unicodedata.normalize("NFKD", text.translate(_GERMAN))
    letters = (each for each in bare if not unicodedata.combining(each))
    return "".join(each if " " <= each <= "~" else "?" for each in letters)


def fit_text(text: str, size_px: int, width_px: int) -> str:
    """The text, or as much of its beginning as fits into a width, with dots for the rest."""
    if render_text(text, size_px).shape[1] <= width_px:
        return text
    kept = text[:_MOST_CHARS]
    while kept and render_text(f"{kept}…", size_px).shape[1] > width_px:
        kept = kept[: min(len(kept) - 1, int(len(kept) * 0.9))]
    return f"{kept.rstrip()}…" if kept else ""


def write(
    canvas: NDArray[np.uint8], text: str, left_top: tuple[int, int], color: Color, size_px: int
) -> int:
    """Write one line on an RGB picture, what reaches over its edge left out; returns its width."""
    ink = render_text(text, size_px)
    x, y = left_top
    view = canvas[max(y, 0) : y + ink.shape[0], max(x, 0) : x + ink.shape[1]]
    top, left = max(-y, 0), max(-x, 0)
    shown = ink[top : top + view.shape[0], left : left + view.shape[1], None].astype(np.uint16)
    blended = view * (255 - shown) + np.array(color, dtype=np.uint16) * shown
    view[:] = blended // 255
    return int(ink.shape[1])
