# SPDX-License-Identifier: Apache-2.0
"""Write labels as a LeRobot data set: a copy of the original with masks, boxes and points.

The labels are those of ``annotations.jsonl`` in the same folder, so that what a person has decided
in a review counts. The lerobot package reads the result, but is not needed for it. No more than a
row group of a table is in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from tqdm import tqdm

from mllmseg_ros.data.review import LabelledSet, Review, expressions_of
from mllmseg_ros.files import (
    make_folder,
    move,
    open_file,
    read_json,
    replaced_file,
    show,
    temporary_folder,
    write_file,
)
from mllmseg_ros.recording.label_run import IMAGES, image_name
from mllmseg_ros.recording.lerobot import LeRobotSource, read_places
from mllmseg_ros.recording.lerobot_features import (
    COLUMNS,
    NONE,
    Label,
    Statistics,
    Track,
    aggregate,
    make_tracks,
)
from mllmseg_ros.recording.lerobot_metadata import (
    INFO,
    Episode,
    check_inside,
    fill_template,
    open_parquet,
)
from mllmseg_ros.recording.lerobot_video import MaskVideo

__all__ = ["check_can_write", "write_lerobot"]

MISSING = "missing"  # review of a frame that cannot be read, or whose line was deleted
_STATS, _EPISODES = Path("meta", "stats.json"), Path("meta", "episodes")
_COPIED = ("meta/**/*", "videos/**/*", "README.md", "LICENSE")
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_MAX_STATS_BYTES = 256 << 20


def check_can_write(sources: Sequence[Any], out: Path, every: int) -> LeRobotSource:
    """Check that the labels of recordings can be written as a LeRobot data set.

    Returns:
        The one recording, which is such a data set.

    Raises:
        ValueError: says why not.
    """
    if len(sources) != 1 or not isinstance(sources[0], LeRobotSource):
        raise ValueError("--to lerobot accepts one input, a LeRobot data set")
    source = sources[0]
    if every != 1:
        raise ValueError(f"--every is {every}; --to lerobot labels every frame")
    source.metadata.check_version_3("--to lerobot")
    original, new = source.path.resolve(), out.resolve()
    if new.is_relative_to(original) or original.is_relative_to(new):
        raise ValueError(f"{show(out)}: the original is not changed; name another folder")
    if source.missing:
        raise ValueError(
            f"{show(source.missing[0].table)} is missing; --to lerobot needs the whole data set"
        )
    for episode in source.episodes:
        clips = [clip.file for clip in episode.clips.values()]
        for top, file in (("data", episode.table), *(("videos", clip) for clip in clips)):
            if not file.is_relative_to(source.path / top):
                raise ValueError(f"{show(file)}: --to lerobot expects this file in {top}/")
    return source


def write_lerobot(source: LeRobotSource, out: Path, expressions: Sequence[str]) -> None:
    """Write the labels of a data set into a copy of it, which is made beside them.

    While the copy is incomplete, also after a kill, it has no ``meta/info.json``.

    Args:
        source: the original, from :func:`check_can_write`.
        out: folder with ``annotations.jsonl``, locked by the caller.
        expressions: of the labels, each once.

    Raises:
        ValueError: a file of the original cannot be read.
        OSError: a file cannot be written.
    """
    features = source.metadata.info["features"]
    info = {**source.metadata.info}
    info["video_path"] = info.get("video_path") or _VIDEO_PATH
    sizes_hw = {camera: source.metadata.sizes_hw[camera] for camera in source.cameras}
    tracks = make_tracks(sizes_hw, expressions, features)
    info["features"] = {**features}
    for track in tracks:
        info["features"].update(track.features(source.metadata.rate_hz))
    with temporary_folder(out / "lerobot") as partial:
        with ExitStack() as stack:
            writers = [_TrackWriter(track, partial, source, info, stack) for track in tracks]
            _write_tables(source, partial, writers, _Labels(out, source))
        _write_episodes(source, partial, writers)
        _write_stats(source, partial, writers)
        _write(partial / INFO, json.dumps(info, indent=4, ensure_ascii=False))
        _put_in_place(source.path, partial, out)


class _Labels:
    """The labels of a data set's images."""

    def __init__(self, out: Path, source: LeRobotSource) -> None:
        self._set, self._cameras = LabelledSet(out), source.cameras
        self._numbers: dict[tuple[str, str], int] = {}  # of entries, by image without its suffix
        for number in range(len(self._set)):
            entry = self._set[number]
            for expression in expressions_of(entry):
                self._numbers[os.path.splitext(entry["image"])[0], expression] = number

    def find(self, row: int, track: Track) -> Label:
        """Find the label of a track in a row of the data set."""
        image = row * len(self._cameras) + self._cameras.index(track.camera)
        stem = f"{IMAGES}/{image_name(0, image, '')}"
        number = self._numbers.get((stem, track.expression))
        if number is None:
            return no_label(track)
        review, score = self._set.review(number), self._set[number].get("score")
        try:
            mask = self._mask(number, track)
        except ValueError as error:
            tqdm.write(f"{stem}, {track.expression!r}: {error}", file=sys.stderr)
            return no_label(track)
        if review is Review.REJECTED:
            mask = np.zeros_like(mask)
        score = float(score) if isinstance(score, (int, float)) else NONE
        return Label(mask=mask, score=score, review=review.value)

    def _mask(self, number: int, track: Track) -> NDArray[np.bool_]:
        mask = self._set.mask(number)
        if mask.shape != track.size_hw:
            raise ValueError(
                f"a mask of {mask.shape[1]} x {mask.shape[0]} px, but meta/info.json says that "
                f"images are {track.size_hw[1]} x {track.size_hw[0]} px"
            )
        return mask


