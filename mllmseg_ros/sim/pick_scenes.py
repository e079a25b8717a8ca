# SPDX-License-Identifier: Apache-2.0
"""Random scenes for the gripper: objects that fit it, with room for its fingers, and a large bowl.

They look like the plain tabletop. The same seed gives the same scene everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.language.vocabulary import COLORS, KINDS
from mllmseg_ros.sim.objects import HELD_OUT, SceneObject, random_object, random_scale
from mllmseg_ros.sim.placement import place_objects
from mllmseg_ros.sim.random_scenes import add_surroundings
from mllmseg_ros.sim.scene import Scene

__all__ = ["GRASPABLE", "pick_scene"]

_STREAM = 7_001  # of random numbers, so that the scenes differ from those of other modules
_GAP_M = 0.030
_N_OTHERS = (3, 6)
TOO_WIDE = ("plate", "book")
GRASPABLE = tuple(kind for kind in KINDS if kind not in TOO_WIDE)


def pick_scene(seed: int, wanted: Sequence[tuple[str, str]] = ()) -> Scene:
    """Draw a scene with one bowl, in which no two objects share colour and kind.

    Args:
        seed: 0 or more.
        wanted: (colour, kind) pairs that the scene must have.

    Raises:
        ValueError: if the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")
    rng = np.random.default_rng(np.random.SeedSequence([_STREAM, seed]))
    pairs = list(wanted)
    if not any(kind == "bowl" for _, kind in pairs):
        pairs.append((_draw_color(rng, "bowl"), "bowl"))
    n = len(pairs) + int(rng.integers(_N_OTHERS[0], _N_OTHERS[1] + 1)) - max(0, len(wanted) - 1)
    kinds = [kind for kind in KINDS if kind != "bowl"]
    while len(pairs) < n:
        kind = str(rng.choice(kinds))
        pair = (_draw_color(rng, kind), kind)
        if pair not in pairs:
            pairs.append(pair)
    azimuth = float(rng.uniform(-math.pi, math.pi))
    things = [_set_size(random_object(color, kind, azimuth, rng), rng) for color, kind in pairs]
    return add_surroundings(place_objects(things, azimuth, rng, _GAP_M), azimuth, rng)


def _draw_color(rng: np.random.Generator, kind: str) -> str:
    return str(rng.choice([color for color in COLORS if (color, kind) not in HELD_OUT]))


def _set_size(thing: SceneObject, rng: np.random.Generator) -> SceneObject:
    size_name = "large" if thing.kind == "bowl" else "small"
    return replace(thing, size_name=size_name, scale=random_scale(size_name, rng))
