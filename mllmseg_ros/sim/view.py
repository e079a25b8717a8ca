# SPDX-License-Identifier: Apache-2.0
"""A rendered view of a scene with its ground truth: depth, instances, camera, objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.language.vocabulary import CLUTTER
from mllmseg_ros.sim.objects import SceneObject

__all__ = ["View", "VisibleObject", "visible_objects"]

MIN_AREA_SHARE = 0.003  # of the image; smaller objects are not nameable
MIN_VISIBLE_SHARE = 0.35  # of the object's outline


@dataclass(frozen=True, kw_only=True)
class VisibleObject:
    """One object as visible in one image."""

    instance_id: int  # its value in View.instances, from 1
    kind: str  # one of vocabulary.ALL_KINDS or household.HOUSEHOLD_KINDS, or CLUTTER
    color: str  # one of vocabulary.COLORS or household.HOUSEHOLD_COLORS, or CLUTTER
    size_name: str  # one of vocabulary.SIZES
    scale: float  # relative to the kind's base size
    centroid_uv: tuple[float, float]  # [0, 1], of its visible pixels; (-1, -1) if none
    area_share: float  # visible pixels over the image's
    visible_share: float  # visible pixels over its whole outline, including cut-off parts
    depth_m: float  # mean depth of its visible pixels; of its centre if none
    position_m: tuple[float, float, float]  # its centre, optical frame
    nameable: bool  # it has a name, and enough of it is visible
    decor: str = ""  # of its surface, a key of skins.DECORS or MATERIALS; "" where it has no name
    accent: str = ""  # colour of its print or lid; "" where it has no name

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> VisibleObject:
        """Restore what :meth:`to_dict` returned, also after a round trip through JSON."""
        u, v = fields["centroid_uv"]
        x, y, z = fields["position_m"]
        return VisibleObject(**{**fields, "centroid_uv": (u, v), "position_m": (x, y, z)})


@dataclass(frozen=True, kw_only=True)
class View:
    """One image with its ground truth. Optical frame: x right, y down, z forward (REP 103)."""

    rgb: NDArray[np.uint8]  # (H, W, 3) RGB
    depth_m: NDArray[np.float32]  # (H, W) along the optical axis (REP 118), 0 where nothing was hit
    instances: NDArray[np.uint8]  # (H, W) 0 = table and surroundings, k = k-th object
    K: NDArray[np.float64]  # (3, 3) px, pixel centres at integers
    camera_pose: NDArray[np.float64]  # (4, 4) world from optical frame
    objects: tuple[VisibleObject, ...]


def visible_objects(
    things: Sequence[SceneObject],
    instances: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    outline_px: Sequence[float],
    positions_m: NDArray[np.float64],
    least_area_share: float = MIN_AREA_SHARE,
) -> tuple[VisibleObject, ...]:
    """Describe each object as visible in the image.

    Args:
        things: N objects; the k-th (from 1) has instance id k.
        instances: (H, W).
        depth_m: (H, W).
        outline_px: N areas of the objects without occlusion and cropping, px.
        positions_m: (N, 3) centres in the optical frame.
        least_area_share: of the image that a nameable object covers.
    """
    height, width = instances.shape
    flat = instances.ravel()
    n_ids = len(things) + 1
    area = np.bincount(flat, minlength=n_ids)
    depth = np.bincount(flat, weights=depth_m.ravel(), minlength=n_ids)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    u = np.bincount(flat, weights=np.tile(columns / width, height), minlength=n_ids)
    v = np.bincount(flat, weights=np.repeat(rows / height, width), minlength=n_ids)
    described = []
    for index, thing in enumerate(things):
        instance_id, n_px = index + 1, int(area[index + 1])
        x, y, z = (round(float(value), 4) for value in positions_m[index])
        seen = max(n_px, 1)
        area_share = n_px / flat.size
        visible_share = min(1.0, n_px / max(float(outline_px[index]), 1.0))
        described.append(
            VisibleObject(
                instance_id=instance_id,
                kind=thing.kind,
                color=thing.color,
                size_name=thing.size_name,
                scale=round(thing.scale, 4),
                centroid_uv=(
                    (round(float(u[instance_id]) / seen, 4), round(float(v[instance_id]) / seen, 4))
                    if n_px
                    else (-1.0, -1.0)
                ),
                area_share=round(area_share, 5),
                visible_share=round(visible_share, 3),
                depth_m=round(float(depth[instance_id]) / seen, 4) if n_px else z,
                position_m=(x, y, z),
                nameable=(
                    thing.kind != CLUTTER
                    and area_share >= least_area_share
                    and visible_share >= MIN_VISIBLE_SHARE
                ),
                decor=thing.decor,
                accent=thing.accent,
            )
        )
    return tuple(described)
