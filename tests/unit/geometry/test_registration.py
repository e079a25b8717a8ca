# SPDX-License-Identifier: Apache-2.0
"""Depth of another size, lens or place, brought into the colour image."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.geometry.localization import Intrinsics, unit_depth_rays
from mllmseg_ros.geometry.registration import register_depth, scale_intrinsics

NO_D = np.zeros(5)


def camera(focal: float, width: int, height: int, D: np.ndarray = NO_D) -> Intrinsics:
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    return Intrinsics(K=K, D=D)


def seen(plane: np.ndarray, viewer: Intrinsics, width: int, height: int) -> np.ndarray:
    """Depth of the plane n . p = 1 in a pinhole camera."""
    v, u = np.mgrid[:height, :width]
    rays = np.stack(
        [(u - viewer.K[0, 2]) / viewer.K[0, 0], (v - viewer.K[1, 2]) / viewer.K[1, 1], u * 0 + 1],
        axis=-1,
    )
    return (1 / (rays @ plane)).astype(np.float32)


TILTED = np.array([0.3, -0.2, 1.0])


def test_of_another_size_it_is_looked_up_along_the_same_rays() -> None:
    color, depth = camera(300, 160, 120), camera(150, 80, 60)
    small = seen(TILTED, depth, 80, 60)
    aligned = register_depth(small, depth, color, (120, 160))
    truth = seen(TILTED, color, 160, 120)
    np.testing.assert_allclose(aligned[2:-2, 2:-2], truth[2:-2, 2:-2], rtol=0.003)
    again = scale_intrinsics(color, (120, 160), (60, 80))
    np.testing.assert_allclose(again.K, depth.K)


def test_a_narrower_depth_camera_leaves_the_rim_without_depth() -> None:
    color, depth = camera(100, 160, 120), camera(200, 160, 120)
    aligned = register_depth(np.ones((120, 160), np.float32), depth, color, (120, 160))
    assert np.isnan(aligned[0, 0])
    assert np.isnan(aligned[60, 20])
    assert aligned[60, 80] == 1


def test_a_lens_that_bends_is_followed() -> None:
    bent = camera(150, 160, 120, np.array([-0.2, 0.05, 0.0, 0.0, 0.0]))
    color = camera(150, 160, 120)
    image = np.full((120, 160), 1.0, np.float32)
    image[:, :20] = 2.0  # what the bent lens shows near its left edge
    aligned = register_depth(image, bent, color, (120, 160))
    edge = int(np.argmax(aligned[60] == 1.0))
    x = (20 - 79.5) / 150  # distorted; find the ray it came from
    undistorted = x
    for _ in range(20):
        r2 = undistorted**2
        undistorted = x / (1 - 0.2 * r2 + 0.05 * r2**2)
    assert edge == pytest.approx(undistorted * 150 + 79.5, abs=1.5)


@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [-0.35, 0.0, 0.0, 0.0, 0.0]),
        ("plumb_bob", [-0.4, 0.02, 0.002, -0.001, 0.0]),
        ("rational_polynomial", [0.4, -0.3, 0.0, 0.0, 0.01, 0.8, -0.25, 0.02]),
        ("equidistant", [-0.45, 0.0, 0.0, 0.0]),
    ],
)
def test_what_the_colour_camera_does_not_see_is_not_folded_into_its_image(
    model: str, D: list[float]
) -> None:
    """The depth camera sees more: near things all around what the colour camera sees."""
    color = camera(400, 320, 240)
    bent = Intrinsics(K=color.K, D=np.array(D), distortion_model=model)
    wide = camera(400, 1600, 1600)
    v, u = np.mgrid[:240, :320]
    rays = unit_depth_rays(u.ravel(), v.ravel(), bent)
    limit = np.hypot(rays[0], rays[1]).max() + 0.05
    v, u = np.mgrid[:1600, :1600]
    x, y = (u - wide.K[0, 2]) / 400, (v - wide.K[1, 2]) / 400
    depth = np.where(np.hypot(x, y) < limit, 2.0, 0.25).astype(np.float32)
    aligned = register_depth(depth, wide, bent, (240, 320), np.eye(4))
    assert np.nanmin(aligned) == 2.0
    assert np.isfinite(aligned[60:180, 80:240]).mean() > 0.95


def test_from_another_place_it_is_seen_from_here_and_front_hides_back() -> None:
    viewer = camera(200, 160, 120)
    depth = np.full((120, 160), 2.0, np.float32)
    depth[40:80, 60:100] = 1.0
    shift = np.eye(4)
    shift[0, 3] = 0.1  # the depth camera stands 10 cm to the right of the colour camera
    aligned = register_depth(depth, viewer, viewer, (120, 160), shift)
    near = aligned < 1.5
    columns = np.flatnonzero(near[60])
    # 0.1 m at 1 m: 20 px, and a pixel of what it hides.
    assert (columns[0], columns[-1]) == (79, 119)
    assert aligned[60, 30] == pytest.approx(2.0)
    back = np.eye(4)
    back[2, 3] = 0.5  # half a metre behind: everything is so much farther away
    aligned = register_depth(depth, viewer, viewer, (120, 160), back)
    assert np.nanmin(aligned) == pytest.approx(1.5)
    assert np.nanmax(aligned) == pytest.approx(2.5)


def test_a_finer_colour_image_has_no_gaps() -> None:
    color, depth = camera(300, 160, 120), camera(150, 80, 60)
    aligned = register_depth(np.ones((60, 80), np.float32), depth, color, (120, 160), np.eye(4))
    assert np.isfinite(aligned[2:-2, 2:-2]).all()


def test_nothing_in_gives_nothing_out() -> None:
    nothing = np.full((60, 80), np.nan, np.float32)
    viewer = camera(150, 80, 60)
    for transform in (None, np.eye(4)):
        assert np.isnan(register_depth(nothing, viewer, viewer, (60, 80), transform)).all()
