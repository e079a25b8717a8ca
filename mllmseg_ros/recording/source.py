# SPDX-License-Identifier: Apache-2.0
"""Open recordings: bags, LeRobot data sets, videos and folders of images.

Sources yield their images in order and undecoded, so that skipping images is cheap.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from mllmseg_ros.files.reading import show
from mllmseg_ros.recording.folder import FolderSource
from mllmseg_ros.recording.recorded_image import (
    BAG_SUFFIXES,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    ImageSource,
)
from mllmseg_ros.recording.storage_files import METADATA, describe_ros1, is_storage_name
from mllmseg_ros.recording.video import VideoSource

__all__ = ["is_bag", "is_lerobot", "open_source"]


def open_source(path: Path, topics: Sequence[str] = (), cameras: Sequence[str] = ()) -> ImageSource:
    """Open a recording of any kind.

    Args:
        path: a rosbag2 folder, a .mcap or .db3 file, the folder of a LeRobot data set, a video, or
            a folder of images.
        topics: image topics, for a bag with several cameras.
        cameras: keys of features, for a LeRobot data set with several cameras.

    Raises:
        ValueError: The recording cannot be used; says why and what is accepted.
    """
    try:
        return _open_source(path, topics, cameras)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ValueError(f"{show(path)}: cannot be read: {error.strerror or error}") from error


def _open_source(path: Path, topics: Sequence[str], cameras: Sequence[str]) -> ImageSource:
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    if path.is_file() and path.suffix == ".bag":
        raise ValueError(describe_ros1(path))
    if cameras and not is_lerobot(path):
        raise ValueError(f"{path}: --cameras is only for LeRobot data sets")
    if is_bag(path):
        from mllmseg_ros.recording.bag import BagSource

        return BagSource(path, topics)
    if topics:
        raise ValueError(f"{path}: --topics is only for bags")
    if is_lerobot(path):
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(
                f"{path}: a LeRobot data set; reading it needs pyarrow: pip install '.[lerobot]'"
            )
        from mllmseg_ros.recording.lerobot import LeRobotSource

        return LeRobotSource(path, cameras)
    if path.is_dir():
        return FolderSource(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path)
    raise ValueError(
        f"{path}: not a recording; accepted: a rosbag2 folder, {', '.join(BAG_SUFFIXES)}, a "
        f"LeRobot data set, a video ({', '.join(VIDEO_SUFFIXES)}), a folder of images "
        f"({', '.join(IMAGE_SUFFIXES)})"
    )


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag2, complete or not."""
    if path.is_dir():
        return (path / METADATA).exists() or any(
            is_storage_name(each.name) for each in path.iterdir()
        )
    return is_storage_name(path.name) or path.suffix in BAG_SUFFIXES


def is_lerobot(path: Path) -> bool:
    """Whether a path is the folder of a LeRobot data set."""
    return (path / "meta" / "info.json").is_file()
