# SPDX-License-Identifier: Apache-2.0
"""Camera infos as drivers send them, and where a pixel of the image then points."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from mllmseg_ros.codecs.camera_info import (
    NotCalibratedError,
    info_topics,
    intrinsics_of_image,
    read_camera_info,
)
from mllmseg_ros.geometry.localization import unit_depth_rays

# A sensor of 640 x 480.
FX, FY, CX, CY = 500.0, 510.0, 322.0, 236.0
WIDTH, HEIGHT = 640, 480


def K_of(fx: float = FX, fy: float = FY, cx: float = CX, cy: float = CY) -> list[float]:
    return [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]


def P_of(*numbers: float, tx: float = 0.0) -> list[float]:
    (fx, _, cx, _, fy, cy, *_) = K_of(*numbers)
    return [fx, 0.0, cx, tx, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]


def camera_info(
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    binning: tuple[int, int] = (0, 0),
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),  # x, y, width, height
    do_rectify: bool = False,
    **fields: Any,
) -> Any:
    x, y, width, height = roi
    region = SimpleNamespace(
        x_offset=x, y_offset=y, width=width, height=height, do_rectify=do_rectify
    )
    values = {"k": K_of(), "p": [0.0] * 12, "d": [], "distortion_model": "plumb_bob", **fields}
    return SimpleNamespace(
        width=size[0],
        height=size[1],
        binning_x=binning[0],
        binning_y=binning[1],
        roi=region,
        **values,
    )


def intrinsics(info: Any, width: int, height: int, *, rectified: bool = False) -> np.ndarray:
    return intrinsics_of_image(info, (height, width), rectified=rectified).K


def image_K(offset: tuple[int, int], binning: tuple[int, int]) -> np.ndarray:
    """What each pixel of the image shows of the sensor: its block of pixels, at their mean."""
    (x, y), (bx, by) = offset, binning
    cx, cy = (CX - x - (bx - 1) / 2) / bx, (CY - y - (by - 1) / 2) / by
    return np.array([[FX / bx, 0, cx], [0, FY / by, cy], [0, 0, 1]])


@pytest.mark.parametrize(
    ("info", "width", "height", "offset", "binning"),
    [
        (camera_info(), 640, 480, (0, 0), (1, 1)),
        (camera_info(binning=(1, 1)), 640, 480, (0, 0), (1, 1)),
        (camera_info(binning=(2, 2)), 320, 240, (0, 0), (2, 2)),
        (camera_info(binning=(2, 0)), 320, 480, (0, 0), (2, 1)),
        (camera_info(binning=(4, 2)), 160, 240, (0, 0), (4, 2)),
        (camera_info(roi=(0, 0, 640, 480)), 640, 480, (0, 0), (1, 1)),
        (camera_info(roi=(300, 180, 320, 280)), 320, 280, (300, 180), (1, 1)),
        (camera_info(roi=(300, 180, 320, 280), do_rectify=True), 320, 280, (300, 180), (1, 1)),
        (camera_info(roi=(300, 180, 320, 280), binning=(2, 2)), 160, 140, (300, 180), (2, 2)),
        (camera_info(roi=(301, 181, 321, 281), binning=(2, 4)), 160, 70, (301, 181), (2, 4)),
        (camera_info(roi=(301, 181, 321, 281), binning=(2, 4)), 161, 71, (301, 181), (2, 4)),
        # The size of the sensor is not told.
        (camera_info(size=(0, 0)), 640, 480, (0, 0), (1, 1)),
        (camera_info(size=(0, 0), binning=(2, 2)), 320, 240, (0, 0), (2, 2)),
        (camera_info(size=(0, 0), roi=(300, 180, 320, 280)), 320, 280, (300, 180), (1, 1)),
        # A region that was set and not applied.
        (camera_info(roi=(300, 180, 320, 280)), 640, 480, (0, 0), (1, 1)),
        (camera_info(roi=(300, 180, 320, 280), binning=(2, 2)), 320, 240, (0, 0), (2, 2)),
        # Binning that the driver, or a node behind it, does not tell.
        (camera_info(), 320, 240, (0, 0), (2, 2)),
        (camera_info(), 160, 120, (0, 0), (4, 4)),
        (camera_info(binning=(2, 2)), 160, 120, (0, 0), (4, 4)),
        (camera_info(roi=(300, 180, 320, 280)), 160, 140, (300, 180), (2, 2)),
        (camera_info(binning=(2, 2)), 640, 480, (0, 0), (1, 1)),
    ],
)
def test_K_of_the_sensor_becomes_that_of_the_image(
    info: Any, width: int, height: int, offset: tuple[int, int], binning: tuple[int, int]
) -> None:
    expected = image_K(offset, binning)
    np.testing.assert_allclose(intrinsics(info, width, height), expected)
    info.k, info.p = [0.0] * 9, P_of(tx=-50.0)  # the baseline of a stereo camera plays no part
    np.testing.assert_allclose(intrinsics(info, width, height, rectified=True), expected)


@pytest.mark.parametrize(
    "info",
    [
        # Calibrated with binned images, as astuff/avt_vimba_camera#82 and pylon-ros-camera#143.
        camera_info(size=(2560, 1920), binning=(4, 4)),
        camera_info(binning=(2, 2)),
        # The size of the sensor, K of the image that a node has scaled.
        camera_info(size=(1280, 960)),
        # A driver that has shifted K already by a centred region.
        camera_info(size=(1280, 960), roi=(320, 240, 640, 480)),
        # The size of the region instead of the sensor's, which leaves no room for its offset.
        camera_info(roi=(320, 240, 640, 480)),
    ],
)
def test_K_of_the_image_itself_is_known_by_its_principal_point(info: Any) -> None:
    K = intrinsics(info, WIDTH, HEIGHT)
    np.testing.assert_allclose(K, np.reshape(K_of(), (3, 3)))


def test_binned_size_with_K_of_the_sensor_is_known_by_its_principal_point() -> None:
    info = camera_info(size=(320, 240), binning=(2, 2))
    np.testing.assert_allclose(intrinsics(info, 320, 240), image_K((0, 0), (2, 2)))


@pytest.mark.parametrize(
    ("info", "size", "reason"),
    [
        (
            camera_info(size=(1280, 720)),
            (640, 480),
            "camera_info is for 1280 x 720, the image is 640 x 480, which no binning explains",
        ),
        (camera_info(), (1280, 960), "is for 640 x 480, the image is 1280 x 960"),
        (camera_info(), (480, 640), "is for 640 x 480, the image is 480 x 640"),
        (camera_info(size=(1920, 1080)), (1280, 720), "is for 1920 x 1080"),
        (camera_info(size=(1280, 480)), (640, 480), "is for 1280 x 480"),
        (
            camera_info(roi=(300, 180, 320, 280), binning=(2, 2)),
            (300, 200),
            "is for 640 x 480, binning 2 x 2, ROI 320 x 280 at (300, 180), the image is 300 x 200",
        ),
        (camera_info(size=(0, 0), roi=(9, 9, 320, 280)), (640, 480), "the image is 640 x 480"),
        (
            camera_info(roi=(320, 240, 640, 480), k=K_of(cx=20.0)),
            (640, 480),
            "is for 640 x 480, ROI 640 x 480 at (320, 240), an ROI outside of it",
        ),
    ],
)
def test_a_size_that_nothing_explains_is_named(
    info: Any, size: tuple[int, int], reason: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        intrinsics(info, *size)
    assert reason in str(error.value)
    with pytest.raises(ValueError, match=r"^depth/camera_info is for "):
        intrinsics_of_image(info, size[::-1], rectified=False, name="depth/camera_info")


def test_conversions_are_reported() -> None:
    def note(info: Any, width: int = WIDTH, height: int = HEIGHT) -> str:
        return read_camera_info(info, (height, width), rectified=False)[1]

    assert note(camera_info()) == note(camera_info(size=(0, 0))) == ""
    assert note(camera_info(binning=(2, 2)), 320, 240) == (
        "K is converted from 640 x 480, binning 2 x 2 to 320 x 240"
    )
    assert note(camera_info(size=(1280, 960))) == "K is taken for 640 x 480, not for 1280 x 960"
    fisheye = camera_info(k=[0.0] * 9, p=P_of(), d=[0.1, 0.0, 0.0, 0.0], distortion_model="fisheye")
    assert note(fisheye) == "K is 0: P is used, without D"
    fisheye.k = K_of()
    assert note(fisheye) == "distortion model 'fisheye' is taken for equidistant"


def test_without_K_the_projection_of_a_rectified_camera_is_used() -> None:
    info = camera_info(k=[0.0] * 9, p=P_of(400.0, 401.0, 300.0, 200.0), d=[0.3] * 5)
    read = intrinsics_of_image(info, (HEIGHT, WIDTH), rectified=False)
    np.testing.assert_allclose(read.K, np.reshape(K_of(400.0, 401.0, 300.0, 200.0), (3, 3)))
    assert not read.D.any()


def test_without_P_a_rectified_image_has_K_unless_there_is_distortion() -> None:
    info = camera_info(d=[0.0] * 5)
    np.testing.assert_allclose(
        intrinsics(info, WIDTH, HEIGHT, rectified=True), np.reshape(K_of(), (3, 3))
    )
    info.d = [0.1] * 5
    with pytest.raises(NotCalibratedError, match=r"not calibrated \(P\[0\] = 0\)"):
        intrinsics(info, WIDTH, HEIGHT, rectified=True)


@pytest.mark.parametrize(
    "k", [[0.0] * 9, K_of(fx=float("nan")), K_of(fy=0.0), K_of(fx=-1.0), K_of(cx=float("inf"))]
)
def test_a_camera_without_a_focal_length_is_not_calibrated(k: list[float]) -> None:
    with pytest.raises(NotCalibratedError, match=r"^camera_info says .* not calibrated \(K\[0\] ="):
        intrinsics(camera_info(k=k), WIDTH, HEIGHT)


def test_a_last_row_of_zeros_changes_nothing() -> None:
    info = camera_info(k=[*K_of()[:8], 0.0])
    np.testing.assert_allclose(intrinsics(info, WIDTH, HEIGHT), np.reshape(K_of(), (3, 3)))


EQUIDISTANT = [0.01, -0.005, 0.002, -0.001]
PLUMB_BOB = [-0.2, 0.05, 0.001, -0.001, 0.01]
RATIONAL = [0.3, -0.1, 0.001, 0.0005, 0.02, 0.35, -0.12, 0.01]


@pytest.mark.parametrize(
    ("model", "D", "canonical"),
    [
        ("equidistant", EQUIDISTANT, "equidistant"),
        ("fisheye", EQUIDISTANT, "equidistant"),
        ("Kannala-Brandt", EQUIDISTANT, "equidistant"),
        ("equidistant", [*EQUIDISTANT, 0.0], "equidistant"),
        ("equidistant", [*EQUIDISTANT, 0.0, 0.0, 0.0, 0.0], "equidistant"),
        ("fisheye", [*EQUIDISTANT] + [0.0] * 10, "equidistant"),
        ("plumb_bob", PLUMB_BOB, "plumb_bob"),
        ("Plumb Bob", PLUMB_BOB[:4], "plumb_bob"),
        ("radtan", PLUMB_BOB[:4], "plumb_bob"),
        ("Brown-Conrady", PLUMB_BOB, "plumb_bob"),
        ("plumb_bob", [*PLUMB_BOB, 0.0], "plumb_bob"),
        ("plumb_bob", [*PLUMB_BOB, 0.0, 0.0, 0.0], "plumb_bob"),
        ("plumb_bob", RATIONAL, "plumb_bob"),  # OpenCV goes by their number
        ("rational_polynomial", RATIONAL, "rational_polynomial"),
        ("rational_polynomial", [*RATIONAL, 0.0, 0.0], "rational_polynomial"),
        ("rational_polynomial", [*RATIONAL] + [0.0] * 6, "rational_polynomial"),
        ("rational_polynomial", [*RATIONAL] + [0.0] * 8, "rational_polynomial"),
    ],
)
def test_a_lens_of_every_known_name_and_length_is_undone(
    model: str, D: list[float], canonical: str
) -> None:
    info = camera_info(distortion_model=model, d=D)
    read = intrinsics_of_image(info, (HEIGHT, WIDTH), rectified=False)
    assert read.distortion_model == canonical
    ray, zero = np.array([[[0.30, -0.22, 1.0]]]), np.zeros(3)
    if canonical == "equidistant":
        uv = cv2.fisheye.projectPoints(ray, zero, zero, read.K, np.array(D[:4]))[0].ravel()
    else:
        significant = len(np.trim_zeros(np.array(D), "b"))
        length = min(n for n in (4, 5, 8, 12, 14) if n >= significant)
        uv = cv2.projectPoints(ray, zero, zero, read.K, np.array(D[:length]))[0].ravel()
    np.testing.assert_allclose(unit_depth_rays(uv[:1], uv[1:], read)[:, 0], ray.ravel(), atol=1e-5)


@pytest.mark.parametrize("model", ["xyz", "", "pinhole", "inverse_brown_conrady", "ftheta"])
def test_an_unknown_model_is_named_unless_there_is_no_distortion(model: str) -> None:
    info = camera_info(distortion_model=model, d=[1e-4, 0.0, 0.0, 0.0])
    reason = f"unknown distortion model {model!r}; accepted: plumb_bob, rational_polynomial, equi"
    with pytest.raises(ValueError, match=f"^{reason}"):
        intrinsics(info, WIDTH, HEIGHT)
    info.d = [0.0] * 7
    assert intrinsics(info, WIDTH, HEIGHT)[0, 0] == FX


@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [0.1]),
        ("plumb_bob", [0.1] * 6),
        ("plumb_bob", [float("nan")] * 5),
        ("rational_polynomial", [float("inf")] * 8),
        ("rational_polynomial", [*RATIONAL, 0.0, 0.1]),
        ("equidistant", [0.1] * 3),
        ("equidistant", [0.1] * 5),
        ("fisheye", [*EQUIDISTANT, 0.0, 0.0, 0.0, 1e-9]),
    ],
)
def test_a_wrong_number_of_coefficients_is_named(model: str, D: list[float]) -> None:
    with pytest.raises(ValueError, match=rf"{model!r}, expected .* finite numbers"):
        intrinsics(camera_info(distortion_model=model, d=D), WIDTH, HEIGHT)


def test_the_topics_of_an_image_topic() -> None:
    assert info_topics("/arm/cam_color") == ("/arm/camera_info", "/arm/cam_color/camera_info")
    assert info_topics("/image") == ("/camera_info", "/image/camera_info")
