# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest

from mllmseg_ros.geometry import localization
from mllmseg_ros.geometry.localization import (
    MIN_POINTS,
    Intrinsics,
    explain_no_position,
    image_depth_rays,
    locate,
    select_own_depth,
    stand_box_upright,
    transform_position,
    unit_depth_rays,
)
from mllmseg_ros.masks import inside_uv
from mllmseg_ros.sim.samples import N_SAMPLES, load_sample

K = np.array([[500.0, 0.0, 319.5], [0.0, 520.0, 239.5], [0.0, 0.0, 1.0]])
NO_DISTORTION = np.zeros(5)


def patch(u: int, v: int, half: int = 10) -> np.ndarray:
    mask = np.zeros((480, 640), dtype=bool)
    mask[v - half : v + half + 1, u - half : u + half + 1] = True
    return mask


def test_a_flat_patch_lies_where_the_pinhole_says() -> None:
    depth = np.full((480, 640), 0.8, dtype=np.float32)
    position = locate(patch(400, 100), depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100))
    assert position is not None
    expected = [(400 - 319.5) / 500 * 0.8, (100 - 239.5) / 520 * 0.8, 0.8]
    np.testing.assert_allclose(position.mean, expected, atol=1e-6)
    np.testing.assert_allclose(position.surface_point, expected, atol=1e-6)
    np.testing.assert_allclose(position.box_center, expected, atol=1e-6)
    np.testing.assert_allclose(position.box_size, [20 / 500 * 0.8, 20 / 520 * 0.8, 0], atol=1e-6)
    assert position.covariance[2, 2] == pytest.approx(0, abs=1e-12)
    assert position.valid_depth_ratio == 1.0
    assert position.points.shape == (21 * 21, 3)
    np.testing.assert_allclose(position.points.mean(axis=0), expected, atol=1e-6)
    seen_at = position.points[:, :2] / position.points[:, 2:] * [500, 520] + [319.5, 239.5]
    np.testing.assert_allclose(seen_at, position.points_uv, atol=1e-3)


def test_background_inside_the_mask_does_not_pull_the_mean() -> None:
    depth = np.full((480, 640), 0.8, dtype=np.float32)
    depth[90:95] = 3.0  # what is behind shows at the mask's edge
    position = locate(patch(400, 100), depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100))
    assert position is not None
    assert position.mean[2] == pytest.approx(0.8, abs=1e-6)


def test_invalid_depths_count_for_the_ratio_only() -> None:
    depth = np.full((480, 640), 0.8, dtype=np.float32)
    depth[90:100], depth[100] = np.nan, 0.0
    position = locate(patch(400, 100), depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100))
    assert position is not None
    assert position.valid_depth_ratio == pytest.approx(10 / 21)
    assert position.surface_point[2] == pytest.approx(0.8, abs=1e-6)


def test_too_few_valid_depths_give_no_position() -> None:
    depth = np.full((480, 640), np.nan, dtype=np.float32)
    intrinsics = Intrinsics(K=K, D=NO_DISTORTION)
    depth[100, 395 : 395 + MIN_POINTS - 1] = 0.8
    assert locate(patch(400, 100), depth, intrinsics, (400, 100)) is None
    depth[100, 395 : 395 + MIN_POINTS] = 0.8
    assert locate(patch(400, 100), depth, intrinsics, (400, 100)) is not None


@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [-0.2, 0.05, 0.001, -0.001, 0.0]),
        ("rational_polynomial", [0.3, -0.1, 0.001, 0.0005, 0.02, 0.35, -0.12, 0.01]),
        ("equidistant", [0.01, -0.005, 0.002, -0.001]),
    ],
)
def test_distortion_is_undone(model: str, D: list[float]) -> None:
    point = np.array([[[0.20, -0.12, 0.9]]])
    zero = np.zeros(3)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixel = project(point, zero, zero, K, np.array(D))[0].ravel()
    u, v = (round(value) for value in pixel)
    depth = np.full((480, 640), 0.9, dtype=np.float32)
    intrinsics = Intrinsics(K=K, D=np.array(D), distortion_model=model)
    position = locate(patch(u, v, 5), depth, intrinsics, (u, v))
    assert position is not None
    # Within the rounding to whole pixels: half a pixel is 0.9 mm here.
    np.testing.assert_allclose(position.surface_point, point.ravel(), atol=1.2e-3)


