# SPDX-License-Identifier: Apache-2.0
"""Refuses a run of the whole suite in which tests are missing: it would pass without them."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import Any

import pytest

# Before torch is imported, as in the executables: two processes of tests share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Of the whole suite, skipped ones included. Which packages are there changes it by a few.
LEAST_TESTS = 4600


def pytest_collection_finish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # not one of several processes
        require_all(session.config, session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    require_all(node.config, ids)


def require_all(config: pytest.Config, collected: Sized) -> None:
    """End the run if tests are missing, unless the command line has chosen some of them."""
    chosen = config.option.keyword or config.option.markexpr or config.option.deselect
    if config.args != config.getini("testpaths") or chosen or len(collected) >= LEAST_TESTS:
        return
    pytest.exit(
        f"{len(collected)} tests were collected, and there are at least {LEAST_TESTS} "
        "(tests/conftest.py)",
        returncode=pytest.ExitCode.USAGE_ERROR,
    )
