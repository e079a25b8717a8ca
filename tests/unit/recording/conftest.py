# SPDX-License-Identifier: Apache-2.0
"""One bag, one model and one unbroken run for all tests of recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test folders are not packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))

from mllmseg_ros.segmenter import Segmenter


@pytest.fixture(scope="session")
def embedded() -> Segmenter:
    return Segmenter.from_pretrained(device="cpu", dtype="float32")
