# SPDX-License-Identifier: Apache-2.0
"""``mllmseg eval``: evaluate a model on simulated scenes or on a data set."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, add_model, add_verb, load_segmenter, require
from mllmseg_ros.cli.files import check_image_files, check_output_files, is_stdout, write_json


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    measure = add_verb(
        verbs,
        "eval",
        "evaluate a model on simulated scenes or on a data set",
        "mllmseg eval tabletop --split test",
        "mllmseg eval tools --model RUN/model --worst worst.png",
        "mllmseg eval tools --protocol deployment --false-accept 0.01",
    )
    measure.add_argument(
        "data", help="tabletop (simulated scenes), or folder of a data set (see mllmseg data check)"
    )
    measure.add_argument(
        "--split",
        help="default: test for tabletop (unseen: another renderer), train for a data set",
    )
    measure.add_argument("--json", type=Path, help="JSON report to write, - for stdout")
    measure.add_argument("--worst", type=Path, help="image of the worst results to write (PNG)")
    add_model(measure)
    scenes = measure.add_argument_group("tabletop")
    scenes.add_argument("--expressions", type=int, default=1000, help="number of expressions")
    scenes.add_argument("--seed", type=int, default=0, help="random seed")
    folder = measure.add_argument_group("data set")
    add_images(folder)
    folder.add_argument(
        "--protocol",
        choices=("paper", "deployment", "both"),
        help="paper: joint prompt with the ground-truth answers; deployment: prompts as in the "
        "node (default: both)",
    )
    folder.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    folder.add_argument("--reliability", type=Path, help="reliability diagram to write (PNG)")
    folder.add_argument(
        "--false-accept",
        type=float,
        metavar="SHARE",
        help="print the score threshold that keeps the false-accept rate below SHARE "
        "(default: not printed)",
    )
    folder.add_argument(
        "--threshold", type=float, help="score threshold (default: as in the checkpoint)"
    )
    folder.add_argument(
        "--perturb",
        action="store_true",
        help="also evaluate robustness to typos, image noise and so on",
    )
    measure.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    check_output_files(arguments.json)
    check_image_files(arguments.worst, arguments.reliability)
    if arguments.false_accept is not None and not 0 <= arguments.false_accept <= 1:
        raise ValueError(f"--false-accept is {arguments.false_accept}; accepted: 0 to 1")
    if arguments.data != "tabletop":
        _evaluate_data(arguments)
        return
    data_set_options = [
        f"--{name.replace('_', '-')}"
        for name in ("images", "protocol", "markdown", "reliability", "false_accept", "perturb")
        if getattr(arguments, name)
    ]
    if data_set_options or arguments.threshold is not None:
        raise ValueError(
            f"{', '.join(data_set_options) or '--threshold'}: only for the folder of a data set; "
            "`mllmseg sim export` writes simulated scenes as a data set"
        )
    from mllmseg_ros.drawing.image_file import write_image
    from mllmseg_ros.eval.tabletop import evaluate_tabletop, to_text
    from mllmseg_ros.eval.worst import draw_worst

    segmenter = load_segmenter(arguments)
    report, worst = evaluate_tabletop(
        segmenter,
        split=arguments.split or "test",
        n_expressions=arguments.expressions,
        seed=arguments.seed,
    )
    if arguments.worst is not None:
        write_image(arguments.worst, draw_worst(segmenter, worst))
    print(to_text(report), file=sys.stderr if is_stdout(arguments.json) else sys.stdout)
    write_json(report.to_dict(), arguments.json)


def _evaluate_data(arguments: argparse.Namespace) -> None:
    require("train", "pycocotools")
    from mllmseg_ros.data.dataset import load_samples
    from mllmseg_ros.drawing.image_file import write_image
    from mllmseg_ros.eval.calibration import draw_reliability, reliability, threshold_for
    from mllmseg_ros.eval.dataset import PROTOCOLS, evaluate_samples
    from mllmseg_ros.eval.dataset_report import to_text
    from mllmseg_ros.eval.robustness import evaluate_robustness, robustness_table
    from mllmseg_ros.eval.worst import draw_worst

    protocols = PROTOCOLS if arguments.protocol in (None, "both") else (arguments.protocol,)
    deployment_options = (arguments.worst, arguments.reliability, arguments.false_accept)
    if "deployment" not in protocols and any(option is not None for option in deployment_options):
        raise ValueError("--worst, --reliability and --false-accept need the deployment protocol")
    segmenter = load_segmenter(arguments, whole_head="paper" in protocols)
    if arguments.threshold is not None:
        segmenter.threshold = arguments.threshold
    if arguments.false_accept is not None and not segmenter.can_reject:
        raise ValueError(f"{segmenter.name} was not trained to reject, so it has no score")
    samples = load_samples(Path(arguments.data), arguments.split, arguments.images)
    report = evaluate_samples(segmenter, samples, protocols)
    out = sys.stderr if is_stdout(arguments.json) else sys.stdout  # keep stdout for the JSON
    fields = report.to_dict()
    print(to_text(report, markdown=arguments.markdown), file=out)
    if arguments.perturb:
        rows = evaluate_robustness(segmenter, samples)
        print(robustness_table(rows, markdown=arguments.markdown), file=out)
        fields["robustness"] = [row.to_dict() for row in rows]
    results = report.expressions.get("deployment", ())
    present = [result for result in results if result.comparison.target_px]
    if arguments.worst is not None:
        write_image(arguments.worst, draw_worst(segmenter, [result.case for result in results]))
    if arguments.reliability is not None:
        curves = {
            "mask score": reliability(
                [result.mask_score for result in present],
                [result.iou > 0.5 for result in present],
            )
        }
        if segmenter.can_reject:
            curves["score"] = reliability(
                [result.score for result in results],
                [result.comparison.target_px > 0 for result in results],
            )
        write_image(arguments.reliability, draw_reliability(curves))
        fields["calibration"] = {name: curve.expected_error for name, curve in curves.items()}
    write_json(fields, arguments.json)
    if arguments.false_accept is not None:
        absent = [result.score for result in results if not result.comparison.target_px]
        # Rounded up, so that the printed number keeps the promise.
        threshold = math.ceil(1e6 * threshold_for(arguments.false_accept, absent)) / 1e6
        accepted = sum(result.score >= threshold for result in present) / max(1, len(present))
        false_accepts = sum(score >= threshold for score in absent) / len(absent)
        text = f"threshold: {threshold:.6f}  # accepts {100 * accepted:.1f} % of what is there"
        if threshold > 1:
            text = "no threshold up to 1 achieves that: absent targets get the highest score"
        print(f"{text}, {100 * false_accepts:.1f} % of what is not", file=out)
