# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes on disk: render them once, read them many times.

A split is a folder of shards of 1000 scenes: ``rgb.npy`` (1000, S, S, 3) and ``instances.npy``
(1000, S, S), both uint8, and ``scenes.jsonl``. The scene of seed k is row k % 1000 of shard k //
1000. A row is complete once its line is in ``scenes.jsonl``, so an interrupted run resumes where
it stopped, and a reader may open a split that is still being written.

Images are rendered 4:3 and resized to the network's square like those of a camera.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mllmseg_ros.files import FolderLock, check_no_link, make_folder, open_journal, replaced_file
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.view import View, VisibleObject

__all__ = ["SceneCache", "render_dataset"]

SHARD_SCENES = 1000
_RENDER_WIDTH, _RENDER_HEIGHT = 480, 360  # twice the square: bicubic shrinking smooths the edges
_NEW_SHARD_BYTES_MAX = 4 << 30


def render_dataset(
    folder: Path,
    split: str,
    first_seed: int,
    n_scenes: int,
    size: int = 224,
    *,
    n_processes: int = 1,
) -> None:
    """Render the scenes of consecutive seeds, as far as they are missing.

    Args:
        folder: of the split's shards.
        split: one of random_scenes.SPLITS.
        first_seed: a multiple of SHARD_SCENES.
        n_scenes: number of scenes.
        size: side of the square images, px.
        n_processes: shards rendered at a time.

    Raises:
        ValueError: if first_seed is not the first of a shard, a shard has another size, or
            another process renders into the folder.
    """
    if first_seed % SHARD_SCENES or first_seed < 0:
        raise ValueError(f"first seed is {first_seed}, expected a multiple of {SHARD_SCENES}")
    if n_scenes < 1:
        raise ValueError(f"number of scenes is {n_scenes}, expected 1 or more")
    if size < 1 or SHARD_SCENES * size * size * 3 > _NEW_SHARD_BYTES_MAX:
        raise ValueError(f"size is {size} px, expected 1 to 1000")
    end = first_seed + n_scenes
    jobs = [
        (
            folder / f"{start // SHARD_SCENES:05d}",
            split,
            start,
            min(SHARD_SCENES, end - start),
            size,
        )
        for start in range(first_seed, end, SHARD_SCENES)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (
        FolderLock(folder),
        tqdm(desc=f"rendering {split}", total=n_scenes, unit="scene", mininterval=5) as bar,
    ):
        if n_processes == 1:
            for job in jobs:
                _render_shard(*job)
                bar.update(job[3])
            return
        # Each process has one core; by default Mesa starts a thread per core in each.
        os.environ.setdefault("LP_NUM_THREADS", "1")
        # Spawned, not forked: GL contexts do not survive a fork.
        with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
            for future, job in [(pool.submit(_render_shard, *job), job) for job in jobs]:
                future.result()
                bar.update(job[3])


def _render_shard(shard: Path, split: str, first_seed: int, n_scenes: int, size: int) -> None:
    make_folder(shard)
    rgb = _open_array(shard / "rgb.npy", (SHARD_SCENES, size, size, 3))
    instances = _open_array(shard / "instances.npy", (SHARD_SCENES, size, size))
    lines_path = shard / "scenes.jsonl"
    done = _read_complete_lines(lines_path)
    if len(done) >= n_scenes:
        return
    with (
        TabletopCamera(_RENDER_WIDTH, _RENDER_HEIGHT) as camera,
        open_journal(lines_path) as lines,  # without an incomplete last line
    ):
        for row in range(len(done), n_scenes):
            camera.load(random_scene(first_seed + row, split))
            view = camera.render()
            rgb[row], instances[row] = resize_view(view, size)
            objects = [thing.to_dict() for thing in view.objects]
            record = {"split": split, "seed": first_seed + row, "objects": objects}
            lines.write(json.dumps(record).encode() + b"\n")
            lines.flush()


def resize_view(view: View, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Resize a view to the network's square like its preprocessing, without keeping the aspect.

    Returns:
        RGB (size, size, 3) by PIL's bicubic filter, instances (size, size) by nearest pixel centre.
    """
    square = Image.fromarray(view.rgb).resize((size, size), Image.Resampling.BICUBIC)
    ids = cv2.resize(view.instances, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(square), ids.astype(np.uint8, copy=False)


def _open_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Open an array of a shard for writing; a new one takes disk space only as it fills."""
    check_no_link(path)
    if not path.is_file():
        with replaced_file(path) as partial:
            np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    array = np.lib.format.open_memmap(path, mode="r+")
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"{path} is {array.dtype} {array.shape}, expected uint8 {shape}")
    return array


def _read_complete_lines(path: Path) -> list[bytes]:
    if not path.is_file():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


class SceneCache:
    """The scenes of one split that were complete when it was opened."""

    def __init__(self, folder: Path | str, n_scenes: int | None = None) -> None:
        """Open the folder of a split.

        Args:
            folder: of its shards.
            n_scenes: number of scenes to use, the first ones; None for all.

        Raises:
            ValueError: if the folder has no rendered scene.
        """
        self._rgb: list[NDArray[np.uint8]] = []
        self._instances: list[NDArray[np.uint8]] = []
        self._lines: list[bytes] = []
        self._places: list[tuple[int, int]] = []  # shard and row of each scene
        for path in sorted(Path(folder).glob("*/scenes.jsonl")):
            lines = _read_complete_lines(path)
            if not lines:
                continue
            self._places += [(len(self._rgb), row) for row in range(len(lines))]
            self._lines += lines
            self._rgb.append(np.load(path.with_name("rgb.npy"), mmap_mode="r"))
            self._instances.append(np.load(path.with_name("instances.npy"), mmap_mode="r"))
        self._places = self._places[:n_scenes]
        if not self._places:
            raise ValueError(f"{folder} holds no rendered scenes; `mllmseg sim render` makes them")

    def __len__(self) -> int:
        return len(self._places)

    def rgb(self, index: int) -> NDArray[np.uint8]:
        """Return the image (S, S, 3), RGB."""
        shard, row = self._places[index]
        return self._rgb[shard][row]

    def instances(self, index: int) -> NDArray[np.uint8]:
        """Return the instance ids (S, S), 0 = background."""
        shard, row = self._places[index]
        return self._instances[shard][row]

    def objects(self, index: int) -> tuple[VisibleObject, ...]:
        """Return the scene's objects as visible in the image."""
        fields = json.loads(self._lines[index])["objects"]
        return tuple(VisibleObject.from_dict(thing) for thing in fields)
