# SPDX-License-Identifier: Apache-2.0
"""Make and read data sets with the lerobot package, in an environment of its own.

    python with_lerobot.py make FOLDER NAME      the data sets of lerobot_sets/ (videos or images)
    python with_lerobot.py read FOLDER OUT.npz   every frame of a data set, as the package reads it

The package cannot be installed beside this project: it needs an older huggingface-hub and torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import PIL.Image

FRAMES = Path(__file__).resolve().parents[3] / "mllmseg_ros" / "assets" / "frames"
FPS = 10
TASKS = ("pick up the red mug", "put the banana in the green bowl")
# Numbers of the sample frames of each episode. The wrist camera shows them in another order.
EPISODES = ((0, 1, 2, 3), (4, 5, 0))
SIZES_PX = {"videos": {"front": (320, 240), "wrist": (160, 120)}, "images": {"top": (96, 72)}}


def image(number: int, size_px: tuple[int, int]) -> np.ndarray:
    """A sample frame, RGB (H, W, 3)."""
    with PIL.Image.open(FRAMES / f"frame_{number % 6}.png") as file:
        return np.asarray(file.convert("RGB").resize(size_px, PIL.Image.Resampling.BOX))


def make(folder: Path, name: str) -> None:
    """Record a data set of two episodes, as a robot does."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    sizes_px = SIZES_PX[name]
    features = {
        f"observation.images.{camera}": {
            "dtype": name.removesuffix("s"),
            "shape": (height, width, 3),
            "names": ["height", "width", "channels"],
        }
        for camera, (width, height) in sizes_px.items()
    }
    for key in ("observation.state", "action"):
        features[key] = {"dtype": "float32", "shape": (2,), "names": ["pan", "lift"]}
    dataset = LeRobotDataset.create(
        "tests/tabletop", FPS, features, folder, use_videos=name == "videos"
    )
    for task, numbers in zip(TASKS, EPISODES, strict=True):
        for step, number in enumerate(numbers):
            frame = {
                f"observation.images.{camera}": image(number + shift, size_px)
                for shift, (camera, size_px) in enumerate(sizes_px.items())
            }
            state = np.array([number, step], np.float32)
            dataset.add_frame({**frame, "observation.state": state, "action": state, "task": task})
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()


def read(folder: Path, out: str) -> None:
    """Read every frame, and what the package says of the data set."""
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    # PyAV comes with its own FFmpeg; torchcodec needs one that is installed.
    dataset = LeRobotDataset("tests/tabletop", folder, video_backend="pyav")
    loader = torch.utils.data.DataLoader(dataset, batch_size=2)
    columns: dict[str, list] = {}
    for batch in loader:
        for key, values in batch.items():
            columns.setdefault(key, []).extend(np.asarray(values))
    stats = {
        f"stats/{key}/{name}": value
        for key, fields in dataset.meta.stats.items()
        for name, value in fields.items()
    }
    np.savez(out, **{key: np.stack(values) for key, values in columns.items()}, **stats)


if __name__ == "__main__":
    {"make": make, "read": read}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
