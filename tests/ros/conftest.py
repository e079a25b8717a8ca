# SPDX-License-Identifier: Apache-2.0
"""One node per test file and a client per test. The classes are in ``ros_harness``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Test folders are not packages and not on the path.
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from ros_harness import Client, NodeProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """An active node with the embedded model, in its own domain."""
    from ros_harness import NodeProcess, new_domain

    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu")
    node.wait_for("listening on")
    yield node
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


@pytest.fixture(scope="module")
def connection(node: NodeProcess) -> Iterator[Client]:
    from ros_harness import Client

    client = Client(node.domain)
    yield client
    client.close()


@pytest.fixture
def client(connection: Client) -> Client:
    """A client without received messages, and a node without a command in force."""
    connection.reset()
    return connection