def no_label(track: Track) -> Label:
    """Make what a frame without a label gets."""
    return Label(mask=np.zeros(track.size_hw, np.bool_), score=NONE, review=MISSING)


class _TrackWriter:
    """Writes the masks of one track, and remembers where those of each episode are.

    A new video begins where a new one begins in the original.

    Attributes:
        track: the track.
        statistics: of its features.
        places: chunk, file and times in its videos, by episode.
    """

    def __init__(
        self,
        track: Track,
        folder: Path,
        source: LeRobotSource,
        info: dict[str, Any],
        stack: ExitStack,
    ) -> None:
        self.track, self.statistics = track, Statistics(track)
        self.places: dict[int, dict[str, Any]] = {}
        self._folder, self._source, self._info = folder, source, info
        self._video: MaskVideo | None = None
        self._original: Path | None = None  # that the video belongs to
        self._n_videos = 0
        stack.callback(self._close)

    def write(self, episode: Episode, label: Label) -> dict[str, Any]:
        """Write the mask of the next frame of an episode; returns the values of its columns."""
        if episode.index not in self.places:
            video = self._begin(episode)
            start_s = float(video.n_frames / video.rate)
            self.places[episode.index] = {**self._place(), "from_timestamp": start_s}
        elif next(reversed(self.places)) != episode.index:
            raise ValueError(f"the rows of episode {episode.index} do not follow each other")
        assert self._video is not None
        self._video.write(label.mask)
        end_s = float(self._video.n_frames / self._video.rate)
        self.places[episode.index]["to_timestamp"] = end_s
        columns = label.columns()
        self.statistics.add(episode.index, label, columns)
        return columns

    def _begin(self, episode: Episode) -> MaskVideo:
        clip = episode.clips.get(self.track.camera)
        original = episode.table if clip is None else clip.file
        if self._video is None or original != self._original:
            self._close()
            self._original, self._n_videos = original, self._n_videos + 1
            fields: dict[str, int | str] = {"video_key": self.track.mask_key, **self._place()}
            path = fill_template(self._folder, self._info, "video_path", fields)
            make_folder(path.parent)
            self._video = MaskVideo(path, self.track.size_hw, self._source.metadata.rate_hz)
        return self._video

    def _place(self) -> dict[str, int]:
        size = self._info.get("chunks_size")
        per_chunk = size if type(size) is int and size > 0 else 1000
        chunk, file = divmod(self._n_videos - 1, per_chunk)
        return {"chunk_index": chunk, "file_index": file}

    def _close(self) -> None:
        if self._video is not None:
            self._video.close()
        self._video = None


def _write_tables(
    source: LeRobotSource, folder: Path, writers: Sequence[_TrackWriter], labels: _Labels
) -> None:
    """Write all tables with the columns of all tracks, and the masks of their frames."""
    episodes = {episode.index: episode for episode in source.episodes}
    total = sum(episode.n_frames for episode in source.episodes)
    n_rows = 0  # whose episode is known, as LeRobotSource.rows counts them
    with tqdm(total=total, desc="writing masks", unit="frame", mininterval=1) as bar:
        for path in dict.fromkeys(episode.table for episode in source.episodes):
            check_inside(source.path, path)
            target = folder / path.relative_to(source.path)
            make_folder(target.parent)
            with open_parquet(path) as parquet, target.open("xb") as file:
                schema = parquet.schema_arrow
                for writer in writers:
                    for name, column in COLUMNS.items():
                        key = f"{writer.track.prefix}.{name}"
                        schema = schema.append(pyarrow.field(key, column.type))
                with pyarrow.parquet.ParquetWriter(file, schema, compression="snappy") as out:
                    for number in range(parquet.num_row_groups):
                        group = parquet.read_row_group(number)
                        added = [[] for _ in writers]  # type: list[list[dict[str, Any]]]
                        for index in read_places(group)[0]:
                            episode = episodes.get(int(index))
                            for rows, writer in zip(added, writers, strict=True):
                                rows.append(_write_frame(writer, episode, labels, n_rows))
                            n_rows += episode is not None
                            bar.update()
                        columns = [*group.columns, *_arrays(added)]
                        table = pyarrow.Table.from_arrays(columns, schema=schema)
                        out.write_table(table, row_group_size=max(1, len(table)))
    for writer in writers:
        writer.statistics.finish()


