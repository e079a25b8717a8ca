# SPDX-License-Identifier: Apache-2.0
"""``mllmseg segment``: segment expressions in an image."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_backend, add_model, load_segmenter, read_command
from mllmseg_ros.cli.files import read_image, write_json


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    segment = verbs.add_parser("segment", help="segment expressions in an image")
    segment.add_argument("image", type=Path, help="image file (PNG, JPEG, WebP, BMP or GIF)")
    segment.add_argument(
        "expressions",
        nargs="+",
        metavar="EXPRESSION",
        help="referring expression, such as 'the red mug'",
    )
    segment.add_argument("-o", "--output", type=Path, help="overlay image to write")
    segment.add_argument("--json", type=Path, help="JSON results to write, - for stdout")
    segment.add_argument(
        "--prompt",
        choices=("single", "joint"),
        default="single",
        help="one expression per prompt (default), or all in one",
    )
    add_model(segment)
    add_backend(segment)
    segment.set_defaults(run=_segment)


def _segment(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.drawing.image_file import write_image
    from mllmseg_ros.drawing.overlay import draw_overlay

    expressions = read_command(_parse_expressions(arguments.expressions)).expressions
    rgb = read_image(arguments.image)
    segmenter = load_segmenter(arguments, backend=arguments.backend)
    segmentations = segmenter(rgb, expressions, prompt_mode=arguments.prompt)
    for segmentation in segmentations:
        score = "" if math.isnan(segmentation.score) else f"  score {segmentation.score:.2f}"
        where = (
            f"  {segmentation.area_px} px  box {segmentation.box_xyxy}"
            if segmentation.area_px
            else ""
        )
        doubt = f"  ({segmentation.doubt})" if segmentation.doubt else ""
        print(
            f"{segmentation.expression!r}: {segmentation.status.value}{score}"
            f"  mask score {segmentation.mask_score:.2f}{where}{doubt}"
        )
    if arguments.output is not None:
        write_image(arguments.output, draw_overlay(rgb, segmentations))
    write_json([_json_fields(segmentation) for segmentation in segmentations], arguments.json)


def _parse_expressions(texts: Sequence[str]) -> list[str]:
    """Get the expressions of texts, which may be sentences; note on stderr how those were read."""
    from mllmseg_ros.language.conversation import LANGUAGES, understand

    expressions = []
    for text in texts:
        understood = understand(text, LANGUAGES["en"])
        if understood.command.is_stop:
            raise ValueError(f"{text!r} names nothing to look for")
        if understood.note:
            print(f"{text!r}: {understood.note}", file=sys.stderr)
        expressions += understood.command.expressions
    return expressions


def _json_fields(segmentation: Any) -> dict[str, Any]:
    """Get a segmentation's fields for JSON: no arrays, None for NaN."""
    fields = {
        name: getattr(segmentation, name)
        for name in (
            "expression",
            "found",
            "mask_score",
            "box_xyxy",
            "centroid_uv",
            "inside_uv",
            "area_px",
            "doubt",
        )
    }
    score = None if math.isnan(segmentation.score) else segmentation.score
    return {**fields, "status": segmentation.status.value, "score": score}
