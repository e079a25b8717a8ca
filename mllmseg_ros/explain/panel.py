# SPDX-License-Identifier: Apache-2.0
"""Draw an explanation as one panel: result, probability, attention, shares and word ablations.

docs/seeing.md describes each part.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import Box, place_labels
from mllmseg_ros.drawing.text import Color, draw_text, fit_text, render_text
from mllmseg_ros.explain.explanation import Explanation
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["describe_decision", "draw_explanation"]

_CELL_W, _GAP, _COLUMNS = 372, 24, 4  # px
_CELL_H_LIMITS = (200, 480)
_TITLE_PX, _HEAD_PX, _TEXT_PX = 26, 17, 13
_CAPTION_H = 76  # a heading and up to three lines
_BACKGROUND, _TEXT, _GREY = (255, 255, 255), (30, 30, 30), (110, 110, 110)
_YES, _NO, _UNSURE = (0, 128, 92), (190, 60, 20), (170, 115, 0)
_BAR_BACKGROUND = (226, 226, 226)
_OUTLINE, _OTHER_REGION = (255, 255, 255), (255, 210, 60)
_HEAT_ALPHA = 0.7
_VIEW_NAMES = (
    "Vision tokens, enriched by the LLM",
    "Vision tokens",
    "LLM states, upsampled",
)
_DECISIONS = {
    Status.FOUND: ("found", _YES),
    Status.NO_TARGET: ("not there", _NO),
    Status.LOW_CONFIDENCE: ("not sure", _UNSURE),
}

Canvas = NDArray[np.uint8]


def draw_explanation(rgb: Canvas, explanation: Explanation) -> Canvas:
    """Draw the panel.

    Args:
        rgb: (H, W, 3) uint8 RGB, the image that was explained.
        explanation: of a segmentation of it.

    Returns:
        RGB uint8, 1608 px wide; the height follows the image's aspect ratio.

    Raises:
        ValueError: if image and segmentation differ in size.
    """
    segmentation = explanation.segmentation
    if segmentation.mask.shape != rgb.shape[:2]:
        raise ValueError(
            f"the segmentation is {segmentation.mask.shape}, the image {rgb.shape[:2]}"
        )
    cell_h = int(np.clip(_CELL_W * rgb.shape[0] / rgb.shape[1], *_CELL_H_LIMITS))
    rows_y = [_GAP + 72, _GAP + 72 + cell_h + _CAPTION_H]
    columns_x = [_GAP + i * (_CELL_W + _GAP) for i in range(_COLUMNS)]
    height = rows_y[1] + cell_h + _CAPTION_H
    panel = np.full((height, columns_x[-1] + _CELL_W + _GAP, 3), _BACKGROUND, np.uint8)
    _draw_decision(panel, explanation)
    small = _as_rgb(cv2.resize(rgb, (_CELL_W, cell_h), interpolation=cv2.INTER_AREA))
    dim = _as_rgb(cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    cells = [
        _draw_result_cell(small, explanation),
        _draw_probability_cell(dim, explanation),
        _draw_attention_cell(dim, explanation),
    ]
    for x, (canvas, head, lines) in zip(columns_x, cells, strict=False):
        _draw_cell(panel, canvas, (x, rows_y[0]), head, lines)
    strongest = max(float(np.abs(explanation.shares).max()), 1e-6)
    for index, (x, name) in enumerate(zip(columns_x, _VIEW_NAMES, strict=False)):
        canvas = _blend(
            dim, _color_signed(_resize_like(explanation.shares[index], dim) / strongest)
        )
        _draw_outline(canvas, segmentation.raw_mask, (60, 60, 60))
        lines = [f"red: for the mask, blue: against it (full colour: {strongest:.0f} logits)"]
        _draw_cell(panel, canvas, (x, rows_y[1]), name, lines)
    _draw_words(panel, explanation, (columns_x[3], rows_y[0]), cell_h)
    _draw_shares(panel, explanation, (columns_x[3], rows_y[1]))
    return panel


# Cells: (RGB image, heading, lines below it)


def _draw_result_cell(small: Canvas, explanation: Explanation) -> tuple[Canvas, str, list[str]]:
    segmentation, canvas = explanation.segmentation, small.copy()
    if segmentation.status is Status.NO_TARGET:
        lines = ["The mask is empty: the expression was rejected."]
        others = explanation.regions
    else:
        _draw_outline(canvas, segmentation.mask, (0, 0, 0), 4)
        _draw_outline(canvas, segmentation.mask, _OUTLINE, 2)
        lines = ["White: the mask."]
        others = tuple(each for each in explanation.regions if not each.in_mask)
    _draw_boxes(
        canvas, [(each.box_xyxy, f"{each.peak:.2f}") for each in others], segmentation.mask.shape
    )
    if others:
        which = "regions" if segmentation.status is Status.NO_TARGET else "other regions"
        lines.append(f"Yellow: {which} considered, with their highest probability.")
    else:
        lines.append("No other region reached a probability of 0.10.")
    return canvas, "The result", lines


def _draw_boxes(canvas: Canvas, labelled: list[tuple[Box, str]], size_hw: tuple[int, ...]) -> None:
    """Draw labelled boxes, given in pixels of an image of another size."""
    scale = np.array(canvas.shape[1::-1] * 2) / np.array(tuple(size_hw[::-1]) * 2)
    boxes: list[Box] = []
    for box, _ in labelled:
        x0, y0, x1, y1 = np.round(np.array(box) * scale).astype(int).tolist()
        boxes.append((x0, y0, x1, y1))
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), 3)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _OTHER_REGION, 1)
    texts = [f" {text} " for _, text in labelled]
    sizes = [render_text(text, _TEXT_PX).shape[::-1] for text in texts]
    wh = (canvas.shape[1], canvas.shape[0])
    for text, (x0, y0, x1, y1) in zip(
        texts, place_labels(boxes, [(w, h) for w, h in sizes], wh, boxes), strict=True
    ):
        canvas[y0:y1, x0:x1] = _OTHER_REGION
        draw_text(canvas, text, (x0, y0), _TEXT, _TEXT_PX)


def _draw_probability_cell(dim: Canvas, explanation: Explanation) -> tuple[Canvas, str, list[str]]:
    segmentation = explanation.segmentation
    heat = _resize_like(segmentation.probability, dim)
    canvas = _blend(dim, _color_heat(heat))
    _draw_outline(canvas, segmentation.raw_mask, _OUTLINE, 1)
    _draw_scale(canvas, "0", "1")
    lines = [f"White line: the threshold {explanation.cut:.2f}. The mask is inside."]
    if segmentation.status is Status.NO_TARGET and segmentation.raw_mask.any():
        lines.append("It is computed before the decision, and was discarded here.")
    elif not segmentation.area_px:
        lines.append(f"No pixel reaches it: the highest is {segmentation.probability.max():.2f}.")
    return canvas, "Probability of each pixel", lines


def _draw_attention_cell(dim: Canvas, explanation: Explanation) -> tuple[Canvas, str, list[str]]:
    weights = explanation.image_attention
    strongest = max(float(weights.max()), 1e-9)
    canvas = _blend(dim, _color_heat(_resize_like(weights, dim) / strongest))
    _draw_scale(canvas, "0", f"{100 * strongest:.1f} %")
    n_layers, n_heads, _ = explanation.attention.shape
    lines = [
        f"{100 * explanation.image_share:.0f} % of its attention is on the image,",
        f"the rest on words (mean over {n_layers} layers x {n_heads} heads).",
    ]
    return canvas, "Attention of the deciding token", lines


def _draw_cell(
    panel: Canvas, canvas: Canvas, left_top: tuple[int, int], head: str, lines: list[str]
) -> None:
    x, y = left_top
    panel[y : y + canvas.shape[0], x : x + canvas.shape[1]] = canvas
    y += canvas.shape[0] + 4
    draw_text(panel, head, (x, y), _TEXT, _HEAD_PX)
    for row, line in enumerate(lines):
        draw_text(panel, line, (x, y + 23 + row * 16), _GREY, _TEXT_PX)


# Text and bars


def _draw_decision(panel: Canvas, explanation: Explanation) -> None:
    segmentation = explanation.segmentation
    decision, color = _DECISIONS[segmentation.status]
    max_width = panel.shape[1] - 2 * _GAP - 200
    name = fit_text(f'"{segmentation.expression}"', _TITLE_PX, max_width)
    x = _GAP + draw_text(panel, f"{name}  ", (_GAP, 14), _TEXT, _TITLE_PX)
    draw_text(panel, decision, (x, 14), color, _TITLE_PX)
    draw_text(panel, describe_decision(explanation), (_GAP, 50), _TEXT, _HEAD_PX)
    bar_x = _GAP + render_text(describe_decision(explanation), _HEAD_PX).shape[1] + 24
    value = segmentation.score if explanation.by_score else segmentation.mask_score
    _draw_bar(panel, (bar_x, 54, 240, 14), value, explanation.limit, color)


def describe_decision(explanation: Explanation) -> str:
    """Describe in one line what determined the decision."""
    segmentation, limit = explanation.segmentation, explanation.limit
    if explanation.by_score:
        side = "reaches" if segmentation.score >= limit else "is below"
        text = f"Its score {segmentation.score:.2f} {side} the threshold {limit:.2f}"
        if segmentation.status is Status.LOW_CONFIDENCE:
            text += ", but no pixel is in the mask"
        return text
    if not segmentation.area_px:
        return "No pixel is in the mask; this model cannot reject an expression"
    side = "reaches" if segmentation.mask_score >= limit else "is below"
    return (
        f"Its mask score {segmentation.mask_score:.2f} {side} {limit:.2f}; "
        "this model cannot reject an expression"
    )


def _draw_words(
    panel: Canvas, explanation: Explanation, left_top: tuple[int, int], height: int
) -> None:
    """Draw the results for the expression with one word left out."""
    x, y = left_top
    draw_text(panel, "Influence of each word", (x, y - 4), _TEXT, _HEAD_PX)
    y += 24
    if not explanation.word_ablations:
        draw_text(panel, "The expression has only one word.", (x, y), _GREY, _TEXT_PX)
        return
    draw_text(panel, "Results with one word left out:", (x, y), _GREY, _TEXT_PX)
    y += 24
    n_rows = (left_top[1] + height - y) // 40
    for word, ablated in explanation.word_ablations[:n_rows]:
        decision, color = _DECISIONS[ablated.status]
        position = _compare_masks(explanation.segmentation, ablated)
        value = ablated.score if explanation.by_score else ablated.mask_score
        line = fit_text(f"without {word!r}: {decision}{position}", _TEXT_PX, _CELL_W)
        draw_text(panel, line, (x, y), color, _TEXT_PX)
        _draw_bar(panel, (x, y + 20, 240, 10), value, explanation.limit, color)
        y += 40


def _compare_masks(segmentation: Segmentation, other: Segmentation) -> str:
    """Describe whether two masks are at the same position."""
    if not (segmentation.area_px and other.area_px):
        return ""
    shared = np.count_nonzero(segmentation.mask & other.mask)
    iou = shared / (segmentation.area_px + other.area_px - shared)
    return ", same position" if iou >= 0.5 else ", elsewhere" if iou < 0.1 else ", partly"


def _draw_shares(panel: Canvas, explanation: Explanation, left_top: tuple[int, int]) -> None:
    """Draw the contrast of each view between the mask and its surroundings."""
    x, y = left_top
    draw_text(panel, "Contribution of each view", (x, y - 4), _TEXT, _HEAD_PX)
    for line in (
        "The mask logits are the sum of the three maps on the left",
        "and of the logits without them. Mean over the mask, minus",
        "the mean around it (in logits):",
    ):
        y += 18 if y > left_top[1] else 24
        draw_text(panel, line, (x, y), _GREY, _TEXT_PX)
    y += 28
    contrasts = explanation.contrasts
    if not any(contrasts):
        draw_text(panel, "There is no mask.", (x, y), _GREY, _TEXT_PX)
        return
    largest = max(abs(each) for each in contrasts)
    zero, half_width = x + _CELL_W // 2, _CELL_W // 2 - 4
    for name, value in zip(_VIEW_NAMES, contrasts, strict=True):
        draw_text(panel, f"{name}: {round(value, 1) + 0.0:+.1f}", (x, y), _TEXT, _TEXT_PX)
        end = zero + round(value / largest * half_width)
        left, right = sorted((zero, end))
        panel[y + 19 : y + 29, left : right + 1] = (190, 60, 40) if value > 0 else (40, 90, 190)
        panel[y + 16 : y + 32, zero] = _TEXT
        y += 40


def _draw_bar(
    panel: Canvas, box_xywh: tuple[int, int, int, int], value: float, limit: float, color: Color
) -> None:
    """Draw a value between 0 and 1 as a bar, with a tick at the limit and the number beside it."""
    x, y, width, height = box_xywh
    panel[y : y + height, x : x + width] = _BAR_BACKGROUND
    panel[y : y + height, x : x + round(float(np.clip(value, 0, 1)) * width)] = color
    tick = x + round(float(np.clip(limit, 0, 1)) * width)
    panel[y - 3 : y + height + 3, tick - 1 : tick + 1] = _TEXT
    draw_text(panel, f"{value:.2f}", (x + width + 8, y + height // 2 - 8), _TEXT, _TEXT_PX)


# Maps


def _as_rgb(canvas: NDArray) -> Canvas:
    """Declare the dtype of an OpenCV result."""
    return np.asarray(canvas, dtype=np.uint8)


def _resize_like(values: NDArray[np.float32], like: Canvas) -> NDArray:
    size = (like.shape[1], like.shape[0])
    return cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)


def _color_heat(heat: NDArray) -> Canvas:
    """Colour a map of [0, 1]."""
    levels = np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    return _as_rgb(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB))


def _color_signed(share: NDArray) -> Canvas:
    """Colour a map of [-1, 1]: blue, white, red."""
    strength = np.abs(np.clip(share, -1, 1))[..., None]
    color = np.where(share[..., None] > 0, np.array([190, 20, 20.0]), np.array([20, 60, 190.0]))
    return np.asarray(255 * (1 - strength) + color * strength, dtype=np.uint8)


def _blend(dim: Canvas, colors: Canvas) -> Canvas:
    return _as_rgb(cv2.addWeighted(dim, 1 - _HEAT_ALPHA, colors, _HEAT_ALPHA, 0))


def _draw_outline(canvas: Canvas, mask: NDArray[np.bool_], color: Color, line_px: int = 1) -> None:
    """Draw a mask's outline on an image of another size."""
    size = (canvas.shape[1], canvas.shape[0])
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(
        np.pad(small, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    cv2.drawContours(canvas, outlines, -1, color, line_px, cv2.LINE_AA)


def _draw_scale(canvas: Canvas, low: str, high: str) -> None:
    """Draw the colour scale of :func:`_color_heat` in a corner."""
    width, height, margin = 90, 10, 8
    x = canvas.shape[1] - width - margin - 54
    y = canvas.shape[0] - height - margin
    canvas[y - 6 : y + height + 6, x - 22 : canvas.shape[1]] = (20, 20, 20)
    canvas[y : y + height, x : x + width] = _color_heat(
        np.tile(np.linspace(0, 1, width), (height, 1))
    )
    draw_text(canvas, low, (x - 14, y - 3), (255, 255, 255), _TEXT_PX)
    draw_text(canvas, high, (x + width + 6, y - 3), (255, 255, 255), _TEXT_PX)
