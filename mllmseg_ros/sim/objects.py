# SPDX-License-Identifier: Apache-2.0
"""Objects of the simulated tabletop: kinds, colours and sizes."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from mllmseg_ros.language.vocabulary import SIZES
from mllmseg_ros.sim.parts import Shape

__all__ = ["SceneObject", "random_object"]

# (colour, kind) pairs that no train or validation scene contains, to measure how well the model
# combines words that it has only seen separately.
HELD_OUT = frozenset(
    {
        ("green", "mug"),
        ("purple", "bowl"),
        ("white", "bottle"),
        ("orange", "can"),
        ("pink", "box"),
        ("yellow", "cube"),
        ("blue", "banana"),
        ("black", "book"),
    }
)

# Ranges of hue (turns; may pass through 0), saturation and value.
_HSV: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-0.015, 0.015), (0.85, 1.0), (0.62, 0.88)),
    "orange": ((0.062, 0.083), (0.88, 1.0), (0.88, 1.0)),
    "yellow": ((0.138, 0.165), (0.8, 1.0), (0.85, 1.0)),
    "green": ((0.30, 0.40), (0.65, 0.95), (0.38, 0.72)),
    "blue": ((0.58, 0.64), (0.7, 0.98), (0.5, 0.9)),
    "purple": ((0.74, 0.79), (0.6, 0.9), (0.42, 0.68)),
    "pink": ((0.90, 0.95), (0.35, 0.52), (0.93, 1.0)),
    "white": ((0.0, 1.0), (0.0, 0.03), (0.9, 1.0)),
    "black": ((0.0, 1.0), (0.0, 0.1), (0.04, 0.11)),
}
_SCALE = {"small": (0.76, 0.83), "large": (1.13, 1.25)}  # every ratio large : small > 1.35


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object as it stands on the table."""

    kind: str  # one of ALL_KINDS, or CLUTTER
    color: str  # one of COLORS, or CLUTTER
    size_name: str  # one of SIZES; used in expressions only beside another size of the kind
    scale: float  # relative to the kind's base size
    aspect: float  # height relative to the kind's proportions, about 1
    rgb: tuple[float, float, float]  # [0, 1]
    specular: float  # [0, 1]
    shininess: float  # [0, 1]
    xy_m: tuple[float, float]  # on the table
    yaw_rad: float  # about the table's normal
    taper: float = 0.0  # widening from bottom to top, of round parts
    bulge: float = 0.0  # widening half-way up, of round parts
    pattern: str = "flat"  # one of patterns.PATTERNS, in shades of its colour
    seed: int = 0  # of the pattern's noise; of a clutter's shape
    shape: Shape | None = None  # its parts, where they are not its kind's
    decor: str = ""  # see view.VisibleObject
    accent: str = ""  # see view.VisibleObject


def random_rgb(color: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a shade of a named colour."""
    h, s, v = (float(rng.uniform(*span)) for span in _HSV[color])
    return colorsys.hsv_to_rgb(h % 1.0, s, v)


def random_scale(size_name: str, rng: np.random.Generator) -> float:
    """Draw a scale of a named size."""
    return float(rng.uniform(*_SCALE[size_name]))


def random_object(
    color: str,
    kind: str,
    azimuth: float,
    rng: np.random.Generator,
    *,
    aspect: tuple[float, float] = (0.9, 1.12),
    most_specular: float = 0.6,
) -> SceneObject:
    """Draw an object of a colour and kind, not placed yet.

    Args:
        color: one of COLORS.
        kind: one of ALL_KINDS.
        azimuth: direction in which the camera looks, rad.
        rng: random generator.
        aspect: range of the height relative to the kind's proportions.
        most_specular: largest specular value, [0, 1].
    """
    size_name = str(rng.choice(SIZES, p=(0.45, 0.55)))
    yaw = float(rng.uniform(-math.pi, math.pi))
    if kind == "mug":  # handle visible: at most 115 degrees from the camera's side
        yaw = azimuth + math.pi + float(rng.uniform(-2.0, 2.0))
    return SceneObject(
        kind=kind,
        color=color,
        size_name=size_name,
        scale=random_scale(size_name, rng),
        aspect=float(rng.uniform(*aspect)),
        rgb=random_rgb(color, rng),
        specular=float(rng.uniform(0.0, most_specular)),
        shininess=float(rng.uniform(0.1, 0.9)),
        xy_m=(0.0, 0.0),
        yaw_rad=yaw,
    )
