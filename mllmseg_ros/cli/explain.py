# SPDX-License-Identifier: Apache-2.0
"""``mllmseg explain``: draw an explanation of a result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_model, add_verb, load_segmenter, read_command
from mllmseg_ros.cli.files import check_image_files, read_image


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    explain = add_verb(
        verbs,
        "explain",
        "draw an explanation of a result",
        'mllmseg explain photo.png "the red mug" -o why.png',
    )
    explain.add_argument("image", type=Path, help="image file (PNG, JPEG, WebP, BMP or GIF)")
    explain.add_argument("expression", help="one referring expression")
    explain.add_argument("-o", "--output", type=Path, required=True, help="image to write")
    add_model(explain)
    explain.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.drawing.image_file import write_image
    from mllmseg_ros.explain.explanation import explain
    from mllmseg_ros.explain.panel import describe_decision, draw_explanation

    targets = read_command([arguments.expression]).targets
    if len(targets) > 1:
        raise ValueError(f"{len(targets)} expressions; accepted: one at a time")
    check_image_files(arguments.output)
    rgb = read_image(arguments.image)
    segmenter = load_segmenter(arguments)
    explanation = explain(segmenter, segmenter.encode(rgb), targets[0].expression)
    write_image(arguments.output, draw_explanation(rgb, explanation))
    segmentation = explanation.segmentation
    reason = describe_decision(explanation)
    print(f"{segmentation.expression!r}: {segmentation.status.value}. {reason}")
