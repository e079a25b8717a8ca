# SPDX-License-Identifier: Apache-2.0
"""The scenes of the split ``unseen``, their styles and their sentences.

``assets/unseen/scenes.json`` is frozen. It was written before anyone who wrote it had read how
the simulator makes expressions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.files import read_json
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.sensor import Sensor, apply_sensor
from mllmseg_ros.sim.skins import fractal_noise
from mllmseg_ros.sim.unseen.solids import RGB, Points, build_thing
from mllmseg_ros.sim.unseen.tracer import Paint, Place, Style, trace

__all__ = ["UNSEEN_FORMS", "UnseenScene", "n_unseen_scenes", "unseen_scene"]

UNSEEN_FORMS = ("there", "no color", "no kind", "no relation")

_SCENES = Path(__file__).resolve().parents[2] / "assets" / "unseen" / "scenes.json"
_TABLE_M = 0.36  # of a coordinate of 1
_VISIBLE_YAW = (-2.9, -0.2)  # of handles: on the camera's side
_TURNED = ("mug", "teapot", "duck", "teddy bear", "car", "pan", "banana", "book", "box", "cube")


@dataclass(frozen=True, kw_only=True)
class UnseenScene:
    """An image with its truth and its sentences."""

    style: str
    rgb: NDArray[np.uint8]  # (H, W, 3)
    instances: NDArray[np.uint8]  # (H, W), 0 = background
    depth_m: NDArray[np.float32]  # (H, W)
    sentences: tuple[ReferringExpression, ...]  # forms from UNSEEN_FORMS


@cache
def _read_scenes() -> tuple[dict[str, Any], ...]:
    return tuple(read_json(_SCENES)["scenes"])


def n_unseen_scenes() -> int:
    """Number of scenes."""
    return len(_read_scenes())


def unseen_scene(index: int) -> UnseenScene:
    """Render a scene; takes about two seconds.

    Args:
        index: from 0 on.

    Raises:
        ValueError: if there is no such scene.
    """
    if not 0 <= index < n_unseen_scenes():
        raise ValueError(f"scene is {index}, expected 0 to {n_unseen_scenes() - 1}")
    fields = _read_scenes()[index]
    rng = np.random.default_rng(index)
    ids, places = {}, []
    for number, (name, thing) in enumerate(fields["objects"].items(), start=1):
        x, y = (_TABLE_M * float(value) for value in thing["at"])
        yaw = float(rng.uniform(*_VISIBLE_YAW)) if thing["kind"] in _TURNED else 0.0
        if thing["kind"] == "book" or thing.get("texture") == "label":
            yaw = float(rng.uniform(-0.5, 0.5))
        built = build_thing(
            thing["kind"],
            thing["color"],
            thing.get("second", ""),
            thing.get("texture", ""),
            float(thing.get("size", 1.0)),
        )
        places.append(Place(thing=built, xy_m=(x, y), yaw_rad=yaw))
        ids[name] = number
    style = _STYLES[fields["style"]]
    rgb, instances, depth_m = trace(places, style)
    sensor = _SENSORS.get(fields["style"])
    there = [
        _sentence(text, "there", tuple(ids[name] for name in names.split()))
        for text, names in fields["there"].items()
    ]
    absent = [
        _sentence(text, f"no {fault}", ())
        for fault, texts in fields["not_there"].items()
        for text in texts
    ]
    return UnseenScene(
        style=fields["style"],
        rgb=rgb if sensor is None else apply_sensor(rgb, sensor),
        instances=instances,
        depth_m=depth_m,
        sentences=(*there, *absent),
    )


def _sentence(text: str, form: str, targets: tuple[int, ...]) -> ReferringExpression:
    return ReferringExpression(text=text, form=form, targets=targets, uses_held_out=False)


# ---- grounds and backgrounds


def _flat(rgb: RGB) -> Paint:
    return lambda points: np.tile(np.array(rgb, np.float32), (len(points), 1))


def _mix(a: RGB, b: RGB, share: NDArray[Any]) -> NDArray[np.float32]:
    first, second = np.array(a, np.float32), np.array(b, np.float32)
    return (first + np.clip(share, 0, 1)[:, None] * (second - first)).astype(np.float32)


def _noise(points: Points, scale: float, seed: int, octaves: int = 4) -> NDArray[np.float32]:
    table = fractal_noise(256, np.random.default_rng(seed), octaves=octaves)
    turns = points[:, :2] * scale % 2  # mirrored, so that there is no seam
    x = (255 * np.where(turns < 1, turns, 2 - turns)).astype(int)
    return table[x[:, 1], x[:, 0]]


def _boards(points: Points) -> NDArray[np.float32]:
    row = np.floor(points[:, 1] / 0.11)
    grain = np.sin(130 * points[:, 1] + 6 * np.sin(9 * points[:, 0] + 5 * row))
    tone = 0.25 * (np.sin(row * 12.9) + 1)
    gap = np.abs(points[:, 1] / 0.11 - np.round(points[:, 1] / 0.11)) < 0.015
    return _mix((0.62, 0.42, 0.25), (0.3, 0.17, 0.08), np.where(gap, 1, tone + 0.12 * grain + 0.1))


def _gingham(points: Points) -> NDArray[np.float32]:
    lines = (points[:, :2] % 0.08 < 0.04).astype(float).sum(1) / 2
    return _mix((0.93, 0.93, 0.95), (0.35, 0.5, 0.75), lines)


def _veined(points: Points) -> NDArray[np.float32]:
    veins = 1 - np.abs(2 * _noise(points, 0.9, 3, 5) - 1)
    return _mix((0.93, 0.92, 0.9), (0.45, 0.45, 0.5), veins**9)


def _grainy(points: Points) -> NDArray[np.float32]:
    return _mix((0.55, 0.53, 0.5), (0.35, 0.33, 0.31), _noise(points, 4.0, 5, 3))


def _slate(points: Points) -> NDArray[np.float32]:
    return _mix((0.16, 0.17, 0.19), (0.27, 0.28, 0.3), _noise(points, 1.5, 8))


def _stone(points: Points) -> NDArray[np.float32]:
    joint = (np.abs(points[:, :2] / 0.25 % 1 - 0.5) > 0.48).any(1)
    return _mix(
        (0.7, 0.62, 0.5), (0.45, 0.4, 0.34), np.where(joint, 1, 0.6 * _noise(points, 1.2, 4))
    )


def _dark_wood(points: Points) -> NDArray[np.float32]:
    rings = np.sin(60 * points[:, 0] + 8 * _noise(points, 0.6, 6, 2))
    return _mix((0.28, 0.16, 0.1), (0.16, 0.08, 0.05), 0.5 + 0.4 * rings)


def _fade(low: RGB, high: RGB) -> Paint:
    return lambda rays: _mix(low, high, 0.5 + 1.2 * rays[:, 2])


def _wall_tiles(rays: Points) -> NDArray[np.float32]:
    u, v = rays[:, 0] / rays[:, 1].clip(0.1), rays[:, 2] / rays[:, 1].clip(0.1)
    joint = (np.abs(u / 0.12 % 1) < 0.06) | (np.abs(v / 0.12 % 1) < 0.06)
    return _mix((0.75, 0.85, 0.82), (0.95, 0.95, 0.92), joint)


def _wallpaper(rays: Points) -> NDArray[np.float32]:
    u, v = rays[:, 0] / rays[:, 1].clip(0.1), rays[:, 2] / rays[:, 1].clip(0.1)
    stripe = (u / 0.1 % 1 < 0.5) ^ ((u * 30).astype(int) % 3 + (v * 24).astype(int) % 4 == 0)
    return _mix((0.72, 0.6, 0.45), (0.85, 0.77, 0.62), stripe)


def _style(
    size: tuple[int, int],
    degrees: float,
    fov: float,
    distance: float,
    ground: Paint,
    background: Paint,
    *,
    table: float = 0.62,
    light: tuple[float, float, float] = (-0.5, -0.4, 1.0),
    rgb: RGB = (0.75, 0.75, 0.72),
    ambient: float = 0.42,
    softness: float = 9.0,
    gloss: float = 0.25,
    ink: bool = False,
) -> Style:
    return Style(
        size=size,
        elevation_rad=math.radians(degrees),
        vertical_fov_rad=math.radians(fov),
        distance_m=distance,
        ground=ground,
        background=background,
        table_m=table,
        light=light,
        light_rgb=rgb,
        ambient=ambient,
        softness=softness,
        gloss=gloss,
        ink=ink,
    )


_GREY = _flat((0.66, 0.66, 0.67))
_STYLES = {
    "studio": _style(
        (400, 300), 35, 40, 1.05, _GREY, _flat((0.7, 0.7, 0.71)), table=3.0, gloss=0.5
    ),
    "kitchen": _style(
        (448, 252), 30, 38, 1.05, _boards, _wall_tiles, rgb=(0.85, 0.7, 0.5), light=(0.6, -0.6, 0.9)
    ),
    "cloth": _style(
        (400, 300), 50, 42, 1.0, _gingham, _fade((0.5, 0.6, 0.4), (0.8, 0.9, 1.0)), ambient=0.5
    ),
    "phone": _style(
        (270, 360), 48, 58, 0.95, _grainy, _fade((0.3, 0.25, 0.2), (0.6, 0.55, 0.5)), table=0.8,
        rgb=(0.8, 0.65, 0.45), light=(0.3, 0.6, 0.8), softness=5.0,
    ),
    "night": _style(
        (400, 300), 32, 42, 1.0, _dark_wood, _flat((0.03, 0.03, 0.05)), light=(0.9, -0.1, 0.7),
        rgb=(0.9, 0.65, 0.35), ambient=0.14, softness=20.0, gloss=0.4,
    ),
    "toon": _style(
        (400, 300), 40, 40, 1.05, _flat((0.86, 0.8, 0.62)), _flat((0.6, 0.8, 0.85)), table=0.6,
        ink=True, gloss=0.0, ambient=0.55, rgb=(0.5, 0.5, 0.5),
    ),
    "marble": _style(
        (400, 300), 42, 42, 1.0, _veined, _fade((0.9, 0.9, 0.9), (1.0, 1.0, 1.0)), ambient=0.62,
        rgb=(0.8, 0.8, 0.78), light=(-0.8, 0.4, 1.0), gloss=0.6, softness=6.0,
    ),
    "wall": _style(
        (400, 300), 17, 36, 1.05, _dark_wood, _wallpaper, light=(-0.7, -0.8, 0.8), ambient=0.5
    ),
    "steep": _style((360, 360), 76, 46, 1.05, _slate, _flat((0.2, 0.2, 0.2)), table=0.7),
    "daylight": _style(
        (448, 280), 36, 40, 1.0, _stone, _fade((0.35, 0.5, 0.2), (0.45, 0.65, 0.95)),
        rgb=(1.0, 0.96, 0.85), ambient=0.3, softness=40.0, light=(0.7, 0.5, 1.0),
    ),
}  # fmt: skip
_SENSORS = {
    "phone": Sensor(
        gain=(1.08, 1.0, 0.88),
        blur_px=1.8,
        motion_px=3.0,
        motion_rad=0.6,
        noise=7.0,
        jpeg_quality=38,
        seed=1,
        vignette=0.35,
    ),
    "night": Sensor(
        gain=(1.0, 1.0, 1.0),
        blur_px=0.8,
        motion_px=0.0,
        motion_rad=0.0,
        noise=11.0,
        jpeg_quality=60,
        seed=2,
    ),
}