# Lenses as they are sold: model, width, height, fx, cx, cy, D.
LENSES = {
    "Kinect, colour": (
        *("rational_polynomial", 1280, 720, 607.0, 640.0, 366.0),
        [0.486, -2.66, 0.0006, -0.0002, 1.567, 0.362, -2.48, 1.49],
    ),
    "Kinect, infrared": (
        *("rational_polynomial", 640, 576, 505.0, 326.0, 337.0),
        [5.27, 3.49, -2.6e-5, -1.3e-5, 0.18, 5.60, 5.10, 0.94],
    ),
    "EuRoC": (
        *("plumb_bob", 752, 480, 458.0, 367.2, 248.4),
        [-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05, 0.0],
    ),
    "OAK": (
        *("rational_polynomial", 1920, 1080, 1500.0, 960.0, 540.0),
        [-2.0, 12.0, 0.0003, -0.0004, -2.0, -2.05, 11.6, -1.5, 0, 0, 0, 0, 0, 0],
    ),
}


@pytest.mark.parametrize("lens", LENSES)
def test_rays_are_exact_up_to_the_corner(lens: str) -> None:
    model, width, height, f, cx, cy, D = LENSES[lens]
    camera = Intrinsics(
        K=np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]]), D=np.array(D), distortion_model=model
    )
    v, u = (each.ravel() for each in np.mgrid[0:height:8, 0:width:8])
    rays = unit_depth_rays(u, v, camera)
    zero = np.zeros(3)
    pixels = cv2.projectPoints(rays.T[:, None].copy(), zero, zero, camera.K, camera.D)[0][:, 0]
    # 0.001 px is 0.002 mm at 1 m.
    assert np.hypot(*(pixels - np.stack([u, v], axis=-1)).T).max() < 1e-3
    remembered = image_depth_rays(u, v, camera, (height, width))
    np.testing.assert_allclose(remembered, rays, atol=1e-6)


def test_errors_name_what_came() -> None:
    depth = np.full((480, 640), 0.8, dtype=np.float32)
    with pytest.raises(ValueError, match=r"depth image is \(10, 10\), the mask \(480, 640\)"):
        locate(patch(9, 9, 5), depth[:10, :10], Intrinsics(K=K, D=NO_DISTORTION), (9, 9))
    strange = Intrinsics(K=K, D=np.ones(4), distortion_model="spiral")
    with pytest.raises(ValueError, match="unknown distortion model 'spiral'; accepted: plumb_bob"):
        locate(patch(100, 100), depth, strange, (100, 100))


def test_a_turned_box_gets_its_own_edges() -> None:
    """A flat plank, turned in the image and tilted away from the camera."""
    turn, tilt = np.deg2rad(25), np.deg2rad(30)
    along = np.array([np.cos(turn), np.sin(turn), 0.0])
    across = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    normal = np.cross(along, across)
    center = np.array([0.02, -0.01, 0.9])
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - 319.5) / 500, (v - 239.5) / 520, np.ones_like(u, dtype=float)], axis=-1)
    z = (center @ normal) / (rays @ normal)
    offset = rays * z[..., None] - center
    mask = (np.abs(offset @ along) < 0.10) & (np.abs(offset @ across) < 0.04)
    depth = np.where(mask, z, 2.0).astype(np.float32)
    position = locate(mask, depth, Intrinsics(K=K, D=NO_DISTORTION), (325, 235))
    assert position is not None
    axes, size = position.box_axes, position.box_size
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    assert np.linalg.det(axes) == pytest.approx(1)
    assert (np.diag(axes) > 0).all()
    assert axes[:, 0] @ along == pytest.approx(1, abs=2e-3)
    np.testing.assert_allclose(size, [0.2, 0.08, 0.0], atol=0.006)
    np.testing.assert_allclose(position.box_center, center, atol=0.003)


