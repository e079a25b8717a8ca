# SPDX-License-Identifier: Apache-2.0
"""Full-size models run on request only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test folders are no packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("stages")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "parity_full" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="minutes and gigabytes: make parity, or -m parity_full")
    for item in items:
        if item.get_closest_marker("parity_full"):
            item.add_marker(skip)
