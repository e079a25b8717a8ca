# SPDX-License-Identifier: Apache-2.0
"""Input images of ``mllmseg segment``: files, folders, globs and videos."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmseg_ros.recording.folder import FIRST_NS, FolderSource
from mllmseg_ros.recording.recorded_image import VIDEO_SUFFIXES
from mllmseg_ros.recording.source import is_bag, is_lerobot
from mllmseg_ros.recording.video import VideoSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["InputImage", "InputImages", "split_words"]

_GLOB = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """One image that is not decoded yet."""

    label: str  # for people: the file, of a video with the number of the frame
    stem: str  # of the names of files that are written for it
    fields: dict[str, Any]  # for JSON
    read: Callable[[], NDArray[Any]]  # RGB uint8 (H, W, 3); ValueError if it is malformed


def split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Split a command line into inputs, which come first, and expressions.

    The first word is an input. Those that follow are inputs as long as they are existing folders or
    files, or globs of them.

    Raises:
        ValueError: The first word is no input, or a glob matches no file.
    """
    inputs: list[Path] = []
    for number, word in enumerate(words):
        found = _find_paths(word)
        if not found:
            if number == 0:
                raise ValueError(f"{word}: no such file or folder")
            return inputs, list(words[number:])
        inputs += found
    return inputs, []


def _find_paths(word: str) -> list[Path]:
    if os.path.exists(word):  # Path.exists() raises for long expressions
        return [Path(word)]
    if not _GLOB & set(word) or " " in word:
        return []
    found = sorted(glob.glob(word))
    if not found:
        raise ValueError(f"{word}: no file matches")
    return [Path(each) for each in found]


class InputImages:
    """All images of the inputs, in order.

    Attributes:
        is_single: there is one input, and it is an image file.
    """

    def __init__(self, inputs: Sequence[Path], every: int = 1) -> None:
        """List the images; nothing is decoded.

        Args:
            inputs: image files, folders of images, videos.
            every: use every n-th image of them all.

        Raises:
            ValueError: An input is of another kind, or a folder has no images.
        """
        self._every = every
        self._sources: list[Path | VideoSource] = []
        for path in inputs:
            self._sources += _open(path)
        self.is_single = len(inputs) == 1 and self._sources == list(inputs)

    def __len__(self) -> int:
        """Number of images; of a video, what its header says."""
        n = sum(1 if isinstance(each, Path) else each.n_frames for each in self._sources)
        return -(-n // self._every)

    def __iter__(self) -> Iterator[InputImage]:
        """Yield the images. A frame of a video can be read until the next one is taken."""
        return islice(self._all(), 0, None, self._every)

    def _all(self) -> Iterator[InputImage]:
        for source in self._sources:
            if isinstance(source, Path):
                yield _of_file(source)
            else:
                yield from _of_video(source)


def _open(path: Path) -> list[Path | VideoSource]:
    if is_bag(path):
        raise ValueError(f"{path}: a bag; use `mllmseg annotate {path} …`")
    if is_lerobot(path):
        raise ValueError(f"{path}: a LeRobot data set; use `mllmseg annotate {path} …`")
    if path.is_dir():
        return list(FolderSource(path).files)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return [VideoSource(path)]
    return [path]


def _of_file(path: Path) -> InputImage:
    from mllmseg_ros.cli.files import read_image

    return InputImage(
        label=str(path), stem=path.stem, fields={"image": str(path)}, read=lambda: read_image(path)
    )


def _of_video(source: VideoSource) -> Iterator[InputImage]:
    for number, image in enumerate(source.images(1)):
        yield InputImage(
            label=f"{source.path} frame {number}",
            stem=f"{source.path.stem}_{number:06d}",
            fields={
                "image": str(source.path),
                "frame": number,
                "time_s": (image.stamp_ns - FIRST_NS) / 1e9,
            },
            read=lambda image=image: image.decode().rgb,  # type: ignore[misc]
        )
