# SPDX-License-Identifier: Apache-2.0
"""``mllmseg segment``: mark what expressions name in a picture."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, load_segmenter, read_command
from mllmseg_ros.cli.files import read_picture, write_json, write_picture


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    segment = verbs.add_parser("segment", help="mark what expressions name in a picture")
    segment.add_argument("image", type=Path, help="PNG, JPEG, …")
    segment.add_argument("expressions", nargs="+", metavar="EXPRESSION")
    segment.add_argument("-o", "--output", type=Path, help="overlay picture to write")
    segment.add_argument("--json", type=Path, help="result file to write, - for stdout")
    segment.add_argument("--prompt", choices=("single", "joint"), default="single")
    add_model(segment)
    segment.set_defaults(run=_segment)


def _segment(asked: argparse.Namespace) -> None:
    from mllmseg_ros.overlay import draw_overlay

    command = read_command(asked.expressions)
    rgb = read_picture(asked.image)
    expressions = [target.expression for target in command.targets]
    answers = load_segmenter(asked)(rgb, expressions, prompt=asked.prompt)
    for answer in answers:
        score = "" if math.isnan(answer.score) else f"  score {answer.score:.2f}"
        print(
            f"{answer.expression!r}: {answer.status.value}{score}"
            f"  mask score {answer.mask_score:.2f}  {answer.area_px} px  box {answer.box_xyxy}"
            + (f"  ({answer.doubt})" if answer.doubt else "")
        )
    if asked.output is not None:
        write_picture(draw_overlay(rgb, answers), asked.output)
    write_json([_fields(answer) for answer in answers], asked.json)


def _fields(answer: Any) -> dict[str, Any]:
    """An answer without its arrays; no number that JSON cannot say."""
    fields = {
        name: getattr(answer, name)
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
    score = None if math.isnan(answer.score) else answer.score
    return {**fields, "status": answer.status.value, "score": score}
