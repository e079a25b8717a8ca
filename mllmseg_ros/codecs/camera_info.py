# SPDX-License-Identifier: Apache-2.0
"""Turn a camera info message into the intrinsics of an image.

K, D and P describe the whole sensor, width x height; an image may show a region of it (ROI) and be
binned (REP 104). Drivers that say less or something else are understood where only one reading fits
the size of the image, and refused by name where none does. Fields are read by their names in
sensor_msgs, as in :mod:`mllmseg_ros.codecs.images`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.geometry.localization import DISTORTION_MODELS, Intrinsics

__all__ = [
    "NotCalibratedError",
    "info_topics",
    "intrinsics_of_image",
    "is_rectified_topic",
    "read_camera_info",
]

CameraInfo: TypeAlias = Any  # with the fields of sensor_msgs/CameraInfo, of any class
_Pair: TypeAlias = tuple[int, int]  # along u and v

# Names of the same models elsewhere (Kalibr, OpenCV, librealsense, calibration files), without
# spaces, hyphens and underscores.
_MODEL_NAMES = {
    "plumbbob": "plumb_bob",
    "radtan": "plumb_bob",
    "radialtangential": "plumb_bob",
    "brownconrady": "plumb_bob",
    "rationalpolynomial": "rational_polynomial",
    "rational": "rational_polynomial",
    "equidistant": "equidistant",
    "equi": "equidistant",
    "fisheye": "equidistant",
    "opencvfisheye": "equidistant",
    "kannalabrandt": "equidistant",
    "kannalabrandt4": "equidistant",
}
# A word of the last two names of a topic: image_rect, image_rect_color, rect/image.
_RECTIFIED = re.compile(r"(^|[/_])rect(ified)?([/_]|$)")
# Numbers of distortion coefficients that OpenCV accepts.
_PINHOLE_LENGTHS, _FISHEYE_LENGTHS = (4, 5, 8, 12, 14), (4,)
# K is taken for the image as it is, against what the message says, only if its principal point is
# nearer to the centre by this share of the size.
_CENTRE_MARGIN = 0.1
_MAX_OFF_CENTRE = 0.2  # of a principal point that is taken for central


class NotCalibratedError(ValueError):
    """A camera info without a focal length."""


class _View(NamedTuple):
    """What an image shows of the sensor."""

    offset: _Pair  # px of the sensor
    binning: _Pair  # px of the sensor per px of the image


_WHOLE = _View((0, 0), (1, 1))


def intrinsics_of_image(
    info: CameraInfo, size_hw: tuple[int, int], *, rectified: bool, name: str = "camera_info"
) -> Intrinsics:
    """Compute the intrinsics of an image from its camera info.

    Args:
        info: the camera info.
        size_hw: size (H, W) of the image, px.
        rectified: the image is rectified already, so P applies instead of K and D.
        name: of the camera info, for errors.

    Raises:
        NotCalibratedError: if it has no focal length.
        ValueError: if its size, its principal point, its distortion model or the number of its
            coefficients does not explain the image, saying what does not.
    """
    return read_camera_info(info, size_hw, rectified=rectified, name=name)[0]


def read_camera_info(
    info: CameraInfo, size_hw: tuple[int, int], *, rectified: bool, name: str = "camera_info"
) -> tuple[Intrinsics, str]:
    """Compute the intrinsics of an image, and say how they follow from the camera info.

    Args:
        info: the camera info.
        size_hw: size (H, W) of the image, px.
        rectified: the image is rectified already.
        name: of the camera info, for errors.

    Returns:
        The intrinsics, and one line on what was converted or assumed; "" if K, or P of a rectified
        image, is taken as it is.

    Raises:
        NotCalibratedError: as :func:`intrinsics_of_image`.
        ValueError: as :func:`intrinsics_of_image`.
    """
    K, with_D, note = _read_matrix(info, rectified, name)
    if min(size_hw) > 2 and 0 <= K[0, 2] < 1 and 0 <= K[1, 2] < 1:
        raise ValueError(
            f"{name} has its principal point at ({K[0, 2]:g}, {K[1, 2]:g}), a corner of the image; "
            "accepted are px"
        )
    model, D = _read_distortion(info, name) if with_D else ("plumb_bob", np.zeros(0))
    given = str(info.distortion_model)
    if D.any() and model != given:
        note = _join(note, f"distortion model {given!r} is taken for {model}")
    image = (int(size_hw[1]), int(size_hw[0]))
    view, reason = _find_view(info, image, (K[0, 2], K[1, 2]), name)
    for axis in (0, 1):
        offset, binning = view.offset[axis], view.binning[axis]
        K[axis, axis] /= binning
        K[axis, 2] = (K[axis, 2] - offset + 0.5) / binning - 0.5  # pixel centres lie at integers
    return Intrinsics(K=K, D=D, distortion_model=model), _join(note, reason)


def info_topics(image_topic: str) -> tuple[str, str]:
    """Topics on which a camera publishes its info, the usual one first.

    Args:
        image_topic: its image topic, without the transport's suffix.
    """
    return f"{image_topic.rpartition('/')[0]}/camera_info", f"{image_topic}/camera_info"


def is_rectified_topic(image_topic: str) -> bool:
    """Whether an image topic's name says that its images are rectified, as in image_pipeline.

    Args:
        image_topic: with or without the transport's suffix.
    """
    names = image_topic.removesuffix("/compressed").removesuffix("/compressedDepth").split("/")
    return _RECTIFIED.search("/".join(names[-2:])) is not None


def _read_matrix(
    info: CameraInfo, rectified: bool, name: str
) -> tuple[NDArray[np.float64], bool, str]:
    """Read the camera matrix (3, 3); whether D applies to it; and a note.

    Positions are measured from the optical centre of the image's own camera, so that the fourth
    column of P, the baseline of a stereo camera, plays no part.
    """
    K = np.array(info.k, dtype=np.float64).reshape(3, 3)
    P = np.array(info.p, dtype=np.float64).reshape(3, 4)
    if rectified:
        if _is_calibrated(P):
            return _clean(P), False, ""
        if not P[0, 0] and _is_calibrated(K) and not np.any(info.d):
            return _clean(K), False, "P is 0: K is used"
    else:
        if _is_calibrated(K):
            return _clean(K), True, ""
        if not K[0, 0] and _is_calibrated(P):
            return _clean(P), False, "K is 0: P is used, without D"
    letter, value = ("P", P[0, 0]) if rectified else ("K", K[0, 0])
    raise NotCalibratedError(
        f"{name} says that the camera is not calibrated ({letter}[0] = {value:g})"
    )


def _is_calibrated(matrix: NDArray[np.float64]) -> bool:
    numbers = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    return bool(np.isfinite(numbers).all() and (numbers[:2] > 0).all())


def _clean(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep focal lengths and principal point; some drivers leave the last row out."""
    (fx, _, cx), (_, fy, cy) = matrix[:2, :3]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _read_distortion(info: CameraInfo, name: str) -> tuple[str, NDArray[np.float64]]:
    """Read the model and its coefficients; no coefficients fit any model."""
    given, D = str(info.distortion_model), np.array(info.d, dtype=np.float64)
    prefix = "" if name == "camera_info" else f"{name}: "
    if not D.any():
        return "plumb_bob", np.zeros(0)
    model = _MODEL_NAMES.get(given.lower().translate({ord(each): None for each in " -_"}))
    if model is None:
        raise ValueError(
            f"{prefix}unknown distortion model {given[:64]!r}; accepted: "
            f"{', '.join(DISTORTION_MODELS)}"
        )
    lengths = _FISHEYE_LENGTHS if model == "equidistant" else _PINHOLE_LENGTHS
    length = max((each for each in lengths if each <= len(D)), default=0)
    # Many drivers pad D with zeros to a length of their own.
    if not length or not np.isfinite(D).all() or D[length:].any():
        raise ValueError(
            f"{name} has distortion coefficients {D.tolist()[:16]} for model {given[:64]!r}, "
            f"expected {' or '.join(map(str, lengths))} finite numbers"
        )
    return model, D[:length]


