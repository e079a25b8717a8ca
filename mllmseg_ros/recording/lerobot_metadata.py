# SPDX-License-Identifier: Apache-2.0
"""Read what a LeRobot data set says of itself: features, episodes and where their files lie.

Formats v3.0 (many episodes in one parquet or video file) and v2.0, v2.1 (files of their own for
each episode). Paths come from templates in ``meta/info.json`` and are those of untrusted text: they
are filled in without :meth:`str.format`, and must lie in the folder. Knows nothing of frames.

Source: the documentation and code of the lerobot package, 0.4.4 and 0.6.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX
from mllmseg_ros.data.parquet_pages import check_pages, read_footer
from mllmseg_ros.error_text import escape_invisible, one_line
from mllmseg_ros.files import open_file, read_json, read_json_lines, show

__all__ = [
    "Clip",
    "Episode",
    "Metadata",
    "check_columns",
    "check_inside",
    "fill_template",
    "open_parquet",
    "read_metadata",
]

INFO = Path("meta", "info.json")
MASK_FIELD = "mllmseg.expression"  # in the ``info`` of features that this package has written
MAX_EPISODES = 1_000_000
MAX_ROWS = 100_000_000  # of one table
MAX_RATE_HZ = 1e4
_MAX_KEY_CHARS = 200
_MAX_TASK_CHARS = 4096
MAX_COLUMN_BYTES = 4 << 30  # of one column in a row group, uncompressed
_CONVERTER = "python -m lerobot.scripts.convert_dataset_v21_to_v30"  # 0.4: lerobot.datasets.v30.…
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(\.\d{1,3})?")
_FIELD = re.compile(r"\{(\w+)(?::0?(\d{1,2})d)?\}")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Where the frames of an episode lie in a video of one camera."""

    file: Path
    start_s: float  # time of the first frame


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One episode."""

    index: int
    n_frames: int
    tasks: tuple[str, ...]
    table: Path  # parquet file with a row per frame, possibly of several episodes
    clips: Mapping[str, Clip]  # by camera; without those whose images are in the table


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What ``meta/`` says."""

    folder: Path
    version: tuple[int, int]
    rate_hz: float
    info: dict[str, Any]  # meta/info.json
    sizes_hw: Mapping[str, tuple[int, int]]  # px, by camera; of colour images alone
    in_tables: tuple[str, ...]  # of these cameras, those whose images are in the tables
    episodes: tuple[Episode, ...]  # in the order of the data set

    def check_version_3(self, what: str) -> None:
        """Refuse what only the newest format can do.

        Raises:
            ValueError: naming the converter.
        """
        if self.version[0] < 3:
            raise ValueError(
                f"{show(self.folder)}: format v{self.version[0]}.{self.version[1]}; {what} needs "
                f"v3.0: convert a copy with `{_CONVERTER} --repo-id=USER/NAME --root=COPY` of the "
                "lerobot package"
            )


def read_metadata(folder: Path) -> Metadata:
    """Read ``meta/`` of a data set.

    Raises:
        ValueError: it is damaged, or of a format that is not accepted.
    """
    path = folder / INFO
    info = read_json(path)
    with _naming(path):
        if not isinstance(info, dict):
            raise ValueError("expected an object")
        version = _read_version(info.get("codebase_version"))
        rate_hz = _number(info, "fps", 0, MAX_RATE_HZ)
        if rate_hz <= 0:
            raise ValueError(f"'fps' is {rate_hz}; accepted: more than 0")
        sizes_hw, in_tables = _read_cameras(info.get("features"))
    videos = [camera for camera in sizes_hw if camera not in in_tables]
    read = _read_episodes_3 if version[0] == 3 else _read_episodes_2
    episodes = sorted(read(folder, info, videos), key=lambda each: each.index)
    if not episodes:
        raise ValueError(f"{show(folder)}: no episode in it")
    if len({each.index for each in episodes}) < len(episodes):
        raise ValueError(f"{show(folder)}: an episode is listed twice")
    return Metadata(
        folder=folder,
        version=version,
        rate_hz=rate_hz,
        info=info,
        sizes_hw=sizes_hw,
        in_tables=in_tables,
        episodes=tuple(episodes),
    )


