# SPDX-License-Identifier: Apache-2.0
"""A small model with random weights, as a checkpoint folder and ready to ask."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.train.tabletop.embedded import new_checkpoint

# Test folders are not packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))

TEXTS = ["the red mug left of the bowl:", "all the blue cans:", "a small green ball:"] * 20


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random") / "model"
    new_checkpoint(folder, TEXTS, seed=3)
    return folder


@pytest.fixture(scope="session")
def random_segmenter(random_checkpoint: Path) -> Segmenter:
    return Segmenter.from_pretrained(
        random_checkpoint, device="cpu", dtype="float32", whole_head=True
    )


@pytest.fixture(scope="session")
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8)
