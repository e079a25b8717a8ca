# SPDX-License-Identifier: Apache-2.0
"""Sheets have a title, captions and outlines in their colours; a plot has axes."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.drawing.contact_sheet import Tile, draw_contact_sheet, format_iou
from mllmseg_ros.drawing.plot import Plot
from mllmseg_ros.drawing.text import render_text

GRAY = np.full((120, 160, 3), 90, np.uint8)
LEFT, RIGHT = np.zeros((2, 120, 160), np.bool_)
LEFT[40:80, 20:60] = True
RIGHT[40:80, 40:80] = True


def has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=2).any())


def shows(image: np.ndarray, text: str, size_px: int) -> bool:
    """Whether a text in dark letters on white is somewhere in an image."""
    ink = 255 - image.min(axis=2).astype(int)
    letters = render_text(text, size_px).astype(int)
    height, width = letters.shape
    windows = np.lib.stride_tricks.sliding_window_view(ink, (height, width))
    strong = letters > 200
    return bool((windows[..., strong].min(axis=-1) > 120).any())


def test_a_sheet_has_title_captions_and_both_outlines() -> None:
    tile = Tile(
        rgb=GRAY, caption="the mug", note="IoU 33 %", badge="before", result=LEFT, truth=RIGHT
    )
    sheet = draw_contact_sheet([tile, Tile(rgb=GRAY, caption="a")], "Two images", "a note")
    assert has(sheet, (255, 140, 0))
    image = sheet[80:300, 16:336]
    assert has(image, (255, 255, 255))  # the truth: around it is no white
    assert shows(sheet[:60], "Two images", 22)
    assert shows(sheet[290:345, :340], "the mug", 15)
    assert sheet.shape[1] > 2 * 320
    with pytest.raises(ValueError, match="no image"):
        draw_contact_sheet([], "nothing")


def test_rows_hold_as_many_tiles_as_columns() -> None:
    tiles = [Tile(rgb=GRAY, caption=str(n)) for n in range(5)]
    wide, high = (draw_contact_sheet(tiles, "t", columns=n) for n in (5, 2))
    assert wide.shape[1] > high.shape[1]
    assert high.shape[0] > 2.5 * (wide.shape[0] - 100)


@pytest.mark.parametrize(
    ("result", "truth", "said"),
    [
        (LEFT, RIGHT, "IoU 33 %"),
        (LEFT, LEFT, "IoU 100 %"),
        (LEFT & False, RIGHT, "not found"),
        (LEFT, RIGHT & False, "found, but not there"),
        (LEFT & False, RIGHT & False, "not there: right"),
    ],
)
def test_two_masks_are_compared_in_words(result: np.ndarray, truth: np.ndarray, said: str) -> None:
    assert format_iou(result, truth) == said


def test_a_plot_has_title_labels_and_ticks_at_their_values() -> None:
    plot = Plot("A title", x=("step", 0, 7700), y=("percent", 0, 100), has_legend=True)
    assert shows(plot.image[:40], "A title", 20)
    for tick in ("2000", "6000", "80", "percent", "step"):
        assert shows(plot.image, tick, 15), tick
    blue = (30, 110, 220)
    plot.line([(0, 0), (7700, 100)], blue, "cIoU")
    (u0, v0), (u1, v1) = plot.place(0, 0), plot.place(7700, 100)
    drawn = (plot.image == blue).all(axis=2)
    assert drawn[v0 - 1, u0 + 1]
    assert drawn[v1 + 1, u1 - 1]
    assert drawn[(v0 + v1) // 2, (u0 + u1) // 2]
    assert drawn[:, u1 + 14 :].any()  # in the legend
    plot.bar((3000, 4000), 50, (1, 2, 3), "12")
    assert (plot.image[plot.place(0, 25)[1], plot.place(3500, 0)[0]] == (1, 2, 3)).all()
