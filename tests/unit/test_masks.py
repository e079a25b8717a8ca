# SPDX-License-Identifier: Apache-2.0
"""Geometry of masks: half-open boxes, pixel centres at integers, points that lie inside."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.masks import area_px, box_xyxy, centroid_uv, encode_run_lengths, inside_uv


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


def test_a_known_box_changes_nothing() -> None:
    mask = np.zeros((40, 60), bool)
    mask[12:20, 30:45] = True
    mask[15, 50] = True
    box = box_xyxy(mask)
    assert box == (30, 12, 51, 20)
    assert box_xyxy(mask, (20, 5, 60, 40)) == box
    assert box_xyxy(mask, (0, 0, 0, 0)) is None
    assert area_px(mask) == area_px(mask, box) == 8 * 15 + 1
    assert centroid_uv(mask, box) == centroid_uv(mask)
    assert inside_uv(mask, box) == inside_uv(mask)


def test_inside_point_of_a_large_mask() -> None:
    v, u = np.mgrid[:1080, :1920]
    disc = np.hypot(u - 900, v - 500) < 400
    inside = inside_uv(disc)
    assert inside is not None
    assert np.hypot(inside[0] - 900, inside[1] - 500) < 8
    lines = np.zeros((1080, 1920), bool)  # between the rows and columns that are looked at
    lines[1, 1:1900] = lines[1:1000, 1] = True
    inside = inside_uv(lines)
    assert inside is not None
    assert lines[inside[::-1]]


def test_run_lengths_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    rng = np.random.default_rng(0)
    masks = [np.zeros((5, 7), bool), np.ones((5, 7), bool), np.eye(300, dtype=bool)]
    masks += [rng.random((rng.integers(1, 90), rng.integers(1, 90))) < p for p in (0.01, 0.5, 0.99)]
    blob = np.zeros((480, 640), bool)
    blob[100:300, 200:600] = True
    for mask in (*masks, blob):
        run = coco.encode(np.asfortranarray(mask, np.uint8))
        expected = {"size": list(run["size"]), "counts": run["counts"].decode()}
        assert encode_run_lengths(mask) == expected
