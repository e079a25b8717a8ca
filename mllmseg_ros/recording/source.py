# SPDX-License-Identifier: Apache-2.0
"""Where recorded images come from: a bag, a video, a folder of pictures.

Every source gives its images in order, undecoded, so that what was looked at already costs next to
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mllmseg_ros.recording.folder import FolderSource
from mllmseg_ros.recording.recorded_image import (
    BAG_SUFFIXES,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Source,
)
from mllmseg_ros.recording.video import VideoSource

__all__ = ["is_bag", "open_source"]

_STORAGE_FILES = ("metadata.yaml", *(f"*{suffix}" for suffix in BAG_SUFFIXES))


def open_source(path: Path, topics: Sequence[str] = ()) -> Source:
    """Open a recording of any kind.

    Args:
        path: a rosbag2 folder, a .mcap or .db3 file, a video, or a folder of pictures.
        topics: of a bag: the image topics to look at; none for the only one that there is.

    Raises:
        ValueError: naming what is wrong with it, and what is accepted.
    """
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix == ".bag":
        raise ValueError(
            f"{path}: a bag of ROS 1; `rosbags-convert --src {path.name} --dst {path.stem}` makes "
            "one of ROS 2"
        )
    if is_bag(path):
        from mllmseg_ros.recording.bag import BagSource

        return BagSource(path, topics)
    if topics:
        raise ValueError(f"{path}: --topics is for bags, and this is none")
    if path.is_dir():
        return FolderSource(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path)
    raise ValueError(
        f"{path}: not a recording; accepted: a rosbag2 folder, {', '.join(BAG_SUFFIXES)}, a video "
        f"({', '.join(VIDEO_SUFFIXES)}), a folder of pictures ({', '.join(PICTURE_SUFFIXES)})"
    )


def is_bag(path: Path) -> bool:
    """Whether it is a rosbag2, also one that its recorder has not finished."""
    if path.is_dir():
        return any(next(path.glob(name), None) for name in _STORAGE_FILES)
    return path.suffix in BAG_SUFFIXES
