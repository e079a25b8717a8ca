# SPDX-License-Identifier: Apache-2.0
"""Sample frames that ship with the package, so that tests and first steps need no GL.

Frame k is ``frame_k.png`` (RGB), ``frame_k_depth.png`` (16-bit, mm), ``frame_k_instances.png`` and
``frame_k.json`` (camera, objects, expressions with their targets). ``python -m
mllmseg_ros.sim.samples FOLDER`` renders them again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import write_file
from mllmseg_ros.sim.expressions import draw_expressions
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.view import View, VisibleObject

__all__ = ["load_sample", "sample_expressions"]

FRAMES = Path(__file__).resolve().parents[1] / "assets" / "frames"
# Scenes of the test split that no evaluation uses.
_SEEDS = (1_000_059, 1_000_049, 1_000_181, 1_000_013, 1_000_002, 1_000_017)
N_SAMPLES = len(_SEEDS)


def load_sample(index: int) -> View:
    """Read a frame with its ground truth; depth in whole millimetres.

    Raises:
        ValueError: if there is no such frame.
    """
    fields = _read_fields(index)
    bgr = _read_pixels(f"frame_{index}.png", cv2.IMREAD_COLOR)
    depth_mm = _read_pixels(f"frame_{index}_depth.png", cv2.IMREAD_UNCHANGED)
    return View(
        rgb=np.ascontiguousarray(bgr[:, :, ::-1]),
        depth_m=depth_mm.astype(np.float32) / np.float32(1000),
        instances=_read_pixels(f"frame_{index}_instances.png", cv2.IMREAD_GRAYSCALE),
        K=np.array(fields["K"]),
        camera_pose=np.array(fields["camera_pose"]),
        objects=tuple(VisibleObject.from_dict(thing) for thing in fields["objects"]),
    )


def sample_expressions(index: int) -> tuple[ReferringExpression, ...]:
    """Read the expressions for a frame, with their targets.

    Raises:
        ValueError: if there is no such frame.
    """
    return tuple(
        ReferringExpression(**{**fields, "targets": tuple(fields["targets"])})
        for fields in _read_fields(index)["expressions"]
    )


def _read_fields(index: int) -> dict[str, Any]:
    if not 0 <= index < N_SAMPLES:
        raise ValueError(f"sample frame is {index}, expected 0 to {N_SAMPLES - 1}")
    text = (FRAMES / f"frame_{index}.json").read_text(encoding="utf-8")
    fields: dict[str, Any] = json.loads(text)
    return fields


def _read_pixels(name: str, mode: int) -> NDArray[Any]:
    pixels = cv2.imread(str(FRAMES / name), mode)
    if pixels is None:
        raise ValueError(f"{FRAMES / name} is missing or not an image")
    return np.asarray(pixels)


def render_samples(folder: Path) -> None:
    """Render the frames into a folder.

    Raises:
        RuntimeError: if off-screen GL is missing.
    """
    from mllmseg_ros.sim.camera import TabletopCamera
    from mllmseg_ros.sim.random_scenes import random_scene

    folder.mkdir(parents=True, exist_ok=True)
    with TabletopCamera(640, 480) as camera:
        for index, seed in enumerate(_SEEDS):
            camera.load(random_scene(seed, "test"))
            view = camera.render()
            expressions = draw_expressions(view.objects, np.random.default_rng(seed), 8)
            images = {
                "": cv2.cvtColor(view.rgb, cv2.COLOR_RGB2BGR),
                "_depth": np.round(1000 * view.depth_m).astype(np.uint16),
                "_instances": view.instances,
            }
            for suffix, pixels in images.items():
                png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
                write_file(folder / f"frame_{index}{suffix}.png", png.tobytes())
            fields = {
                "split": "test",
                "seed": seed,
                "K": view.K.tolist(),
                "camera_pose": view.camera_pose.tolist(),
                "objects": [thing.to_dict() for thing in view.objects],
                "expressions": [
                    {
                        "text": expression.text,
                        "form": expression.form,
                        "targets": expression.targets,
                        "uses_held_out": expression.uses_held_out,
                    }
                    for expression in expressions
                ],
            }
            write_file(folder / f"frame_{index}.json", json.dumps(fields, indent=1) + "\n")


if __name__ == "__main__":
    render_samples(Path(sys.argv[1]))
