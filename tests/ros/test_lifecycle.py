# SPDX-License-Identifier: Apache-2.0
"""The lifecycle, parameters, time and the end of the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.srv import Segment
from ros_harness import RESULT_S, START_S, Client, NodeProcess, new_domain, stamps
from rosgraph_msgs.msg import Clock

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds, time_message

RGB = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)


class Managed:
    """A node that starts unconfigured, and its lifecycle services."""

    def __init__(self) -> None:
        domain = new_domain()
        self.node = NodeProcess(domain, "--ros-args", "-p", "autostart:=false", "-p", "device:=cpu")
        self.client = Client(domain)
        self._change = self.client.node.create_client(ChangeState, "/mllmseg/change_state")
        self._state = self.client.node.create_client(GetState, "/mllmseg/get_state")
        self.segment = self.client.node.create_client(Segment, "segment")
        assert self._change.wait_for_service(START_S)
        assert self._state.wait_for_service(START_S)

    def call_segment(self, expression: str) -> SegmentationArray:
        future = self.segment.call_async(Segment.Request(expressions=[expression]))
        self.client.wait(future.done)
        return future.result().answer

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        self.client.wait(future.done, START_S)
        return future.result().success

    def state(self) -> int:
        future = self._state.call_async(GetState.Request())
        self.client.wait(future.done)
        return future.result().current_state.id

    def wait_for_result(self, command: str) -> SegmentationArray:
        n_before = len(self.client.to(command))
        self.client.wait(self.client.connected)
        self.client.command(command)
        self.client.wait(
            lambda: len(self.client.to(command)) > n_before,
            each=lambda: self.client.send_image(RGB),
        )
        return self.client.to(command)[-1]


@pytest.fixture
def managed() -> Iterator[Managed]:
    managed = Managed()
    yield managed
    managed.client.close()
    assert managed.node.end() == 0, managed.node.log
    assert "Traceback" not in managed.node.log


def test_round_trip(managed: Managed, tmp_path: Path) -> None:
    client = managed.client
    assert managed.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert managed.call_segment("the mug").text == "the node is not active"

    # A failed transition says what to do, in one error line, and the node can try again.
    (result,) = client.set_parameters(model=str(tmp_path / "nothing_here"))
    assert result.successful
    assert not managed.change(Transition.TRANSITION_CONFIGURE)
    assert managed.state() == State.PRIMARY_STATE_UNCONFIGURED
    errors = [line for line in managed.node.lines if "[ERROR]" in line]
    assert len(errors) == 1, managed.node.log
    assert "nothing_here" in errors[0]
    client.set_parameters(model="")

    for _ in range(2):
        assert managed.change(Transition.TRANSITION_CONFIGURE)
        assert managed.state() == State.PRIMARY_STATE_INACTIVE
        assert managed.change(Transition.TRANSITION_ACTIVATE)
        assert managed.wait_for_result("the mug").segmentations
        assert managed.change(Transition.TRANSITION_DEACTIVATE)
        n_results = len(client.results)
        client.spin(0.5, each=lambda: client.send_image(RGB))
        assert len(client.results) == n_results
        assert managed.change(Transition.TRANSITION_CLEANUP)
        assert managed.state() == State.PRIMARY_STATE_UNCONFIGURED

    # A waiting call gets STOPPED.
    assert managed.change(Transition.TRANSITION_CONFIGURE)
    assert managed.change(Transition.TRANSITION_ACTIVATE)
    (result,) = client.set_parameters(max_age=100.0)
    client.wait(client.connected)
    client.command("the bowl")
    waiting = managed.segment.call_async(Segment.Request(expressions=["the can"]))
    client.spin(0.5)
    assert managed.change(Transition.TRANSITION_DEACTIVATE)
    client.wait(lambda: client.to("the bowl") and waiting.done())
    assert client.to("the bowl")[0].status == SegmentationArray.STATUS_STOPPED
    assert waiting.result().answer.status == SegmentationArray.STATUS_STOPPED
    assert "stopped after 0 images, 0 inferences" in managed.node.log  # since the last activation

    # Parameters that take effect at configure cannot be changed while a model is loaded.
    (result,) = client.set_parameters(image_transport="raw")
    assert not result.successful
    assert "clean up the node first" in result.reason
    assert managed.change(Transition.TRANSITION_INACTIVE_SHUTDOWN)
    assert managed.state() == State.PRIMARY_STATE_FINALIZED


def test_parameters_are_checked_live(managed: Managed) -> None:
    def reason(**values: object) -> str:
        (result,) = managed.client.set_parameters(**values)
        assert not result.successful
        return result.reason

    assert "accepted: single, joint" in reason(prompt_mode="both")
    assert "threshold" in reason(threshold=1.5)
    assert "max_rate" in reason(max_rate=-1.0)
    assert "type" in reason(threshold="high")
    assert "autostart" in reason(autostart=True)
    (result,) = managed.client.set_parameters(threshold=0.7)
    assert result.successful


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_active_node_cleanly(number: signal.Signals) -> None:
    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu")
    node.wait_for("listening on")
    assert node.end(number) == 0
    assert "Traceback" not in node.log
    assert "stopped after 0 images" in node.log


def test_a_waiting_call_does_not_delay_the_end_of_the_process(managed: Managed) -> None:
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        assert managed.change(transition)
    managed.client.set_parameters(max_age=100.0)
    managed.segment.call_async(Segment.Request(expressions=["the can"]))
    managed.client.spin(0.5)
    assert managed.node.end() == 0


def test_a_wrong_parameter_gives_one_line_and_an_exit_status() -> None:
    node = NodeProcess(new_domain(), "--ros-args", "-p", "prompt:=both")
    assert node.process.wait(START_S) == 1
    node.end()
    assert "cannot start: parameter prompt_mode is 'both', accepted: single, joint" in node.log
    assert "Traceback" not in node.log


def test_simulated_time_and_its_jump_back() -> None:
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "use_sim_time:=true", "-p", "device:=cpu")
    client = Client(domain)
    clock = client.node.create_publisher(Clock, "/clock", 10)
    second = 1_000_000_000
    now_ns = 1000 * second

    def tick() -> None:
        nonlocal now_ns
        now_ns += second // 10
        clock.publish(Clock(clock=time_message(now_ns)))
        header = client.header()
        header.stamp = time_message(now_ns)
        client.image.publish(image_from_array(RGB, "rgb8", header))

    try:
        node.wait_for("listening on")
        client.wait(client.connected, START_S, each=tick)
        client.spin(0.5, each=tick)
        client.command("the mug")
        client.wait(lambda: len(client.to("the mug")) > 2, each=tick)
        result = client.to("the mug")[-1]
        assert 1000 * second < nanoseconds(result.header.stamp) <= now_ns
        assert 1000 * second < nanoseconds(result.request_stamp) <= now_ns

        # A recording starts again: the command stays in force, and the new images get results.
        now_ns = 10 * second
        client.spin(0.5, each=tick)
        client.results.clear()
        client.wait(lambda: len(client.results) > 2, RESULT_S, each=tick)
        assert all(10 * second < stamp_ns < 100 * second for stamp_ns in stamps(client.results))
        assert {result.command for result in client.results} == {"the mug"}
        assert "ROS time jumped" in node.log
        assert isinstance(result.request_stamp, Time)
    finally:
        client.close()
        assert node.end() == 0
