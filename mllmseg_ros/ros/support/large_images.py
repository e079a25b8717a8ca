# SPDX-License-Identifier: Apache-2.0
"""Find the Fast DDS profile for large images."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

__all__ = ["environment"]

_FAST_DDS_2 = ("humble", "iron", "jazzy")  # Fast DDS 2 has another name for the variable


def environment() -> dict[str, str]:
    """Return the environment variable with the profile, for processes that exchange images.

    By default Fast DDS drops most images on a busy machine: they do not fit its shared memory.
    """
    old = os.environ.get("ROS_DISTRO") in _FAST_DDS_2
    name = f"{'FASTRTPS' if old else 'FASTDDS'}_DEFAULT_PROFILES_FILE"
    share = Path(get_package_share_directory("mllmseg_ros"))
    return {name: os.environ.get(name) or str(share / "config" / "fastdds_large_images.xml")}