def _write_frame(
    writer: _TrackWriter, episode: Episode | None, labels: _Labels, row: int
) -> dict[str, Any]:
    if episode is None:  # of a recording that was killed: in the table, but in no episode
        return no_label(writer.track).columns()
    return writer.write(episode, labels.find(row, writer.track))


def _arrays(added: Sequence[Sequence[dict[str, Any]]]) -> Iterator[pyarrow.Array]:
    for rows in added:
        for name, column in COLUMNS.items():
            yield pyarrow.array([row[name] for row in rows], column.type)


def _write_episodes(source: LeRobotSource, folder: Path, writers: Sequence[_TrackWriter]) -> None:
    """Write meta/episodes with the places and statistics of the new features."""
    for episode in source.episodes:
        if any(episode.index not in writer.places for writer in writers):
            raise ValueError(f"{show(episode.table)}: no row of episode {episode.index} in it")
    numbers = pyarrow.list_(pyarrow.float64())
    pixels = pyarrow.list_(pyarrow.list_(numbers))
    for path in sorted((source.path / _EPISODES).glob("*/*.parquet")):
        check_inside(source.path, path)
        target = folder / path.relative_to(source.path)
        make_folder(target.parent)
        with open_parquet(path) as parquet:
            table = parquet.read()
        indices = table.column("episode_index").to_pylist()
        for writer in writers:
            key = writer.track.mask_key
            for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp"):
                values = [writer.places[index][name] for index in indices]
                table = table.append_column(f"videos/{key}/{name}", pyarrow.array(values))
            for feature in next(iter(writer.statistics.episodes.values())):
                of_episodes = [writer.statistics.episodes[index][feature] for index in indices]
                for name in of_episodes[0] if of_episodes else ():
                    kind = pixels if feature == key else numbers
                    kind = pyarrow.list_(pyarrow.int64()) if name == "count" else kind
                    array = pyarrow.array([each[name] for each in of_episodes], kind)
                    table = table.append_column(f"stats/{feature}/{name}", array)
        with target.open("xb") as file:
            pyarrow.parquet.write_table(table, file, compression="snappy")


def _write_stats(source: LeRobotSource, folder: Path, writers: Sequence[_TrackWriter]) -> None:
    """Write meta/stats.json with the statistics of the new features, if there is such a file."""
    path = source.path / _STATS
    if not path.exists():
        return
    check_inside(source.path, path)
    stats = read_json(path, max_bytes=_MAX_STATS_BYTES)
    if not isinstance(stats, dict):
        raise ValueError(f"{show(path)}: expected an object")
    for writer in writers:
        of_episodes = list(writer.statistics.episodes.values())
        for feature in of_episodes[0]:
            stats[feature] = aggregate([each[feature] for each in of_episodes])
    _write(folder / _STATS, json.dumps(stats, indent=4))


def _put_in_place(original: Path, partial: Path, out: Path) -> None:
    """Copy what is as in the original, then move the new files to their places."""
    new = {path.relative_to(partial) for path in partial.rglob("*") if path.is_file()}
    make_folder(out / "meta")
    (out / INFO).unlink(missing_ok=True)
    for pattern in _COPIED:
        for path in sorted(original.glob(pattern)):
            relative = path.relative_to(original)
            hidden = any(part.startswith(".") for part in relative.parts)
            if relative not in new and path.is_file() and not hidden:
                check_inside(original, path)
                _make_folders(out, relative)
                _copy(path, out / relative)
    for relative in sorted(new, key=lambda each: (each == INFO, each)):
        _make_folders(out, relative)
        move(partial / relative, out / relative)


def _make_folders(out: Path, relative: Path) -> None:
    for folder in reversed(relative.parents[:-1]):
        make_folder(out / folder)


def _copy(path: Path, target: Path) -> None:
    """Copy a file, unless it was copied before."""
    status = path.stat()
    if target.is_file() and not target.is_symlink():
        before = target.stat()
        if (before.st_size, before.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
            return
    with replaced_file(target) as partial, open_file(path) as file, partial.open("r+b") as copy:
        shutil.copyfileobj(file, copy)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _write(path: Path, text: str) -> None:
    make_folder(path.parent)
    write_file(path, text + "\n")
