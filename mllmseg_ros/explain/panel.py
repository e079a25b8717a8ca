# SPDX-License-Identifier: Apache-2.0
"""An explanation as one picture: answer, probability, attention, shares, and what nearly was.

What each part means stands in docs/seeing.md.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import Box, place_labels
from mllmseg_ros.drawing.text import Color, fit_text, render_text, write
from mllmseg_ros.explain.explanation import Explanation
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["draw_explanation", "reason"]

_CELL_W, _GAP, _COLUMNS = 372, 24, 4  # px
_CELL_H_LIMITS = (200, 480)
_TITLE_PX, _HEAD_PX, _TEXT_PX = 26, 17, 13
_CAPTION_H = 76  # a heading and up to three lines
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)
_YES, _NO, _UNSURE = (0, 128, 92), (190, 60, 20), (170, 115, 0)
_RAIL = (226, 226, 226)
_OUTLINE, _OTHER = (255, 255, 255), (255, 210, 60)
_HEAT_ALPHA = 0.7
_VIEW_NAMES = (
    "Vision tokens, enriched by the LLM",
    "Vision tokens",
    "LLM states, upsampled",
)
_VERDICTS = {
    Status.FOUND: ("found", _YES),
    Status.NO_TARGET: ("not there", _NO),
    Status.LOW_CONFIDENCE: ("not sure", _UNSURE),
}

Picture = NDArray[np.uint8]


def draw_explanation(rgb: Picture, explanation: Explanation) -> Picture:
    """Draw the panel.

    Args:
        rgb: (H, W, 3) uint8 RGB, the image that was explained.
        explanation: of an answer on it.

    Returns:
        RGB uint8, 1608 pixels wide, higher the higher the image is.

    Raises:
        ValueError: if the image is of another size than the answer.
    """
    answer = explanation.segmentation
    if answer.mask.shape != rgb.shape[:2]:
        raise ValueError(f"the answer is {answer.mask.shape}, the image {rgb.shape[:2]}")
    cell_h = int(np.clip(_CELL_W * rgb.shape[0] / rgb.shape[1], *_CELL_H_LIMITS))
    rows_y = [_GAP + 72, _GAP + 72 + cell_h + _CAPTION_H]
    columns_x = [_GAP + i * (_CELL_W + _GAP) for i in range(_COLUMNS)]
    height = rows_y[1] + cell_h + _CAPTION_H
    panel = np.full((height, columns_x[-1] + _CELL_W + _GAP, 3), _PAPER, np.uint8)
    _draw_verdict(panel, explanation)
    small = _rgb(cv2.resize(rgb, (_CELL_W, cell_h), interpolation=cv2.INTER_AREA))
    dim = _rgb(cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    cells = [
        _answer_cell(small, explanation),
        _probability_cell(dim, explanation),
        _attention_cell(dim, explanation),
    ]
    for x, (picture, head, lines) in zip(columns_x, cells, strict=False):
        _put(panel, picture, (x, rows_y[0]), head, lines)
    strongest = max(float(np.abs(explanation.shares).max()), 1e-6)
    for index, (x, name) in enumerate(zip(columns_x, _VIEW_NAMES, strict=False)):
        picture = _blend(dim, _for_and_against(_fit(explanation.shares[index], dim) / strongest))
        _outline(picture, answer.mask, (60, 60, 60))
        lines = [f"red: for the mask, blue: against it (full colour: {strongest:.0f} logits)"]
        _put(panel, picture, (x, rows_y[1]), name, lines)
    _draw_words(panel, explanation, (columns_x[3], rows_y[0]), cell_h)
    _draw_shares(panel, explanation, (columns_x[3], rows_y[1]))
    return panel


# Pictures: (RGB of a cell, heading, lines under it)


def _answer_cell(small: Picture, explanation: Explanation) -> tuple[Picture, str, list[str]]:
    answer, picture = explanation.segmentation, small.copy()
    if answer.status is Status.NO_TARGET:
        lines = ["Nothing is marked: the expression was rejected."]
        others = explanation.regions
    else:
        _outline(picture, answer.mask, (0, 0, 0), 4)
        _outline(picture, answer.mask, _OUTLINE, 2)
        lines = ["White: the mask."]
        others = tuple(each for each in explanation.regions if not each.in_mask)
    _mark(picture, [(each.box_xyxy, f"{each.peak:.2f}") for each in others], answer.mask.shape)
    if others:
        which = "places" if answer.status is Status.NO_TARGET else "other places"
        lines.append(f"Yellow: {which} it considered, with their highest probability.")
    else:
        lines.append("No other place reached a probability of 0.10.")
    return picture, "The answer", lines


def _mark(picture: Picture, marks: list[tuple[Box, str]], size_hw: tuple[int, ...]) -> None:
    """Frame boxes of an image of another size, a text at each."""
    scale = np.array(picture.shape[1::-1] * 2) / np.array(tuple(size_hw[::-1]) * 2)
    boxes: list[Box] = []
    for box, _ in marks:
        x0, y0, x1, y1 = np.round(np.array(box) * scale).astype(int).tolist()
        boxes.append((x0, y0, x1, y1))
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), 3)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), _OTHER, 1)
    texts = [f" {text} " for _, text in marks]
    sizes = [render_text(text, _TEXT_PX).shape[::-1] for text in texts]
    wh = (picture.shape[1], picture.shape[0])
    for text, (x0, y0, x1, y1) in zip(
        texts, place_labels(boxes, [(w, h) for w, h in sizes], wh, boxes), strict=True
    ):
        picture[y0:y1, x0:x1] = _OTHER
        write(picture, text, (x0, y0), _INK, _TEXT_PX)


def _probability_cell(dim: Picture, explanation: Explanation) -> tuple[Picture, str, list[str]]:
    answer = explanation.segmentation
    heat = _fit(answer.probability, dim)
    picture = _blend(dim, _colored(heat))
    _outline(picture, answer.mask, _OUTLINE, 1)
    _draw_scale(picture, "0", "1")
    lines = [f"White line: the cut at {explanation.cut:.2f}. What lies inside is the mask."]
    if answer.status is Status.NO_TARGET and answer.area_px:
        lines.append("It is drawn before the decision, and was thrown away here.")
    elif not answer.area_px:
        lines.append(f"No pixel reaches it: the highest is {answer.probability.max():.2f}.")
    return picture, "Probability of each pixel", lines


def _attention_cell(dim: Picture, explanation: Explanation) -> tuple[Picture, str, list[str]]:
    weights = explanation.image_attention
    strongest = max(float(weights.max()), 1e-9)
    picture = _blend(dim, _colored(_fit(weights, dim) / strongest))
    _draw_scale(picture, "0", f"{100 * strongest:.1f} %")
    n_layers, n_heads, _ = explanation.attention.shape
    lines = [
        f"{100 * explanation.image_share:.0f} % of its attention is on the picture,",
        f"the rest on words (mean over {n_layers} layers x {n_heads} heads).",
    ]
    return picture, "Where the deciding token looks", lines


def _put(
    panel: Picture, picture: Picture, left_top: tuple[int, int], head: str, lines: list[str]
) -> None:
    x, y = left_top
    panel[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    y += picture.shape[0] + 4
    write(panel, head, (x, y), _INK, _HEAD_PX)
    for row, line in enumerate(lines):
        write(panel, line, (x, y + 23 + row * 16), _FAINT, _TEXT_PX)


# What is told in words and bars


def _draw_verdict(panel: Picture, explanation: Explanation) -> None:
    answer = explanation.segmentation
    verdict, color = _VERDICTS[answer.status]
    room = panel.shape[1] - 2 * _GAP - 200
    name = fit_text(f'"{answer.expression}"', _TITLE_PX, room)
    x = _GAP + write(panel, f"{name}  ", (_GAP, 14), _INK, _TITLE_PX)
    write(panel, verdict, (x, 14), color, _TITLE_PX)
    write(panel, reason(explanation), (_GAP, 50), _INK, _HEAD_PX)
    bar_x = _GAP + render_text(reason(explanation), _HEAD_PX).shape[1] + 24
    value = answer.score if explanation.by_score else answer.mask_score
    _draw_bar(panel, (bar_x, 54, 240, 14), value, explanation.limit, color)


def reason(explanation: Explanation) -> str:
    """Say in one line what decided."""
    answer, limit = explanation.segmentation, explanation.limit
    if explanation.by_score:
        side = "reaches" if answer.score >= limit else "is below"
        text = f"Its score {answer.score:.2f} {side} the threshold {limit:.2f}"
        if answer.status is Status.LOW_CONFIDENCE:
            text += ", but no pixel is in the mask"
        return text
    if not answer.area_px:
        return "No pixel is in the mask; this model cannot say by itself that nothing is there"
    side = "reaches" if answer.mask_score >= limit else "is below"
    return (
        f"Its mask score {answer.mask_score:.2f} {side} {limit:.2f}; "
        "this model cannot say that nothing is there"
    )


def _draw_words(
    panel: Picture, explanation: Explanation, left_top: tuple[int, int], height: int
) -> None:
    """What the word_ablations expressions were answered."""
    x, y = left_top
    write(panel, "What hangs on which word", (x, y - 4), _INK, _HEAD_PX)
    y += 24
    if not explanation.word_ablations:
        write(panel, "One word alone: there is none to leave out.", (x, y), _FAINT, _TEXT_PX)
        return
    write(panel, "Asked again with one word left out:", (x, y), _FAINT, _TEXT_PX)
    y += 24
    room = (left_top[1] + height - y) // 40
    for word, other in explanation.word_ablations[:room]:
        verdict, color = _VERDICTS[other.status]
        place = _where(explanation.segmentation, other)
        value = other.score if explanation.by_score else other.mask_score
        line = fit_text(f"without {word!r}: {verdict}{place}", _TEXT_PX, _CELL_W)
        write(panel, line, (x, y), color, _TEXT_PX)
        _draw_bar(panel, (x, y + 20, 240, 10), value, explanation.limit, color)
        y += 40


def _where(answer: Segmentation, other: Segmentation) -> str:
    """Whether what the rest names lies at the same place."""
    if not (answer.found and other.found and answer.area_px and other.area_px):
        return ""
    shared = np.count_nonzero(answer.mask & other.mask)
    iou = shared / (answer.area_px + other.area_px - shared)
    return ", the same place" if iou >= 0.5 else ", elsewhere" if iou < 0.1 else ", partly"


def _draw_shares(panel: Picture, explanation: Explanation, left_top: tuple[int, int]) -> None:
    """How much each view lifts the mask over its surroundings."""
    x, y = left_top
    write(panel, "What drew the mask", (x, y - 4), _INK, _HEAD_PX)
    for line in (
        "The mask is the sum of the three pictures to the left and",
        "of a constant. On average over the mask, against what is",
        "around it, each of them adds (in logits):",
    ):
        y += 18 if y > left_top[1] else 24
        write(panel, line, (x, y), _FAINT, _TEXT_PX)
    y += 28
    contrasts = explanation.contrasts
    if not any(contrasts):
        write(panel, "There is no mask to compare with.", (x, y), _FAINT, _TEXT_PX)
        return
    widest = max(abs(each) for each in contrasts)
    zero, room = x + _CELL_W // 2, _CELL_W // 2 - 4
    for name, value in zip(_VIEW_NAMES, contrasts, strict=True):
        write(panel, f"{name}: {round(value, 1) + 0.0:+.1f}", (x, y), _INK, _TEXT_PX)
        end = zero + round(value / widest * room)
        left, right = sorted((zero, end))
        panel[y + 19 : y + 29, left : right + 1] = (190, 60, 40) if value > 0 else (40, 90, 190)
        panel[y + 16 : y + 32, zero] = _INK
        y += 40


def _draw_bar(
    panel: Picture, box_xywh: tuple[int, int, int, int], value: float, limit: float, color: Color
) -> None:
    """A value between 0 and 1 on a rail, a tick where the limit is, the number beside it."""
    x, y, width, height = box_xywh
    panel[y : y + height, x : x + width] = _RAIL
    panel[y : y + height, x : x + round(float(np.clip(value, 0, 1)) * width)] = color
    tick = x + round(float(np.clip(limit, 0, 1)) * width)
    panel[y - 3 : y + height + 3, tick - 1 : tick + 1] = _INK
    write(panel, f"{value:.2f}", (x + width + 8, y + height // 2 - 8), _INK, _TEXT_PX)


# Maps


def _rgb(picture: NDArray) -> Picture:
    """What OpenCV has drawn, with the type that it has."""
    return np.asarray(picture, dtype=np.uint8)


def _fit(values: NDArray[np.float32], like: Picture) -> NDArray:
    size = (like.shape[1], like.shape[0])
    return cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)


def _colored(heat: NDArray) -> Picture:
    """Colour a map of [0, 1]."""
    levels = np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    return _rgb(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))


def _for_and_against(share: NDArray) -> Picture:
    """Colour a map of [-1, 1]: blue, white, red."""
    strength = np.abs(np.clip(share, -1, 1))[..., None]
    color = np.where(share[..., None] > 0, np.array([190, 20, 20.0]), np.array([20, 60, 190.0]))
    return np.asarray(255 * (1 - strength) + color * strength, dtype=np.uint8)


def _blend(dim: Picture, colors: Picture) -> Picture:
    return _rgb(cv2.addWeighted(dim, 1 - _HEAT_ALPHA, colors, _HEAT_ALPHA, 0))


def _outline(picture: Picture, mask: NDArray[np.bool_], color: Color, line_px: int = 1) -> None:
    """Draw a mask's outline on a picture of another size."""
    size = (picture.shape[1], picture.shape[0])
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(
        np.pad(small, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    cv2.drawContours(picture, outlines, -1, color, line_px, cv2.LINE_AA)


def _draw_scale(picture: Picture, low: str, high: str) -> None:
    """The colours of :func:`_colored` from low to high, in a corner."""
    width, height, margin = 90, 10, 8
    x = picture.shape[1] - width - margin - 54
    y = picture.shape[0] - height - margin
    picture[y - 6 : y + height + 6, x - 22 : picture.shape[1]] = (20, 20, 20)
    picture[y : y + height, x : x + width] = _colored(
        np.tile(np.linspace(0, 1, width), (height, 1))
    )
    write(picture, low, (x - 14, y - 3), (255, 255, 255), _TEXT_PX)
    write(picture, high, (x + width + 6, y - 3), (255, 255, 255), _TEXT_PX)
