# SPDX-License-Identifier: Apache-2.0
"""Read a LeRobot data set as a recording: every frame of every episode, of the cameras chosen.

Each episode begins at time 0 in the data set; here they follow each other without a gap, from one
second on. There is no depth: the format has no calibration of cameras, without which depth gives no
positions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow

from mllmseg_ros.codecs.image_file import MAX_IMAGE_BYTES
from mllmseg_ros.codecs.images import rgb_from_compressed
from mllmseg_ros.error_text import escape_invisible
from mllmseg_ros.files import show
from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.folder import FIRST_NS
from mllmseg_ros.recording.lerobot_metadata import (
    Episode,
    Metadata,
    check_columns,
    check_inside,
    open_parquet,
    read_metadata,
)
from mllmseg_ros.recording.lerobot_video import FrameReader
from mllmseg_ros.recording.recorded_image import RecordedImage, no_depth

__all__ = ["LeRobotSource", "Row", "short_name"]

_PNG = b"\x89PNG\r\n\x1a\n"
_ROWS = 1024  # read at a time


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table: a frame of an episode."""

    number: int  # in the data set, of the rows whose episode is known
    episode: Episode
    time_s: float  # in the episode
    images: Mapping[str, bytes]  # file contents by camera, of those that are stored in the table
    error: str = ""  # why the row cannot be read


