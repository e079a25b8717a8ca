# SPDX-License-Identifier: Apache-2.0
"""CUDA correctness without a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test folders are not packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("fake_cuda")

from fake_cuda import install_guard  # noqa: E402 - found by the path above


@pytest.fixture(scope="session", autouse=True)
def guard(tmp_path_factory: pytest.TempPathFactory) -> None:
    install_guard(tmp_path_factory.mktemp("guard"))
