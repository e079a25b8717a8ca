# SPDX-License-Identifier: Apache-2.0
"""Find the Fast DDS profile for large images."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

__all__ = ["environment", "variables"]

_FAST_DDS_2 = ("humble", "iron", "jazzy")


def variables() -> tuple[str, ...]:
    """Return the environment variables in which Fast DDS looks for its profile.

    Fast DDS 2 and 3 have different ones. ROS 2 from wheels does not say which distribution it is:
    then both.
    """
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    distro = os.environ.get("ROS_DISTRO")
    return names if not distro else names[:1] if distro in _FAST_DDS_2 else names[1:]


def environment() -> dict[str, str]:
    """Return the environment variables with the profile, for processes that exchange images.

    By default Fast DDS drops most images on a busy machine: they do not fit its shared memory.
    """
    profile = Path(get_package_share_directory("mllmseg_ros"), "config", "fastdds_large_images.xml")
    return {name: os.environ.get(name) or str(profile) for name in variables()}
