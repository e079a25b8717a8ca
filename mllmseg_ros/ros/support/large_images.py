# SPDX-License-Identifier: Apache-2.0
"""Find the Fast DDS profile for large images."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python import get_search_paths
from ament_index_python.packages import get_package_share_directory

__all__ = ["environment", "find_profile"]


def environment() -> dict[str, str]:
    """Return the environment variable with the profile, for processes that exchange images.

    By default Fast DDS drops most images on a busy machine: they do not fit its shared memory.
    Empty if ``FASTDDS_BUILTIN_TRANSPORTS`` names transports and no profile is set: a profile would
    override them.
    """
    name, profile = find_profile()
    if name not in os.environ and os.environ.get("FASTDDS_BUILTIN_TRANSPORTS"):
        return {}
    return {name: os.environ.get(name) or profile}


def find_profile() -> tuple[str, str]:
    """Return the environment variable that Fast DDS reads, and the path of our profile."""
    # Fast DDS 2, of Humble and Jazzy, has another name for the variable, and is another package.
    # Not both variables: Kilted reads both, and refuses to read a profile twice.
    old = any(Path(prefix, "share", "fastrtps").is_dir() for prefix in get_search_paths())
    share = Path(get_package_share_directory("mllmseg_ros"))
    profile = share / "config" / "fastdds_large_images.xml"
    return f"{'FASTRTPS' if old else 'FASTDDS'}_DEFAULT_PROFILES_FILE", str(profile)
