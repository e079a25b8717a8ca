# SPDX-License-Identifier: Apache-2.0
"""``mllmseg explain``: why an expression was answered as it was, as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, load_segmenter, read_command
from mllmseg_ros.cli.files import read_image, write_image


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    explain = verbs.add_parser("explain", help="show why an expression was answered as it was")
    explain.add_argument("image", type=Path)
    explain.add_argument("expression")
    explain.add_argument("-o", "--output", type=Path, required=True, help="picture to write")
    add_model(explain)
    explain.set_defaults(run=_explain)


def _explain(asked: argparse.Namespace) -> None:
    from mllmseg_ros.explain.explanation import explain
    from mllmseg_ros.explain.panel import describe_decision, draw_explanation

    targets = read_command([asked.expression]).targets
    if len(targets) > 1:
        raise ValueError(f"{len(targets)} expressions; one is explained at a time")
    rgb = read_image(asked.image)
    segmenter = load_segmenter(asked)
    explanation = explain(segmenter, segmenter.encode(rgb), targets[0].expression)
    write_image(draw_explanation(rgb, explanation), asked.output)
    answer = explanation.segmentation
    print(f"{answer.expression!r}: {answer.status.value}. {describe_decision(explanation)}")
