# SPDX-License-Identifier: Apache-2.0
"""Geometry of masks: half-open boxes, pixel centres at integers, points that lie inside."""

from __future__ import annotations

import numpy as np

from mllmseg_ros.masks import box_xyxy, centroid_uv, inside_uv


def test_empty_mask_has_no_geometry() -> None:
    empty = np.zeros((5, 7), bool)
    assert box_xyxy(empty) is None
    assert centroid_uv(empty) is None
    assert inside_uv(empty) is None


def test_one_pixel() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    assert box_xyxy(mask) == (4, 2, 5, 3)
    assert centroid_uv(mask) == (4.0, 2.0)
    assert inside_uv(mask) == (4, 2)


def test_rectangle_and_full_image() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:8, 5:17] = True
    assert box_xyxy(mask) == (5, 2, 17, 8)
    assert centroid_uv(mask) == (10.5, 4.5)
    assert box_xyxy(np.ones((10, 20), bool)) == (0, 0, 20, 10)


def test_inside_point_of_a_ring_lies_on_the_ring() -> None:
    v, u = np.mgrid[:61, :61]
    radius = np.hypot(u - 30, v - 30)
    ring = (radius > 15) & (radius < 25)
    center = centroid_uv(ring)
    inside = inside_uv(ring)
    assert center is not None
    assert inside is not None
    assert not ring[round(center[1]), round(center[0])]
    assert ring[inside[1], inside[0]]
    assert 17 < radius[inside[1], inside[0]] < 23  # deep inside, not at the rim
