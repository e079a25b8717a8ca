# SPDX-License-Identifier: Apache-2.0
"""cv_bridge instead of our own image conversion, where it is installed and sound.

cv_bridge built against another NumPy than the one running does not merely raise: it can crash the
process. So its self-check runs in a process of its own, once at start.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mllmseg_ros.doctor.child_process import run_child
from mllmseg_ros.ros.messages.image_msgs import (
    ENCODINGS,
    check_image,
    image_from_array,
    rgb_from_image,
)

__all__ = ["choose_rgb_conversion"]

RgbConversion = Callable[[Image], NDArray[np.uint8]]

# uyvy and yuyv are newer names that cv_bridge does not know.
BRIDGED_ENCODINGS = tuple(name for name in ENCODINGS if name not in ("uyvy", "yuyv"))
_SELF_CHECK = "from mllmseg_ros.ros.messages.cv_bridge_conversion import self_check; self_check()"
_SELF_CHECK_TIMEOUT_S = 30.0


def choose_rgb_conversion() -> tuple[RgbConversion, str]:
    """Pick the way from sensor_msgs/Image to RGB (H, W, 3) uint8.

    Returns:
        The conversion, which raises ValueError for a bad image, and one line that says which it is
        and why.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return rgb_from_image, "images are converted by numpy (cv_bridge is not installed)"
    # In a child: a cv_bridge that was built for another NumPy crashes instead of raising.
    problem, _ = run_child(_SELF_CHECK, _SELF_CHECK_TIMEOUT_S)
    if problem:
        return rgb_from_image, (
            f"images are converted by numpy (cv_bridge failed its self-check: {problem})"
        )
    return rgb_by_cv_bridge, "images are converted by cv_bridge (self-check passed)"


def rgb_by_cv_bridge(msg: Image) -> NDArray[np.uint8]:
    """Convert a colour or grey image to RGB (H, W, 3) uint8 by cv_bridge.

    Raises:
        ValueError: as :func:`~mllmseg_ros.codecs.images.check_image` does; cv_bridge checks less.
    """
    from cv_bridge import CvBridge

    check_image(msg)
    # cv_bridge's byte swapping calls a method that NumPy 2 no longer has.
    if msg.encoding not in BRIDGED_ENCODINGS or msg.is_bigendian:
        return rgb_from_image(msg)
    return CvBridge().imgmsg_to_cv2(msg, "rgb8")


def self_check() -> None:
    """Convert one small image per encoding both ways.

    Raises:
        ValueError: naming the encoding for which the bytes differ.
    """
    random = np.random.default_rng(0)
    for name in BRIDGED_ENCODINGS:
        encoding = ENCODINGS[name]
        shape = (6, 8) if encoding.channels == 1 else (6, 8, encoding.channels)
        top = np.iinfo(encoding.dtype).max
        pixels = random.integers(0, top, shape, dtype=encoding.dtype, endpoint=True)
        msg = image_from_array(pixels, name, Header())
        if not np.array_equal(rgb_by_cv_bridge(msg), rgb_from_image(msg)):
            raise ValueError(f"its {name} differs from ours")
