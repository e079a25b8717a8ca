# SPDX-License-Identifier: Apache-2.0
"""``mllmseg segment``: mark what expressions name in a picture."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, load_segmenter, read_command
from mllmseg_ros.cli.files import read_image, write_image, write_json


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
    from mllmseg_ros.drawing.overlay import draw_overlay

    expressions = read_command(_understood(asked.expressions)).expressions
    rgb = read_image(asked.image)
    answers = load_segmenter(asked)(rgb, expressions, prompt_mode=asked.prompt)
    for answer in answers:
        score = "" if math.isnan(answer.score) else f"  score {answer.score:.2f}"
        where = f"  {answer.area_px} px  box {answer.box_xyxy}" if answer.found else ""
        doubt = f"  ({answer.doubt})" if answer.doubt else ""
        print(
            f"{answer.expression!r}: {answer.status.value}{score}"
            f"  mask score {answer.mask_score:.2f}{where}{doubt}"
        )
    if asked.output is not None:
        write_image(draw_overlay(rgb, answers), asked.output)
    write_json([_fields(answer) for answer in answers], asked.json)


def _understood(texts: Sequence[str]) -> list[str]:
    """Expressions as they are, and those of sentences; says on stderr what it understood."""
    from mllmseg_ros.language.conversation import LANGUAGES, understand

    expressions = []
    for text in texts:
        heard = understand(text, LANGUAGES["en"])
        if heard.command.is_stop:
            raise ValueError(f"{text!r} names nothing to look for")
        if heard.note.startswith("understood"):
            print(f"{text!r}: {heard.note}", file=sys.stderr)
        expressions += heard.command.expressions
    return expressions


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
    if not answer.found:  # what is drawn all the same is no place where it is
        fields |= {"box_xyxy": None, "centroid_uv": None, "inside_uv": None, "area_px": 0}
    score = None if math.isnan(answer.score) else answer.score
    return {**fields, "status": answer.status.value, "score": score}