def _find_view(
    info: CameraInfo, image: _Pair, centre: tuple[float, float], name: str
) -> tuple[_View, str]:
    """Find which part of the sensor an image shows, and a note ("" if simply all of it).

    Args:
        info: the camera info.
        image: width and height of the image, px.
        centre: the principal point of the camera info.
        name: of the camera info, for errors.
    """
    full, roi = (int(info.width), int(info.height)), info.roi
    binning = (max(1, int(info.binning_x)), max(1, int(info.binning_y)))
    offset, region = (int(roi.x_offset), int(roi.y_offset)), (int(roi.width), int(roi.height))
    says = _describe(full, binning, offset, region)
    if not all(full):  # not told
        if not all(region):
            note = f"K is converted from {says}" if binning != (1, 1) else ""
            return _View((0, 0), binning), note
        full = (offset[0] + region[0], offset[1] + region[1])
    has_region = all(region) and (region != full or any(offset))
    is_inside = all(o + r <= f for o, r, f in zip(offset, region, full, strict=True))
    views = []
    if has_region and is_inside:
        views.append((region, _View(offset, binning)))
    views.append((full, _View((0, 0), binning)))
    # Drivers leave binning out, or K is for the binned image already.
    views += [
        (size, _View(view.offset, (ratio, ratio)))
        for size, view in tuple(views)
        if (ratio := round(size[0] / image[0])) >= 1
    ]
    view = next((view for size, view in views if _shows(size, view.binning, image)), None)
    if view is None:
        raise ValueError(
            f"{name} is for {says}, the image is {image[0]} x {image[1]}, which no binning explains"
        )
    size = f"{image[0]} x {image[1]}"
    # K as it is against K of the sensor: the principal point is near the centre of its own image.
    other = _View((0, 0), binning) if view == _WHOLE else _WHOLE
    sensor = full
    if view == _WHOLE:
        sensor = (image[0] * binning[0], image[1] * binning[1])
        if has_region and not is_inside and _off_centre(centre, image) > _MAX_OFF_CENTRE:
            raise ValueError(f"{name} is for {says}, an ROI outside of it; the image is {size}")
    as_it_is, converted = _off_centre(centre, image), _off_centre(centre, sensor)
    chosen, rejected = (as_it_is, converted) if view == _WHOLE else (converted, as_it_is)
    if view != other and rejected + _CENTRE_MARGIN < chosen:
        view = other
    if view != _WHOLE:
        return view, f"K is converted from {says} to {size}"
    if full == image and binning == (1, 1) and not has_region:
        return view, ""
    return view, f"K is taken for {size}, not for {says}"


def _shows(size: _Pair, binning: _Pair, image: _Pair) -> bool:
    """Whether an image has the size of a binned region; drivers round down or up."""
    return all(n in (s // b, -(-s // b)) for n, s, b in zip(image, size, binning, strict=True))


def _off_centre(point: tuple[float, float], size: _Pair) -> float:
    """Distance of a point from the centre, as a share of the size; of both axes the larger."""
    return max(abs(p / s - 0.5) for p, s in zip(point, size, strict=True))


def _describe(full: _Pair, binning: _Pair, offset: _Pair, region: _Pair) -> str:
    text = f"{full[0]} x {full[1]}" if all(full) else "an unknown size"
    if binning != (1, 1):
        text += f", binning {binning[0]} x {binning[1]}"
    if any(offset) or (any(region) and region != full):
        text += f", ROI {region[0]} x {region[1]} at ({offset[0]}, {offset[1]})"
    return text


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
