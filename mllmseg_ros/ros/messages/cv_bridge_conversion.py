# SPDX-License-Identifier: Apache-2.0
"""Convert images with cv_bridge where it is installed and works, else with NumPy.

cv_bridge can crash the process, so its self-check runs in a child process, once at start.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from mllmseg_ros.ros.messages.image_msgs import (
    ENCODINGS,
    check_image,
    image_from_array,
    rgb_from_image,
)
from mllmseg_ros.ros.package_choice import choose_implementation, run_check_in_child

__all__ = ["choose_rgb_conversion"]

RgbConversion = Callable[[Image], NDArray[np.uint8]]

# Not names that cv_bridge does not know, or not in all its releases, nor OpenCV's types, which it
# does not take for colours, nor 16 bits, of which it takes all for used.
BRIDGED_ENCODINGS = tuple(
    name
    for name, encoding in ENCODINGS.items()
    if name not in ("uyvy", "yuyv")
    and "UC" not in name
    and not encoding.chroma
    and encoding.dtype == np.uint8
)
_SELF_CHECK = "from mllmseg_ros.ros.messages.cv_bridge_conversion import self_check; self_check()"
_SELF_CHECK_TIMEOUT_S = 30.0


def choose_rgb_conversion() -> tuple[RgbConversion, str]:
    """Choose the conversion of sensor_msgs/Image to RGB (H, W, 3) uint8.

    Returns:
        The conversion, which raises ValueError for a malformed image, and one line for the log.
    """
    choice = choose_implementation(
        "images are converted",
        package="cv_bridge",
        check=partial(run_check_in_child, _SELF_CHECK, _SELF_CHECK_TIMEOUT_S),
        from_package=rgb_by_cv_bridge,
        own=rgb_from_image,
        own_name="numpy",
    )
    return choice.implementation, choice.line


def rgb_by_cv_bridge(msg: Image) -> NDArray[np.uint8]:
    """Convert a colour or grey image to RGB (H, W, 3) uint8 with cv_bridge.

    Raises:
        ValueError: as :func:`~mllmseg_ros.codecs.images.check_image` does; cv_bridge checks less.
    """
    from cv_bridge import CvBridge

    encoding = check_image(msg)
    # For big-endian images cv_bridge calls a method that NumPy 2 no longer has, images whose rows
    # are not a whole number of pixels are skewed, and data in other memory cannot be read.
    if (
        msg.encoding not in BRIDGED_ENCODINGS
        or msg.is_bigendian
        or msg.step % encoding.channels
        or hasattr(msg.data, "to_bytes")
    ):
        return rgb_from_image(msg)
    return CvBridge().imgmsg_to_cv2(msg, "rgb8")


def self_check() -> None:
    """Compare both conversions on small images of each encoding: padded, big-endian, odd sizes.

    Raises:
        ValueError: naming an encoding whose results differ.
    """
    random = np.random.default_rng(0)
    for name in BRIDGED_ENCODINGS:
        encoding = ENCODINGS[name]
        for width in (8, 7):
            if width % encoding.multiple_hw[1]:
                continue
            pixels = random.integers(0, 256, (6, width, encoding.channels), dtype=np.uint8)
            for padding in (0, 1, 2, 3, 4):
                msg = image_from_array(pixels, name, Header())
                rows = np.pad(pixels.reshape(6, -1), ((0, 0), (0, padding)))
                msg.step, msg.data = rows.shape[1], array.array("B", rows.tobytes())
                for msg.is_bigendian in (0, 1):
                    if not np.array_equal(rgb_by_cv_bridge(msg), rgb_from_image(msg)):
                        raise ValueError(f"its {name} differs from ours")
