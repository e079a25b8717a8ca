# SPDX-License-Identifier: Apache-2.0
"""Export simulated scenes as a data set, with depth and ground truth.

``images/NNNNNN.png`` (RGB), ``depth/NNNNNN.png`` (16 bit, millimetres, 0 = nothing hit),
``annotations.jsonl`` (see :mod:`mllmseg_ros.data.json_folder`) and ``truth.jsonl``: per image its
intrinsics, the camera's pose and the visible objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mllmseg_ros.data.region import encode
from mllmseg_ros.files import LOCK_FILE, FolderLock
from mllmseg_ros.language.vocabulary import get_vocabulary
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.random_scenes import SPLITS, TEST_SPLITS, random_scene
from mllmseg_ros.sim.view import View

__all__ = ["export_scenes"]

_MM_PER_M = 1000.0


def export_scenes(
    folder: Path, split: str, first_seed: int, n_scenes: int, *, n_expressions: int = 6
) -> int:
    """Render scenes at 640 x 480 and write them.

    Args:
        folder: new or empty; locked while it is written.
        split: one of random_scenes.SPLITS.
        first_seed: of the first scene; the others follow.
        n_scenes: number of scenes.
        n_expressions: per scene; fewer if the same one is drawn twice.

    Returns:
        Number of expressions written.

    Raises:
        ValueError: if the folder is not empty, another process writes into it, or an argument is
            out of range.
        RuntimeError: if off-screen GL is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, expected one of {', '.join(SPLITS)}")
    if n_scenes < 1 or n_expressions < 1:
        raise ValueError(f"{n_scenes} scenes, {n_expressions} expressions each: expected 1 or more")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / LOCK_FILE).exists():  # else the lock says who writes there
        _check_empty(folder)
    with FolderLock(folder):
        _check_empty(folder)
        return _export(folder, split, range(first_seed, first_seed + n_scenes), n_expressions)


def _check_empty(folder: Path) -> None:
    if any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name another folder, or --overwrite")


def _export(folder: Path, split: str, seeds: Iterable[int], n_expressions: int) -> int:
    for name in ("images", "depth"):
        (folder / name).mkdir()
    n_written = 0
    with (
        TabletopCamera() as camera,
        (folder / "annotations.jsonl").open("x", encoding="utf-8") as annotations,
        (folder / "truth.jsonl").open("x", encoding="utf-8") as truth,
    ):
        for seed in tqdm(seeds, desc=f"rendering {split}", unit="scene", mininterval=2):
            camera.load(random_scene(seed, split))
            view = camera.render()
            name = f"{seed:06d}.png"
            _write_images(view, folder, name)
            rng = np.random.default_rng((SPLITS.index(split), seed))
            drawn = draw_expressions(
                view.objects,
                rng,
                n_expressions,
                allow_held_out=split in TEST_SPLITS,
                language=get_vocabulary(split),
            )
            for expression in {each.text: each for each in drawn}.values():  # without duplicates
                mask = np.isin(view.instances, expression.targets)
                fields = {
                    "image": f"images/{name}",
                    "expression": expression.text,
                    "mask": encode(mask) if expression.targets else None,
                    "split": split,
                    "kind": expression.form,
                }
                annotations.write(json.dumps(fields) + "\n")
                n_written += 1
            truth.write(json.dumps({"image": f"images/{name}", **_truth_fields(view)}) + "\n")
    return n_written


def _write_images(view: View, folder: Path, name: str) -> None:
    depth_mm = np.round(view.depth_m * _MM_PER_M).astype(np.uint16)
    for path, pixels in (
        (folder / "images" / name, cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR)),
        (folder / "depth" / name, depth_mm),
    ):
        with path.open("xb") as file:
            file.write(cv2.imencode(path.suffix, pixels)[1].tobytes())


def _truth_fields(view: View) -> dict[str, object]:
    return {
        "K": view.K.tolist(),
        "camera_pose": view.camera_pose.tolist(),
        "objects": [thing.to_dict() for thing in view.objects],
    }