@contextmanager
def open_parquet(path: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a parquet file; whatever is wrong with it in the block is a ValueError that names it.

    Raises:
        ValueError: it is missing, damaged, or has a page over the limits of ``parquet_pages`` or a
            column chunk over ``MAX_COLUMN_BYTES``.
    """
    with _naming(path), open_file(path) as file:
        footer = read_footer(file, max_rows=MAX_ROWS)
        parquet = pyarrow.parquet.ParquetFile(file)
        for group, pages in enumerate(footer.row_groups):
            check_pages(file, pages, parquet.schema_arrow.names)
            chunks = parquet.metadata.row_group(group)
            for column in range(chunks.num_columns):
                n_bytes = chunks.column(column).total_uncompressed_size
                if n_bytes > MAX_COLUMN_BYTES:
                    name = escape_invisible(chunks.column(column).path_in_schema)[:_MAX_KEY_CHARS]
                    raise ValueError(
                        f"column {name!r} has {n_bytes} bytes in a row group, accepted are up to "
                        f"{MAX_COLUMN_BYTES}"
                    )
        yield parquet


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Begin every error with the name of the file."""
    try:
        yield
    except (pyarrow.ArrowException, ValueError, OSError, LookupError, TypeError) as error:
        reason = one_line(error, with_type=isinstance(error, (LookupError, TypeError)))
        if str(show(path)) in reason:
            raise ValueError(reason) from error
        raise ValueError(f"{show(path)}: {reason}") from error


def _read_version(text: Any) -> tuple[int, int]:
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) not in (2, 3):
        raise ValueError(
            f"'codebase_version' is {str(text)[:40]!r}; accepted: v2.0, v2.1 and v3.0; older data "
            "sets are converted by the lerobot package, 0.3"
        )
    return int(found[1]), int(found[2])


def _read_cameras(features: Any) -> tuple[dict[str, tuple[int, int]], tuple[str, ...]]:
    """Find the features that are colour images: their sizes, and which are in the tables."""
    if not isinstance(features, dict):
        raise ValueError("'features' is no object")
    sizes_hw: dict[str, tuple[int, int]] = {}
    in_tables = []
    for key, feature in features.items():
        if not isinstance(feature, dict):
            raise ValueError(f"feature {key[:_MAX_KEY_CHARS]!r} is no object")
        details = {**_object(feature, "video_info"), **_object(feature, "info")}
        is_depth = details.get("is_depth_map") or details.get("video.is_depth_map")
        if feature.get("dtype") not in ("video", "image") or is_depth or MASK_FIELD in details:
            continue
        if not key.isprintable() or "/" in key or key in (".", "..") or len(key) > _MAX_KEY_CHARS:
            raise ValueError(f"{key[:_MAX_KEY_CHARS]!r} cannot be the name of a feature")
        sizes_hw[key] = _size_hw(key, feature)
        if feature["dtype"] == "image":
            in_tables.append(key)
    return sizes_hw, tuple(in_tables)


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _size_hw(key: str, feature: Mapping[str, Any]) -> tuple[int, int]:
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int for n in shape):
        raise ValueError(f"feature {key!r}: 'shape' is no list of height, width and channels")
    channels_first = isinstance(names, list) and names[:1] in (["channel"], ["channels"])
    height, width = shape[1:] if channels_first else shape[:2]
    if min(height, width) < 1 or height * width > MAX_COMPRESSED_PX:
        raise ValueError(
            f"feature {key!r}: images of {width} x {height} px, accepted are up to "
            f"{MAX_COMPRESSED_PX} px"
        )
    return height, width


def _read_episodes_3(
    folder: Path, info: Mapping[str, Any], cameras: Sequence[str]
) -> Iterator[Episode]:
    tables = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not tables:
        raise ValueError(f"{show(folder)}: no parquet file in meta/episodes")
    names = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for camera in cameras:
        names += [f"videos/{camera}/{name}" for name in _CLIP_FIELDS]
    n_episodes = 0
    for path in tables:
        with open_parquet(path) as parquet:
            check_columns(parquet, names)
            for batch in parquet.iter_batches(batch_size=1024, columns=names):
                n_episodes += batch.num_rows
                _check_count(n_episodes)
                for row in batch.to_pylist():
                    yield _episode_3(folder, info, cameras, row)


_CLIP_FIELDS = ("chunk_index", "file_index", "from_timestamp")