class LeRobotSource:
    """A LeRobot data set in format v3.0, v2.1 or v2.0.

    Attributes:
        path: folder of the data set.
        metadata: what ``meta/`` says.
        cameras: keys of the features that are read.
        names: the cameras' names in results and topics, in the same order.
        episodes: those whose table is there.
        tasks: the texts of their tasks, each once.
    """

    def __init__(self, path: Path, cameras: Sequence[str] = ()) -> None:
        """Open the data set and choose its cameras.

        Args:
            path: its folder.
            cameras: keys of image features; may be empty if the data set has one.

        Raises:
            ValueError: it cannot be read, has no such camera, or several and none is given.
        """
        self.path = path
        self.metadata: Metadata = read_metadata(path)
        self.cameras = _choose(path, self.metadata, cameras)
        self.names = _topic_names(self.cameras)
        there = [each for each in self.metadata.episodes if each.table.exists()]
        if not there:
            raise ValueError(f"{show(self.metadata.episodes[0].table)}: no such file")
        self.missing = [each for each in self.metadata.episodes if not each.table.exists()]
        self.episodes = there
        self.tasks = list(dict.fromkeys(text for each in there for text in each.tasks))
        if self.missing:
            first = show(self.missing[0].table.relative_to(path))
            print(
                f"{show(path)}: {len(self.missing)} of {len(self.metadata.episodes)} episodes are "
                f"not there and are left out ({first} is missing)",
                file=sys.stderr,
            )

    def images(self, every: int) -> Iterator[RecordedImage]:
        """Yield every n-th frame of all episodes, of each camera."""
        readers = {camera: FrameReader(self.path, self.metadata.rate_hz) for camera in self.cameras}
        try:
            for row in self.rows():
                if row.number % every:
                    continue
                stamp_ns = FIRST_NS + round(row.number * 1e9 / self.metadata.rate_hz)
                for camera, name in zip(self.cameras, self.names, strict=True):
                    data = row.images.get(camera)
                    yield RecordedImage(
                        camera=name,
                        stamp_ns=stamp_ns,
                        frame_id=short_name(camera),
                        recorded_ns=stamp_ns,
                        decode=partial(_decode, row, camera, readers[camera], stamp_ns),
                        find_depth=no_depth,
                        encoded=(data, ".png") if data is not None and _is_plain(data) else None,
                    )
        finally:
            for reader in readers.values():
                reader.close()

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all tables whose episode is known, in order.

        If a table is damaged, its rows are those that the episodes should have, with the reason.
        """
        by_table: dict[Path, dict[int, Episode]] = {}
        for episode in self.episodes:
            by_table.setdefault(episode.table, {})[episode.index] = episode
        number = 0
        for table, episodes in by_table.items():
            n_read = 0
            try:
                for row in self._rows_of(table, episodes, number):
                    yield row
                    n_read += 1
            except ValueError as error:
                lost = [each for each in episodes.values() for _ in range(each.n_frames)][n_read:]
                for at, episode in enumerate(lost, start=number + n_read):
                    yield Row(number=at, episode=episode, time_s=0, images={}, error=str(error))
                n_read += len(lost)
            number += n_read

    def _rows_of(self, table: Path, episodes: Mapping[int, Episode], number: int) -> Iterator[Row]:
        check_inside(self.path, table)
        keys = [camera for camera in self.cameras if camera in self.metadata.in_tables]
        columns = ["episode_index", "timestamp", *keys]
        with open_parquet(table) as parquet:
            check_columns(parquet, columns)
            # One image at a time: of a value that is stored once and repeated, a batch would hold
            # as many copies as it has rows.
            batches = parquet.iter_batches(batch_size=1 if keys else _ROWS, columns=columns)
            for batch in batches:
                indices, times_s = read_places(batch)
                for at, (index, time_s) in enumerate(zip(indices, times_s, strict=True)):
                    if int(index) not in episodes:
                        continue
                    images, error = _images(batch, at, keys)
                    yield Row(
                        number=number,
                        episode=episodes[int(index)],
                        time_s=float(time_s),
                        images=images,
                        error=error,
                    )
                    number += 1

    def expect_images(self, every: int) -> int:
        """How many images there will be, as the metadata say."""
        n_frames = sum(episode.n_frames for episode in self.episodes)
        return -(-n_frames // every) * len(self.cameras)

    def identity(self) -> dict[str, object]:
        """Get name and numbers of episodes and frames, and the cameras in use."""
        return {
            "name": self.path.resolve().name,
            "episodes": len(self.episodes),
            "frames": sum(episode.n_frames for episode in self.episodes),
            "cameras": list(self.cameras),
        }


def read_places(batch: pyarrow.RecordBatch | pyarrow.Table) -> tuple[Any, Any]:
    """Read the columns ``episode_index`` and ``timestamp`` (s) of some rows.

    Raises:
        ValueError: they are not numbers, or some are missing.
    """
    columns = []
    for name, dtype in (("episode_index", pyarrow.int64()), ("timestamp", pyarrow.float64())):
        column = batch.column(name)
        if column.null_count:
            raise ValueError(f"column {name!r} lacks {column.null_count} values")
        columns.append(np.asarray(column.cast(dtype)))
    return columns[0], columns[1]


def short_name(camera: str) -> str:
    """Shorten the key of a camera: ``observation.images.front`` is ``front``."""
    for prefix in ("observation.images.", "observation."):
        camera = camera.removeprefix(prefix)
    return camera


def _choose(path: Path, metadata: Metadata, cameras: Sequence[str]) -> tuple[str, ...]:
    if not metadata.sizes_hw:
        raise ValueError(f"{show(path)}: no feature with colour images in meta/info.json")
    available = ", ".join(metadata.sizes_hw)
    for camera in cameras:
        if camera not in metadata.sizes_hw:
            raise ValueError(
                f"{show(path)}: no camera {escape_invisible(camera)!r}; available: {available}"
            )
    if not cameras and len(metadata.sizes_hw) > 1:
        raise ValueError(f"{show(path)}: several cameras; choose with --cameras from: {available}")
    return tuple(dict.fromkeys(cameras)) or tuple(metadata.sizes_hw)


def _topic_names(cameras: Sequence[str]) -> list[str]:
    """Make names of ROS topics: ``/observation/images/front``, each once."""
    names: list[str] = []
    for camera in cameras:
        parts = [re.sub(r"[^A-Za-z0-9_]", "_", part) for part in camera.split(".") if part]
        name = "".join(f"/_{part}" if part[0].isdigit() else f"/{part}" for part in parts)
        while name in names:
            name += "_"
        names.append(name)
    return names


def _images(
    batch: pyarrow.RecordBatch, at: int, keys: Sequence[str]
) -> tuple[dict[str, bytes], str]:
    """Get the images of a row, and why there is one missing."""
    images: dict[str, bytes] = {}
    for key in keys:
        value = batch.column(key)[at].as_py()
        data = value.get("bytes") if isinstance(value, dict) else None
        if not isinstance(data, bytes) or len(data) > MAX_IMAGE_BYTES:
            reason = "is not stored in the table" if not isinstance(data, bytes) else "is too large"
            return images, f"the image of {key!r} {reason}"
        images[key] = data
    return images, ""


def _decode(row: Row, camera: str, reader: FrameReader, stamp_ns: int) -> Frame:
    if row.error:
        raise ValueError(row.error)
    clip = row.episode.clips.get(camera)
    if clip is None:
        message = SimpleNamespace(data=row.images[camera], format="")
        rgb = rgb_from_compressed(message)
    else:
        if not 0 <= row.time_s < 1e9:
            raise ValueError(f"episode {row.episode.index}: a timestamp is {row.time_s}")
        rgb = reader.read(clip.file, clip.start_s + row.time_s)
    return Frame(rgb=np.ascontiguousarray(rgb), stamp_ns=stamp_ns, frame_id=short_name(camera))


def _is_plain(data: bytes) -> bool:
    """Whether the file contents are a PNG that is displayed as it is stored."""
    return data.startswith(_PNG) and b"eXIf" not in data
