# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd, by either kind of address, and without a receiver."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mllmseg_ros.ros.support.systemd import notify


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(10)
        yield channel


def test_a_state_arrives_at_a_path(channel: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's may be too long for an address
        path = f"{folder}/notify"
        channel.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1")
        notify("WATCHDOG=1")
        assert [channel.recv(100), channel.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_a_state_arrives_at_an_abstract_name(
    channel: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"mllmseg-test-{os.getpid()}"
    channel.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    notify("READY=1")
    assert channel.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "x" * 200, "vsock:2:1234"])
def test_nobody_listens(
    address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
    assert list(tmp_path.iterdir()) == []


def test_a_service_manager_that_does_not_read_holds_nobody_up(
    channel: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"mllmseg-test-{os.getpid()}"
    channel.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    for _ in range(10_000):  # the queue holds a few hundred at most
        notify("WATCHDOG=1")
    channel.setblocking(False)
    received = 0
    with contextlib.suppress(BlockingIOError):
        while channel.recv(100):
            received += 1
    assert 0 < received < 10_000
