# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the tiny models, written once. Full-size models run on request only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

# Test folders are not packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("stages")

from named_weights import write_checkpoint  # noqa: E402 - found by the path above


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a recorded model, by its name. Not to be changed."""

    @cache
    def write(model: str) -> Path:
        return write_checkpoint(model, tmp_path_factory.mktemp("parity") / model)

    return write


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "parity_full" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="minutes and gigabytes: make parity, or -m parity_full")
    for item in items:
        if item.get_closest_marker("parity_full"):
            item.add_marker(skip)
