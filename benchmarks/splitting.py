# SPDX-License-Identifier: Apache-2.0
"""Measure how masks are split into instances: things that touch, and things that are one.

    python benchmarks/splitting.py                # --scenes 300 --model --json FILE

Two or three things of a kind touch, side by side or in any direction, on depth with the errors of a
stereo camera. The mask of all of them is split: as it is true, and as the model gives it for their
plural. Beside it stands what is apart in the image alone (``split_touching: false``). Then every
single thing of the same and of other scenes is split, which it should not be.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.geometry.splitting import Splitting, split_mask
from mllmseg_ros.language.vocabulary import COLORS, VARIED_KINDS, get_vocabulary
from mllmseg_ros.masks import iou
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.depth_noise import add_stereo_noise
from mllmseg_ros.sim.objects import random_object
from mllmseg_ros.sim.placement import random_camera
from mllmseg_ros.sim.random_scenes import add_surroundings, random_scene
from mllmseg_ros.sim.scene import Scene
from mllmseg_ros.sim.shapes import footprint_radius_m
from mllmseg_ros.sim.view import View

OTHER_SPLITS = ("test", "varied_test", "wide_test")
LEAST_VISIBLE, LEAST_AREA = 0.4, 0.003  # shares of a thing's outline and of the image
RIGHT_IOU = 0.7
WAYS = {"apart in the image": Splitting(touching=False), "default": Splitting()}


@dataclass
class Counts:
    """Of one way to split one sort of masks."""

    things: int = 0
    things_right: int = 0  # covered by one part
    sets: int = 0
    sets_right: int = 0  # as many parts as things, and each right
    sets_over_split: int = 0
    seconds: float = 0.0

    def add(self, parts: Sequence[NDArray[np.bool_]], truths: Sequence[NDArray[np.bool_]]) -> None:
        """Count the parts of one mask."""
        right = sum(
            max(map(lambda p, t=t: iou(p, t), parts), default=0) > RIGHT_IOU for t in truths
        )
        self.things += len(truths)
        self.things_right += right
        self.sets += 1
        self.sets_right += right == len(truths) == len(parts)
        self.sets_over_split += len(parts) > len(truths)


def draw_touching(rng: np.random.Generator, side_by_side: bool) -> tuple[Scene, str, int]:
    """Draw a scene with two or three things of a kind that touch; they are its first objects."""
    azimuth = float(rng.uniform(-math.pi, math.pi))
    kind, one_color = str(rng.choice(VARIED_KINDS)), str(rng.choice(COLORS))
    n = 2 if rng.random() < 0.7 else 3
    same = rng.random() < 0.5
    colors = [one_color if same else str(rng.choice(COLORS)) for _ in range(n)]
    things = [random_object(color, kind, azimuth, rng) for color in colors]
    heading = float(rng.uniform(-math.pi, math.pi))
    if side_by_side:
        heading = azimuth + math.pi / 2 + float(rng.normal(0, 0.5))
    gap = (0.85, 1.0) if side_by_side else (0.9, 1.25)  # of footprints; most are not round
    at = np.zeros(2)
    for index in range(1, n):
        radii = footprint_radius_m(things[index - 1]) + footprint_radius_m(things[index])
        at = at + radii * rng.uniform(*gap) * np.array([math.cos(heading), math.sin(heading)])
        things[index] = replace(things[index], xy_m=(float(at[0]), float(at[1])))
        heading += float(rng.normal(0, 0.4))
    objects = tuple(things)
    scene = add_surroundings(objects, azimuth, rng)
    return replace(scene, camera=random_camera(objects, azimuth, rng)), kind, n


def find_singles(view: View) -> Iterator[NDArray[np.bool_]]:
    """Yield the mask of each thing that is visible enough."""
    for thing in view.objects:
        if thing.area_share >= LEAST_AREA and thing.visible_share >= LEAST_VISIBLE:
            yield view.instances == thing.instance_id


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--model")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained(arguments.model)
    plural = {kind: nouns[0][1] for kind, nouns in get_vocabulary("varied_test").nouns.items()}
    counts: dict[str, Counts] = defaultdict(Counts)

    def count(
        sort: str,
        mask: NDArray[np.bool_],
        depth: NDArray[np.float32],
        view: View,
        truths: Sequence[NDArray[np.bool_]],
    ) -> None:
        for way, splitting in WAYS.items():
            for name, depth_m in (("depth", depth), ("no depth", None)):
                start_s = time.process_time()
                parts = split_mask(mask, depth_m, float(view.K[0, 0]), splitting)
                row = counts[f"{sort}, {name}, {way}"]
                row.seconds += time.process_time() - start_s
                row.add(parts, truths)

    with TabletopCamera(640, 480) as camera:
        for seed in tqdm(range(arguments.scenes), unit="scene"):
            rng = np.random.default_rng([81, seed])
            scene, kind, n = draw_touching(rng, side_by_side=seed % 2 == 0)
            camera.load(scene)
            view = camera.render()
            depth = add_stereo_noise(view.depth_m, float(view.K[0, 0]), rng)
            singles = list(find_singles(view))
            if len(singles) == n:
                union = np.any(singles, axis=0)
                sort = "side by side" if seed % 2 == 0 else "any direction"
                count(f"touching {sort}, true masks", union, depth, view, singles)
                context = segmenter.encode(view.rgb)
                (found,) = segmenter.segment(context, [f"the {plural[kind]}"])
                if found.found and iou(found.mask, union) > RIGHT_IOU:
                    count(f"touching {sort}, model's masks", found.mask, depth, view, singles)
            for mask in singles:
                count("single, of these scenes", mask, depth, view, [mask])
            split = OTHER_SPLITS[seed % len(OTHER_SPLITS)]
            camera.load(random_scene(500_000 + seed, split))
            view = camera.render()
            depth = add_stereo_noise(view.depth_m, float(view.K[0, 0]), rng)
            for mask in find_singles(view):
                count(f"single, {split}", mask, depth, view, [mask])
    for sort, row in sorted(counts.items()):
        things = f"{100 * row.things_right / row.things:5.1f} % of {row.things:4d}"
        sets, over = 100 * row.sets_right / row.sets, 100 * row.sets_over_split / row.sets
        print(
            f"{sort:<62} things right {things}  sets right {sets:5.1f} %  over-split {over:5.1f} %"
            f"  {1000 * row.seconds / row.sets:4.1f} ms"
        )
    if arguments.json:
        rows = {sort: vars(row) for sort, row in counts.items()}
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
