# SPDX-License-Identifier: Apache-2.0
"""What is read of a probability map equals the whole of it, interpolated by torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mllmseg_ros.model.pixels import to_image_size
from mllmseg_ros.probability_map import ProbabilityMap
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

SIZES_HW = [(480, 640), (640, 480), (1080, 1920), (37, 53), (1, 1), (3, 900), (448, 448)]
ROUNDING = 3e-7  # torch's kernels fuse a product and a sum; here each is rounded


def naive(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    return to_image_size(torch.from_numpy(values)[None], size_hw)[0].numpy()


def draw(kind: str, side: int = 448) -> NDArray[np.float32]:
    rng = np.random.default_rng(side)
    v, u = np.mgrid[:side, :side] / side
    blob = 0.3**2 - (u - 0.45) ** 2 - (v - 0.8) ** 2  # reaches over the lower border
    logits = {
        "blob": 60 * blob + 0.5 * rng.standard_normal(blob.shape),
        "small": 90 * (blob - 0.088),
        "noise": 2 * rng.standard_normal(blob.shape),
        "nothing": blob - 9,
        "all": blob + 9,
    }[kind]
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("kind", ["blob", "small", "noise", "nothing", "all"])
@pytest.mark.parametrize("side", [448, 224])
def test_a_segmentation_equals_the_naive_one(
    kind: str, side: int, size_hw: tuple[int, int]
) -> None:
    values = draw(kind, side)
    expected = naive(values, size_hw)
    found = ProbabilityMap(values=values, size_hw=size_hw)
    mask, box, score = found.find_mask(0.5)
    assert (mask != (expected >= 0.5))[np.abs(expected - 0.5) > ROUNDING].sum() == 0
    ours = build_segmentation("it", Status.FOUND, 0.9, score, found, mask, within=box)
    assert_equals_naive(ours, mask)
    # The fields agree with each other exactly, whatever is rounded where.
    assert "probability" not in vars(ours)  # nobody has read it
    np.testing.assert_array_equal(ours.mask, ours.probability >= 0.5)
    np.testing.assert_allclose(ours.probability, expected, atol=ROUNDING)
    assert ours.probability.dtype == np.float32
    assert score == pytest.approx(ours.probability[mask].mean() if mask.any() else 0, abs=1e-5)


def assert_equals_naive(ours: Segmentation, mask: NDArray[np.bool_]) -> None:
    """Compare with what is computed from all pixels of the mask."""
    v, u = np.nonzero(mask)
    assert ours.area_px == len(u)
    if not len(u):
        assert (ours.box_xyxy, ours.centroid_uv, ours.inside_uv) == (None, None, None)
        return
    assert ours.box_xyxy == (u.min(), v.min(), u.max() + 1, v.max() + 1)
    assert ours.centroid_uv == pytest.approx((u.mean(), v.mean()))
    assert ours.inside_uv is not None
    assert mask[ours.inside_uv[::-1]]
    distance = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    # As large as any, but for the rows between those that are looked at (masks.inside_uv): noise
    # has holes everywhere.
    x0, y0, x1, y1 = ours.box_xyxy
    n = np.ceil(np.sqrt((x1 - x0) * (y1 - y0) / 65_536))
    if n == 1:
        assert distance[ours.inside_uv[::-1]] == distance.max()
    elif distance.max() > 4 * n:
        assert distance[ours.inside_uv[::-1]] > distance.max() - 2 * n


def test_any_box_is_read_as_from_the_whole() -> None:
    values, rng = draw("blob"), np.random.default_rng(1)
    found = ProbabilityMap(values=values, size_hw=(480, 640))
    whole = found.read((0, 0, 640, 480))
    for _ in range(50):
        (x0, x1), (y0, y1) = np.sort(rng.integers(0, 481, (2, 2)), axis=1).tolist()
        np.testing.assert_array_equal(found.read((x0, y0, x1, y1)), whole[y0:y1, x0:x1])


def test_a_map_of_the_images_size_is_read_as_it_is() -> None:
    values = draw("noise")
    found = ProbabilityMap(values=values, size_hw=(448, 448))
    assert np.shares_memory(found.read((0, 0, 448, 448)), values)
    mask, _, score = found.find_mask(0.5)
    np.testing.assert_array_equal(mask, values >= 0.5)
    assert score == pytest.approx(values[mask].mean(), abs=1e-5)


def test_nan_belongs_to_no_mask() -> None:
    values = draw("blob")
    values[300:310, 200:220] = np.nan
    expected = naive(values, (480, 640)) >= 0.5
    mask, _, score = ProbabilityMap(values=values, size_hw=(480, 640)).find_mask(0.5)
    np.testing.assert_array_equal(mask, expected)
    assert 0.5 < score < 1


@pytest.mark.parametrize("limit", [0.1, 0.7, 1.0])
def test_other_limits(limit: float) -> None:
    values = draw("blob")
    mask, _, _ = ProbabilityMap(values=values, size_hw=(480, 640)).find_mask(limit)
    np.testing.assert_array_equal(mask, naive(values, (480, 640)) >= limit)
