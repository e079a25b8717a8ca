# SPDX-License-Identifier: Apache-2.0
"""Draw anti-aliased text on images.

The font comes with Pillow and only has ASCII letters; others are transliterated ("ü" to "ue", "é"
to "e") or become question marks. Rendered text is cached, so that a label on every image only costs
its blending.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_text", "fit_text", "render_text", "transliterate"]

Color = tuple[int, int, int]  # RGB
_MAX_CHARS = 200
_GERMAN = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "…": "..."}
)


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ValueError("Pillow was built without FreeType, which is needed to draw text")
    return font


@lru_cache(maxsize=512)
def render_text(text: str, size_px: int) -> NDArray[np.uint8]:
    """Render one line as coverage (h, w), 0 to 255; h only depends on ``size_px``."""
    font = _font(size_px)
    clean = transliterate(text[:_MAX_CHARS])
    ascent, descent = font.getmetrics()
    width = max(1, int(np.ceil(font.getlength(clean))))
    line = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(line).text((0, ascent), clean, fill=255, font=font, anchor="ls")
    coverage = np.asarray(line)
    coverage.flags.writeable = False
    return coverage


def transliterate(text: str) -> str:
    """Transliterate a text to printable ASCII."""
    bare = unicodedata.normalize("NFKD", text.translate(_GERMAN))
    letters = (letter for letter in bare if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in letters)


def fit_text(text: str, size_px: int, width_px: int) -> str:
    """Truncate a text to a width, with an ellipsis."""
    if render_text(text, size_px).shape[1] <= width_px:
        return text
    kept = text[:_MAX_CHARS]
    while kept and render_text(f"{kept}…", size_px).shape[1] > width_px:
        kept = kept[: min(len(kept) - 1, int(len(kept) * 0.9))]
    return f"{kept.rstrip()}…" if kept else ""


def draw_text(
    canvas: NDArray[np.uint8], text: str, left_top: tuple[int, int], color: Color, size_px: int
) -> int:
    """Draw one line on an RGB image, clipped at its border; returns the width of the line."""
    coverage = render_text(text, size_px)
    x, y = left_top
    view = canvas[max(y, 0) : y + coverage.shape[0], max(x, 0) : x + coverage.shape[1]]
    top, left = max(-y, 0), max(-x, 0)
    alpha = coverage[top : top + view.shape[0], left : left + view.shape[1], None].astype(np.uint16)
    blended = view * (255 - alpha) + np.array(color, dtype=np.uint16) * alpha
    view[:] = blended // 255
    return int(coverage.shape[1])
