# SPDX-License-Identifier: Apache-2.0
"""``mllmseg eval``: measure a model on simulated scenes or on a data set."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, add_model, load_segmenter, require
from mllmseg_ros.cli.files import write_image, write_json


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    measure = verbs.add_parser("eval", help="measure a model")
    measure.add_argument(
        "data", help="tabletop (simulated scenes), or the folder of a data set (mllmseg data check)"
    )
    measure.add_argument("--split", help="default: test of the tabletop, train of a data set")
    measure.add_argument("--json", type=Path, help="report file to write, - for stdout")
    measure.add_argument("--worst", type=Path, help="picture of the worst answers to write (PNG)")
    add_model(measure)
    scenes = measure.add_argument_group("tabletop")
    scenes.add_argument("--expressions", type=int, default=1000, help="how many to ask")
    scenes.add_argument("--seed", type=int, default=0, help="of the expressions")
    folder = measure.add_argument_group("data set")
    add_images(folder)
    folder.add_argument(
        "--protocol",
        choices=("paper", "deployment", "both"),
        help="paper: joint prompt with the true answers in it; deployment: as the node asks",
    )
    folder.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    folder.add_argument("--reliability", type=Path, help="plot of what confidences are worth (PNG)")
    folder.add_argument(
        "--false-accept",
        type=float,
        metavar="SHARE",
        help="print the threshold at which no more absent things than that are accepted",
    )
    folder.add_argument("--threshold", type=float, help="of the score; default: the model's own")
    folder.add_argument(
        "--perturb", action="store_true", help="again under typos, noise and the like: what is lost"
    )
    measure.set_defaults(run=_evaluate)


def _evaluate(asked: argparse.Namespace) -> None:
    if asked.data != "tabletop":
        _evaluate_data(asked)
        return
    given = [
        f"--{name.replace('_', '-')}"
        for name in ("images", "protocol", "markdown", "reliability", "false_accept", "perturb")
        if getattr(asked, name)
    ]
    if given or asked.threshold is not None:
        raise ValueError(
            f"{', '.join(given) or '--threshold'}: for the folder of a data set; "
            "`mllmseg sim export` writes scenes as one"
        )
    from mllmseg_ros.eval.tabletop import evaluate_tabletop, to_text
    from mllmseg_ros.eval.worst import draw_worst

    segmenter = load_segmenter(asked)
    report, worst = evaluate_tabletop(
        segmenter, split=asked.split or "test", n_expressions=asked.expressions, seed=asked.seed
    )
    if asked.worst is not None:
        write_image(draw_worst(segmenter, worst), asked.worst)
    print(to_text(report), file=sys.stderr if str(asked.json) == "-" else sys.stdout)
    write_json(report.to_dict(), asked.json)


def _evaluate_data(asked: argparse.Namespace) -> None:
    require("train", "pycocotools")
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.eval.calibration import draw_reliability, reliability, threshold_for
    from mllmseg_ros.eval.dataset import PROTOCOLS, evaluate_samples, to_text
    from mllmseg_ros.eval.robustness import evaluate_robustness, robustness_table
    from mllmseg_ros.eval.worst import draw_worst

    wanted = PROTOCOLS if asked.protocol in (None, "both") else (asked.protocol,)
    deployed = (asked.worst, asked.reliability, asked.false_accept)
    if "deployment" not in wanted and any(each is not None for each in deployed):
        raise ValueError("--worst, --reliability and --false-accept need the deployment protocol")
    segmenter = load_segmenter(asked)
    if asked.threshold is not None:
        segmenter.threshold = asked.threshold
    if asked.false_accept is not None and not segmenter.can_reject:
        raise ValueError(f"{segmenter.name} was not trained to reject: it has no score")
    samples = load_samples(Path(asked.data), asked.split, asked.images)
    report = evaluate_samples(segmenter, samples, wanted)
    out = sys.stderr if str(asked.json) == "-" else sys.stdout  # stdout is then the JSON's alone
    fields = report.to_dict()
    print(to_text(report, markdown=asked.markdown), file=out)
    if asked.perturb:
        rows = evaluate_robustness(segmenter, samples)
        print(robustness_table(rows, markdown=asked.markdown), file=out)
        fields["robustness"] = [row.to_dict() for row in rows]
    answers = report.asked.get("deployment", ())
    there = [each for each in answers if each.judged.target_px]
    if asked.worst is not None:
        write_image(draw_worst(segmenter, [each.case for each in answers]), asked.worst)
    if asked.reliability is not None:
        curves = {
            "mask score": reliability(
                [each.mask_score for each in there], [each.iou > 0.5 for each in there]
            )
        }
        if segmenter.can_reject:
            curves["score"] = reliability(
                [each.score for each in answers], [each.judged.target_px > 0 for each in answers]
            )
        write_image(draw_reliability(curves), asked.reliability)
        fields["calibration"] = {name: curve.expected_error for name, curve in curves.items()}
    write_json(fields, asked.json)
    if asked.false_accept is not None:
        absent = [each.score for each in answers if not each.judged.target_px]
        # Rounded up: the printed number is the one that holds.
        threshold = math.ceil(1e6 * threshold_for(asked.false_accept, absent)) / 1e6
        kept = sum(each.score >= threshold for each in there) / max(1, len(there))
        wrong = sum(score >= threshold for score in absent) / len(absent)
        text = f"threshold: {threshold:.6f}  # accepts {100 * kept:.1f} % of what is there"
        if threshold > 1:
            text = "no threshold up to 1 does that: what is not there scores as high as can be"
        print(f"{text}, {100 * wrong:.1f} % of what is not", file=out)