def test_flying_pixels_at_the_rim_do_not_count() -> None:
    depth = np.full((480, 640), 1.2, dtype=np.float32)
    mask = patch(400, 100)
    depth[mask] = 0.8
    rim = mask & ~patch(400, 100, 9)
    depth[rim] = np.random.default_rng(0).uniform(0.8, 1.2, int(rim.sum()))
    position = locate(mask, depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100))
    assert position is not None
    assert position.mean[2] == pytest.approx(0.8, abs=0.001)
    assert position.points[:, 2].max() < 0.83


def test_a_thin_thing_is_beside_a_jump_everywhere_and_still_has_a_place() -> None:
    depth = np.full((480, 640), 1.2, dtype=np.float32)
    wire = np.zeros((480, 640), dtype=bool)
    wire[100:102, 300:400] = True
    depth[wire] = 0.8
    position = locate(wire, depth, Intrinsics(K=K, D=NO_DISTORTION), (350, 100))
    assert position is not None
    assert position.mean[2] == pytest.approx(0.8, abs=1e-5)


def test_in_another_frame_it_is_the_same_place_and_the_same_box() -> None:
    """A camera that looks straight down from above a table, as REP 103 names the axes."""
    depth = np.full((480, 640), 0.9, dtype=np.float32)
    mask = np.zeros((480, 640), dtype=bool)
    mask[90:111, 360:441] = True  # wide in the image
    v, u = np.mgrid[:480, :640]
    depth[mask] += (0.0005 * (u - 400) + 0.001 * (v - 100))[mask].astype(np.float32)
    seen = locate(mask, depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100))
    assert seen is not None
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, -1]])
    matrix[:3, 3] = [0.5, 0.1, 1.2]
    transformed = transform_position(seen, matrix)

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    np.testing.assert_allclose(transformed.points, moved(seen.points), atol=1e-6)
    np.testing.assert_allclose(transformed.mean, transformed.points.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(transformed.covariance, np.cov(transformed.points.T), atol=1e-8)
    np.testing.assert_allclose(transformed.surface_point, moved(seen.surface_point))
    # The image's right is the table's -y: what was the box's x edge is its y edge now.
    assert seen.box_size[0] > 2 * seen.box_size[1]
    np.testing.assert_allclose(transformed.box_size, seen.box_size[[1, 0, 2]])
    assert np.linalg.det(transformed.box_axes) == pytest.approx(1)
    assert (np.abs(np.diag(transformed.box_axes)) > 0.8).all()
    # Every point lies in the box, and touches each of its six sides.
    along = (transformed.points - transformed.box_center) @ transformed.box_axes
    np.testing.assert_allclose(along.max(axis=0), transformed.box_size / 2, atol=1e-4)
    np.testing.assert_allclose(along.min(axis=0), -transformed.box_size / 2, atol=1e-4)
    np.testing.assert_array_equal(transformed.points_uv, seen.points_uv)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_few_thousand_points_are_where_all_of_them_are(
    scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the sample frames, and in the same at 1920 x 1440, with a depth camera's noise."""
    rng = np.random.default_rng(0)
    compared = 0
    for view in map(load_sample, range(N_SAMPLES)):
        depth_m = view.depth_m.repeat(scale, axis=0).repeat(scale, axis=1)
        depth_m = depth_m + rng.normal(0, 0.002, depth_m.shape).astype(np.float32)
        depth_m[rng.random(depth_m.shape) < 0.05] = np.nan
        instances = view.instances.repeat(scale, axis=0).repeat(scale, axis=1)
        camera = Intrinsics(K=view.K * [[scale], [scale], [1]], D=NO_DISTORTION)
        for thing in view.objects:
            # Reaches over the outline, as a model's mask does.
            size = np.ones((4 * scale + 1, 4 * scale + 1), np.uint8)
            mask = cv2.dilate((instances == thing.instance_id).astype(np.uint8), size) > 0
            at = inside_uv(mask)
            if at is None:
                continue
            few = locate(mask, depth_m, camera, at)
            with monkeypatch.context() as patch:
                patch.setattr(localization, "_MAX_POINTS", mask.size)
                every = locate(mask, depth_m, camera, at)
            if few is None or every is None:
                assert few is every
                continue
            assert np.linalg.norm(few.mean - every.mean) < 0.001
            assert np.linalg.norm(few.surface_point - every.surface_point) < 0.008
            np.testing.assert_allclose(
                np.sqrt(np.diag(few.covariance)), np.sqrt(np.diag(every.covariance)), atol=0.003
            )
            along = np.abs((every.points - few.box_center) @ few.box_axes)
            assert (along < few.box_size / 2 + 0.005).all(axis=1).mean() > 0.99
            assert few.valid_depth_ratio == every.valid_depth_ratio
            assert abs(len(few.points) - len(every.points)) < 0.01 * len(every.points)
            compared += len(every.points) > 3000
    assert compared >= (3 if scale == 1 else 20)


def test_depths_of_the_surroundings_alone_give_no_position() -> None:
    """A glass: the camera measures what is around it, which a mask's rim reaches."""
    depth = np.full((480, 640), 1.0, dtype=np.float32)
    depth[82:119, 382:419] = np.nan
    mask = patch(400, 100, 20)
    own = select_own_depth(mask, depth)
    assert np.isnan(own[mask]).all()
    np.testing.assert_array_equal(own[~mask], depth[~mask])
    assert locate(mask, depth, Intrinsics(K=K, D=NO_DISTORTION), (400, 100)) is None
    assert explain_no_position(mask, depth) == (
        "19 % of the mask has depth, inside its rim 0.0 %, at least 2 % is needed there"
    )
    nothing = np.zeros_like(mask)
    assert select_own_depth(nothing, depth) is depth
    assert explain_no_position(nothing, depth).endswith("0 px, at least 10 are needed")


def test_an_upright_box_stands_on_the_table() -> None:
    """The camera looks down at an angle, so that the fitted boxes lean."""
    leaning_deg = []
    for view in map(load_sample, range(N_SAMPLES)):
        camera = Intrinsics(K=view.K, D=NO_DISTORTION)
        for thing in view.objects:
            mask = view.instances == thing.instance_id
            seen_at = inside_uv(mask)
            if mask.sum() < 500 or seen_at is None:
                continue
            located = locate(mask, view.depth_m, camera, seen_at)
            assert located is not None
            position = transform_position(located, view.camera_pose)
            upright = stand_box_upright(position)
            leaning_deg.append(np.degrees(np.arccos(min(1.0, position.box_axes[2, 2]))))
            np.testing.assert_allclose(upright.box_axes[:, 2], (0, 0, 1), atol=1e-9)
            np.testing.assert_allclose(upright.box_axes.T @ upright.box_axes, np.eye(3), atol=1e-9)
            assert np.linalg.det(upright.box_axes) == pytest.approx(1.0)
            z = position.points[:, 2]
            bottom, top = upright.box_center[2] + np.array([-0.5, 0.5]) * upright.box_size[2]
            assert bottom == pytest.approx(np.percentile(z, 0.5), abs=0.01)
            assert top == pytest.approx(np.percentile(z, 99.5), abs=0.01)
            inside = np.abs((position.points - upright.box_center) @ upright.box_axes)
            assert (inside <= upright.box_size / 2 + 1e-3).all(axis=1).mean() > 0.97
            assert np.array_equal(upright.mean, position.mean)
    assert np.max(leaning_deg) > 20
