# SPDX-License-Identifier: Apache-2.0
"""Measure an adaptation with 50 images: what the model learns and what it forgets.

    python benchmarks/adapt.py RUN                  # --model, --expressions 1000

The images show new kinds, new names for old kinds and another camera (`workshop` split of the
simulator). Evaluated before and after: 50 other workshop scenes, and the tabletop's test split.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from mllmseg_ros.checkpoints.hub import find_checkpoint
from mllmseg_ros.data.dataset import load_samples
from mllmseg_ros.eval.dataset import evaluate_samples
from mllmseg_ros.eval.tabletop import evaluate_tabletop
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.export import export_scenes
from mllmseg_ros.train.adapt.adapt import adapt
from mllmseg_ros.train.adapt.recipe import AdaptRecipe
from mllmseg_ros.train.adapt.rehearsal import render_rehearsal_set
from mllmseg_ros.train.recipe import read_recipe

SPLIT = "workshop"
N_IMAGES, FIRST_TEST_SEED = 50, 1000


def main() -> None:
    """Adapt, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--model")
    parser.add_argument(
        "--expressions", type=int, default=1000, help="number of tabletop expressions"
    )
    arguments = parser.parse_args()
    for name, first in (("shown", 0), ("asked", FIRST_TEST_SEED)):
        if not (arguments.run / name).exists():
            export_scenes(arguments.run / name, SPLIT, first, N_IMAGES)
    start = find_checkpoint(arguments.model)
    started_s = time.monotonic()
    report = adapt(
        arguments.run / "adapted",
        start,
        load_samples(arguments.run / "shown", SPLIT),
        render_rehearsal_set(arguments.run / "adapted" / "simulated"),
        read_recipe(AdaptRecipe, "adapt"),
        accept_worse=True,
    )
    minutes = (time.monotonic() - started_s) / 60
    rows = {}
    for when, folder in (("before", start), ("after", arguments.run / "adapted" / "model")):
        segmenter = Segmenter.from_pretrained(folder)
        new = evaluate_samples(
            segmenter, load_samples(arguments.run / "asked", SPLIT), ("deployment",)
        ).scores[0]
        old = evaluate_tabletop(segmenter, "test", arguments.expressions)[0].overall
        rows[when] = {
            name: {
                key: getattr(scores, key)
                for key in ("n", "g_iou", "c_iou", "n_acc", "t_acc", "presence")
            }
            for name, scores in (("workshop, new scenes", new), ("tabletop, test", old))
        }
    print(report)
    print(f"{minutes:.1f} minutes with measuring and drawing")
    for name in rows["before"]:
        for when, row in rows.items():
            cells = "  ".join(f"{key} {value:.1f}" for key, value in row[name].items())
            print(f"{name}, {when}: {cells}")
    (arguments.run / "result.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
