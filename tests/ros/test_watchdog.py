# SPDX-License-Identifier: Apache-2.0
"""Messages of the node to systemd; the watchdog fires when the inference thread hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import failing_model
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_harness import START_S, Client, NodeProcess, new_domain

from mllmseg_ros.sim.samples import load_sample

pytestmark = [pytest.mark.ros, pytest.mark.threat("N2")]

RGB = load_sample(0).rgb


class ServiceManager:
    """Receives what a unit's process sends to systemd."""

    def __init__(self) -> None:
        self.name = f"mllmseg-watchdog-{os.getpid()}"
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(f"\0{self.name}")
        self._channel.settimeout(0.1)
        self.states: list[str] = []

    def receive(self) -> None:
        """Take what has arrived, or arrives within 0.1 s."""
        try:
            while True:
                self.states.append(self._channel.recv(100).decode())
                self._channel.settimeout(0.0)
        except (TimeoutError, BlockingIOError):
            self._channel.settimeout(0.1)

    def wait_for(
        self, state: str, times: int = 1, each: Callable[[], object] = lambda: None
    ) -> None:
        deadline = time.monotonic() + START_S
        self.states.clear()
        while self.states.count(state) < times:
            assert time.monotonic() < deadline, f"no {state}, but {self.states}"
            each()
            self.receive()

    def close(self) -> None:
        self._channel.close()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    manager = ServiceManager()
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{manager.name}")
    yield manager
    manager.close()


def test_in_every_state_of_the_node(manager: ServiceManager) -> None:
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", "-p", "autostart:=false")
    client = Client(domain)
    change = client.node.create_client(ChangeState, "/mllmseg/change_state")

    def become(transition: int) -> None:
        future = change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        client.wait(future.done, START_S)
        assert future.result().success

    try:
        manager.wait_for("READY=1")  # it waits for somebody to configure it
        manager.wait_for("WATCHDOG=1", times=2)
        assert change.wait_for_service(START_S)
        become(Transition.TRANSITION_CONFIGURE)
        manager.wait_for("WATCHDOG=1", times=2)
        manager.receive()
        manager.states.clear()
        become(Transition.TRANSITION_ACTIVATE)
        manager.receive()
        assert "READY=1" in manager.states
        manager.wait_for("WATCHDOG=1", times=3)  # idle, without camera and command
        client.wait(client.connected)
        client.command("the red mug")
        client.wait(lambda: client.to("the red mug"), each=lambda: client.send_image(RGB))
        manager.wait_for("WATCHDOG=1", times=3)
        become(Transition.TRANSITION_DEACTIVATE)
        manager.wait_for("WATCHDOG=1", times=2)
    finally:
        client.close()
        assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_a_node_that_could_not_load_its_model_is_not_ready(
    manager: ServiceManager, tmp_path: Path
) -> None:
    node = NodeProcess(new_domain(), "--ros-args", "-p", f"model:={tmp_path / 'nowhere'}")
    try:
        node.wait_for("cannot configure")
        manager.wait_for("WATCHDOG=1", times=2)
        assert "READY=1" not in manager.states
    finally:
        assert node.end() == 0, node.log


def test_a_hanging_inference_starves_the_watchdog_whose_signal_logs_the_stacks(
    manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")  # as in config/mllmseg.service
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", script=failing_model.__file__)
    client = Client(domain)
    try:
        manager.wait_for("READY=1")
        client.wait(client.connected)
        n_diagnostics: list[object] = []
        client.node.create_subscription(DiagnosticArray, "/diagnostics", n_diagnostics.append, 10)

        def hangs() -> bool:
            """Whether five seconds of diagnostics have passed since the last keep-alive message."""
            manager.receive()
            if manager.states:
                manager.states.clear()
                n_diagnostics.clear()
            return len(n_diagnostics) >= 5

        client.command(failing_model.HANGS)
        client.wait(hangs, START_S, each=lambda: client.send_image(RGB))
    finally:
        client.close()
        status = node.end(signal.SIGABRT)
    assert status == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in node.log
    assert "failing_model.py" in node.log
