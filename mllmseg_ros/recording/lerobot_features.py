# SPDX-License-Identifier: Apache-2.0
"""The features that a LeRobot data set gets for a camera and an expression: masks, boxes, points.

They are named ``mllmseg.CAMERA.EXPRESSION.…``: not ``observation.…``, which policies take for the
robot's state. ``mask`` is a video; the others are columns of the tables, with a value per frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from mllmseg_ros.masks import box_xyxy, inside_uv
from mllmseg_ros.recording.lerobot import short_name
from mllmseg_ros.recording.lerobot_metadata import MASK_FIELD
from mllmseg_ros.recording.lerobot_video import MASK_VIDEO_INFO, mask_pixel_format

__all__ = ["COLUMNS", "Label", "Statistics", "Track", "aggregate", "make_tracks"]

NONE = -1.0  # of a box or point without a mask, of a score that the model does not give
_MAX_SLUG_CHARS = 40
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the tables."""

    type: pyarrow.DataType
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None


COLUMNS = {
    # Half-open, px.
    "box": Column(
        type=pyarrow.list_(pyarrow.float32(), 4),
        dtype="float32",
        shape=(4,),
        names=("x0", "y0", "x1", "y1"),
    ),
    # The pixel of the mask that is farthest from its border.
    "point": Column(
        type=pyarrow.list_(pyarrow.float32(), 2), dtype="float32", shape=(2,), names=("u", "v")
    ),
    "found": Column(type=pyarrow.bool_(), dtype="bool", shape=(1,)),
    "score": Column(type=pyarrow.float32(), dtype="float32", shape=(1,)),
    # A value of data.review.Review, or "missing".
    "review": Column(type=pyarrow.string(), dtype="string", shape=(1,)),
}
# Where the values of a column are in the rows of Statistics.
_SLICES = {
    "box": slice(0, 4), "point": slice(4, 6), "found": slice(6, 7), "score": slice(7, 8),
    "mask": slice(8, 9),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Label:
    """The label of one expression in one frame."""

    mask: NDArray[np.bool_]  # (H, W)
    score: float  # of the model, that the target is there
    review: str

    def columns(self) -> dict[str, Any]:
        """Get the value of each column."""
        box = box_xyxy(self.mask)
        return {
            "box": [float(n) for n in box or (NONE,) * 4],
            "point": [float(n) for n in inside_uv(self.mask, box) or (NONE,) * 2],
            "found": box is not None,
            "score": self.score,
            "review": self.review,
        }


@dataclass(frozen=True, kw_only=True)
class Track:
    """One expression in the images of one camera."""

    camera: str
    expression: str
    prefix: str  # of the names of its features
    size_hw: tuple[int, int]  # of the images, px

    @property
    def mask_key(self) -> str:
        """Name of the feature with the masks."""
        return f"{self.prefix}.mask"

    def features(self, rate_hz: float) -> dict[str, Any]:
        """Get the features as ``meta/info.json`` declares them."""
        height, width = self.size_hw
        origin = {MASK_FIELD: self.expression, "mllmseg.camera": self.camera}
        video = {
            "video.height": height,
            "video.width": width,
            "video.pix_fmt": mask_pixel_format(self.size_hw),
            "video.is_depth_map": False,
            "video.fps": int(rate_hz) if rate_hz.is_integer() else rate_hz,
            "video.channels": 3,
            "has_audio": False,
            **MASK_VIDEO_INFO,
        }
        mask = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {**video, **origin},
        }
        columns = {
            f"{self.prefix}.{name}": {
                "dtype": column.dtype,
                "shape": list(column.shape),
                "names": column.names and list(column.names),
                "info": origin,
            }
            for name, column in COLUMNS.items()
        }
        return {self.mask_key: mask, **columns}


def make_tracks(
    sizes_hw: Mapping[str, tuple[int, int]], expressions: Sequence[str], used: Iterable[str]
) -> list[Track]:
    """Name the features of all expressions in all cameras.

    Args:
        sizes_hw: of the images, px, by camera.
        expressions: each once.
        used: names of features that are there already.
    """
    names, tracks = set(used), []
    for camera, size_hw in sizes_hw.items():
        for expression in expressions:
            words = re.sub(r"[^a-z0-9]+", "_", expression.lower()).strip("_")[:_MAX_SLUG_CHARS]
            prefix = base = f"mllmseg.{short_name(camera)}.{words or 'expression'}"
            n = 1
            while f"{prefix}.mask" in names:
                n += 1
                prefix = f"{base}_{n}"
            track = Track(camera=camera, expression=expression, prefix=prefix, size_hw=size_hw)
            names.add(track.mask_key)
            tracks.append(track)
    return tracks


class Statistics:
    """Statistics of a track's features in each episode, as the lerobot package makes them.

    Attributes:
        episodes: by episode, feature and name.
    """

    def __init__(self, track: Track) -> None:
        """Begin without frames."""
        self.episodes: dict[int, dict[str, dict[str, Any]]] = {}
        self._track, self._episode = track, -1
        self._rows: list[list[float]] = []

    def add(self, episode: int, label: Label, columns: Mapping[str, Any]) -> None:
        """Add a frame; those of an episode follow each other."""
        if episode != self._episode:
            self.finish()
            self._episode = episode
        self._rows.append(
            [
                *columns["box"],
                *columns["point"],
                float(columns["found"]),
                columns["score"],
                float(label.mask.mean()),
            ]
        )

    def finish(self) -> None:
        """Compute the statistics of the last episode."""
        if self._rows:
            values = np.array(self._rows, np.float64)
            self.episodes[self._episode] = {
                f"{self._track.prefix}.{name}": (
                    _mask_statistics(values[:, at])
                    if name == "mask"
                    else _statistics(values[:, at])
                )
                for name, at in _SLICES.items()
            }
        self._rows = []


def _statistics(values: NDArray[np.float64]) -> dict[str, Any]:
    """Compute the statistics of values (N, D)."""
    quantiles = np.quantile(values, list(_QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0).tolist(),
        "max": values.max(axis=0).tolist(),
        "mean": values.mean(axis=0).tolist(),
        "std": values.std(axis=0).tolist(),
        "count": [len(values)],
        **{name: each.tolist() for name, each in zip(_QUANTILES, quantiles, strict=True)},
    }


def _mask_statistics(shares: NDArray[np.float64]) -> dict[str, Any]:
    """Compute the statistics of pixels that are 0 or 1, from the share of ones in each mask."""
    mean = float(shares.mean())
    values = {
        "min": float(shares.min() == 1),
        "max": float(shares.max() > 0),
        "mean": mean,
        "std": (mean * (1 - mean)) ** 0.5,
        **{name: float(quantile > 1 - mean) for name, quantile in _QUANTILES.items()},
    }
    # Of three channels, (3, 1, 1).
    of_channels: dict[str, Any] = {name: [[[value]]] * 3 for name, value in values.items()}
    return {**of_channels, "count": [len(shares)]}


def aggregate(statistics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the statistics of episodes; quantiles are averaged, as in the lerobot package."""
    counts = np.array([each["count"][0] for each in statistics], np.float64)

    def values(name: str) -> NDArray[np.float64]:
        return np.array([each[name] for each in statistics], np.float64)

    means = values("mean")
    mean = np.average(means, axis=0, weights=counts)
    variance = np.average(values("std") ** 2 + (means - mean) ** 2, axis=0, weights=counts)
    return {
        "min": values("min").min(axis=0).tolist(),
        "max": values("max").max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(counts.sum())],
        **{name: np.average(values(name), axis=0, weights=counts).tolist() for name in _QUANTILES},
    }