def _episode_3(
    folder: Path, info: Mapping[str, Any], cameras: Sequence[str], row: Mapping[str, Any]
) -> Episode:
    index, fill = _count(row, "episode_index"), partial(fill_template, folder, info)
    clips = {}
    for camera in cameras:
        fields = {name: row[f"videos/{camera}/{name}"] for name in _CLIP_FIELDS}
        place = {name: _count(fields, name) for name in _CLIP_FIELDS[:2]}
        clips[camera] = Clip(
            file=fill("video_path", {"video_key": camera, **place}),
            start_s=_number(fields, "from_timestamp", 0, 1e9),
        )
    place = {name: _count(row, f"data/{name}") for name in _CLIP_FIELDS[:2]}
    return Episode(
        index=index,
        n_frames=_count(row, "length"),
        tasks=_tasks(row),
        table=fill("data_path", place),
        clips=clips,
    )


def _read_episodes_2(
    folder: Path, info: Mapping[str, Any], cameras: Sequence[str]
) -> Iterator[Episode]:
    path = folder / "meta" / "episodes.jsonl"
    lines = read_json_lines(path)
    _check_count(len(lines))
    chunk_size = (
        max(1, int(_number(info, "chunks_size", 0, 1e9))) if "chunks_size" in info else 1000
    )
    fill: Callable[[str, Mapping[str, int | str]], Path] = partial(fill_template, folder, info)
    for line in lines:
        with _naming(path):
            row = line.parse()
            if not isinstance(row, dict):
                raise ValueError(f"line {line.number}: expected an object")
            index = _count(row, "episode_index")
            place = {"episode_chunk": index // chunk_size, "episode_index": index}
            yield Episode(
                index=index,
                n_frames=_count(row, "length"),
                tasks=_tasks(row),
                table=fill("data_path", place),
                clips={
                    camera: Clip(file=fill("video_path", {"video_key": camera, **place}), start_s=0)
                    for camera in cameras
                },
            )


def check_columns(parquet: pyarrow.parquet.ParquetFile, names: Sequence[str]) -> None:
    """Check that a table has columns.

    Raises:
        ValueError: naming those that it lacks.
    """
    missing = sorted(set(names) - set(parquet.schema_arrow.names))
    if missing:
        raise ValueError(f"no column {', '.join(map(repr, missing))[:_MAX_KEY_CHARS]} in it")


def _check_count(n_episodes: int) -> None:
    if n_episodes > MAX_EPISODES:
        raise ValueError(f"{n_episodes} episodes, accepted are up to {MAX_EPISODES}")


def _tasks(row: Mapping[str, Any]) -> tuple[str, ...]:
    texts = row.get("tasks")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("'tasks' is no list of texts")
    return tuple(text[:_MAX_TASK_CHARS] for text in texts if text.strip())


def _number(fields: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value: Any = fields.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{name!r} is {str(value)[:40]}; accepted: {low:g} to {high:g}")
    return float(value)


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError(f"{name!r} is {str(value)[:40]}; accepted: a number from 0")
    return value


def fill_template(
    folder: Path, info: Mapping[str, Any], name: str, fields: Mapping[str, int | str]
) -> Path:
    """Fill in a template of meta/info.json, such as "data/chunk-{chunk_index:03d}/…".

    Args:
        folder: that the path is in.
        info: contents of meta/info.json.
        name: of the template in it.
        fields: what it may use.

    Raises:
        ValueError: it uses other fields or formats, or leaves the folder.
    """
    template = info.get(name)
    if not isinstance(template, str) or len(template) > _MAX_KEY_CHARS:
        raise ValueError(f"meta/info.json: {name!r} is no template of a path")

    def value(found: re.Match[str]) -> str:
        if found[1] not in fields:
            raise ValueError(f"meta/info.json: {name!r} has {{{found[1]}}} in it")
        return str(fields[found[1]]).zfill(int(found[2] or 0))

    relative = Path(_FIELD.sub(value, template))
    if "{" in _FIELD.sub("", template) or not template.isprintable():
        raise ValueError(f"meta/info.json: {name!r} is {template!r}, which is no template")
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"meta/info.json: {name!r} is {template!r}, which leaves the folder")
    return folder / relative


def check_inside(folder: Path, path: Path) -> None:
    """Check that a file of a data set lies in its folder, wherever symbolic links lead.

    The cache of the Hugging Face hub is accepted: a folder ``snapshots/REVISION`` of links to
    ``blobs`` beside ``snapshots``.

    Raises:
        ValueError: it lies elsewhere.
    """
    root, target = folder.resolve(), path.resolve()
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(each) for each in roots):
        raise ValueError(f"{show(path)} is a link to a file outside the data set")
