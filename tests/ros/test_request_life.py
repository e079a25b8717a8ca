# SPDX-License-Identifier: Apache-2.0
"""Every request of a service or action ends, whatever its client, the clock and the camera do."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import goal_sender
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from action_msgs.msg import GoalStatus, GoalStatusArray
from mllmseg_ros.action import SegmentTarget
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.srv import Explain, Segment
from rclpy.action import ActionClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import START_S, Client, NodeProcess, new_domain
from rosgraph_msgs.msg import Clock

from mllmseg_ros.ros.messages.image_msgs import image_from_array, time_message
from mllmseg_ros.sim.samples import load_sample

pytestmark = pytest.mark.threat("N3")

SAMPLE = load_sample(0)
TARGET = "the red mug"
N_GOALS = 16
LEASE_S = 60.0  # generous: the middleware notices a dead participant after 20 s
MANY = QoSProfile(depth=1000)


class Caller:
    """Calls the service and the action of a node."""

    def __init__(self, node: NodeProcess) -> None:
        self.node, self.client = node, Client(node.domain)
        create = self.client.node.create_client
        self._segment = create(Segment, "segment", qos_profile=MANY)
        self._explain = create(Explain, "explain", qos_profile=MANY)
        self.goals: dict[bytes, int] = {}  # status by id
        self.client.node.create_subscription(
            GoalStatusArray,
            "segment_target/_action/status",
            self._on_statuses,
            QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        assert self._segment.wait_for_service(START_S)
        assert self._explain.wait_for_service(START_S)
        self.client.wait(self.client.connected, START_S)

    def _on_statuses(self, message: GoalStatusArray) -> None:
        for each in message.status_list:
            self.goals[bytes(each.goal_info.goal_id.uuid)] = each.status

    @property
    def n_active_goals(self) -> int:
        ongoing = (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING)
        return sum(status in ongoing for status in self.goals.values())

    def send_image(self) -> None:
        self.client.send_image(SAMPLE.rgb)

    def set_parameters(self, **values: object) -> None:
        results = self.client.set_parameters(**values)
        assert all(result.successful for result in results), results

    def segment(self, n: int = 1) -> list[Any]:
        return [self._segment.call_async(Segment.Request(expressions=[TARGET])) for _ in range(n)]

    def explain(self, n: int) -> list[Any]:
        return [self._explain.call_async(Explain.Request(expression=TARGET)) for _ in range(n)]

    def wait(
        self, futures: list[Any], timeout_s: float, each: Callable[[], object] | None = None
    ) -> list[Any]:
        self.client.wait(lambda: all(one.done() for one in futures), timeout_s, each)
        return [one.result() for one in futures]

    def check_good(self) -> None:
        """A call with an image gets a right answer."""
        image = image_from_array(SAMPLE.rgb, "rgb8", self.client.header())
        request = Segment.Request(expressions=[TARGET], image=image)
        (reply,) = self.wait([self._segment.call_async(request)], 20.0)
        assert reply.answer.status == SegmentationArray.STATUS_OK, reply.answer.text


class Goals:
    """Sends goals."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._action = ActionClient(
            caller.client.node,
            SegmentTarget,
            "segment_target",
            goal_service_qos_profile=MANY,
            result_service_qos_profile=MANY,
            cancel_service_qos_profile=MANY,
        )
        assert self._action.wait_for_server(START_S)

    def send(self, **fields: Any) -> Any:
        """Returns the handle of the accepted goal."""
        goal = SegmentTarget.Goal(expressions=[TARGET], **fields)
        (handle,) = self._caller.wait([self._action.send_goal_async(goal)], 20.0)
        assert handle.accepted
        return handle

    def close(self) -> None:
        self._action.destroy()


def start(*arguments: str) -> Caller:
    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu", *arguments)
    node.wait_for("listening on")
    return Caller(node)


@pytest.fixture(scope="module")
def running() -> Iterator[Caller]:
    caller = start()
    yield caller
    caller.client.close()
    assert caller.node.end() == 0, caller.node.log
    assert "Traceback" not in caller.node.log


@pytest.fixture
def caller(running: Caller) -> Caller:
    running.set_parameters(max_age=1.0, request_timeout=60.0)
    return running


@pytest.fixture
def goals(caller: Caller) -> Iterator[Goals]:
    goals = Goals(caller)
    yield goals
    goals.close()
    # What a killed client has left ends with its last possible owner.
    caller.client.wait(lambda: not caller.n_active_goals, LEASE_S, each=caller.send_image)


def kill_a_client_with_goals(caller: Caller) -> None:
    sender = NodeProcess(caller.node.domain, str(N_GOALS), script=goal_sender.__file__)
    sender.wait_for("goals are accepted")
    caller.client.wait(lambda: caller.n_active_goals == N_GOALS, each=caller.send_image)
    caller.client.spin(6.0, each=caller.send_image)  # the node gets to know its clients
    sender.end(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes half a minute: make slow")
def test_goals_of_a_killed_client_delay_no_call_and_end(caller: Caller) -> None:
    kill_a_client_with_goals(caller)
    killed_s = time.monotonic()
    (reply,) = caller.wait(caller.segment(), 20.0, each=caller.send_image)
    assert reply.answer.status == SegmentationArray.STATUS_OK, reply.answer.text
    print(f"segment: right answer after {time.monotonic() - killed_s:.2f} s")
    caller.client.wait(lambda: not caller.n_active_goals, LEASE_S, each=caller.send_image)
    print(f"all goals ended after {time.monotonic() - killed_s:.1f} s")


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes 25 s: make slow")
def test_goals_of_a_killed_client_leave_room_for_those_of_others(
    caller: Caller, goals: Goals
) -> None:
    """The node cannot tell whose goals they are, but that one of two clients is gone."""
    kill_a_client_with_goals(caller)
    killed_s = time.monotonic()
    caller.client.wait(lambda: caller.n_active_goals < N_GOALS, LEASE_S, each=caller.send_image)
    handle = goals.send(frames=2)
    (reply,) = caller.wait([handle.get_result_async()], 20.0, each=caller.send_image)
    assert reply.result.outcome == SegmentTarget.Result.OUTCOME_FOUND
    print(f"goal: right answer after {time.monotonic() - killed_s:.1f} s")


def test_without_a_camera_every_call_is_answered_within_its_time(caller: Caller) -> None:
    caller.set_parameters(max_age=0.0, request_timeout=2.0)
    caller.client.spin(1.5)
    replies = caller.wait(caller.segment(20), 20.0)
    statuses = [reply.answer.status for reply in replies]
    assert statuses.count(SegmentationArray.STATUS_STALE_INPUT) == 16
    assert statuses.count(SegmentationArray.STATUS_ERROR) == 4
    texts = {reply.answer.text for reply in replies}
    assert any("request_timeout is 2.0" in text for text in texts), texts
    assert any("16 requests are in progress" in text for text in texts), texts
    caller.check_good()
    (reply,) = caller.wait(caller.segment(), 20.0, each=caller.send_image)
    assert reply.answer.status == SegmentationArray.STATUS_OK


def test_a_goal_that_names_no_time_ends_within_the_node_s(caller: Caller, goals: Goals) -> None:
    caller.set_parameters(request_timeout=2.0)
    handle = goals.send(min_confidence=1.0, frames=65535)
    (reply,) = caller.wait([handle.get_result_async()], 20.0, each=caller.send_image)
    assert reply.status == GoalStatus.STATUS_ABORTED
    assert reply.result.outcome == SegmentTarget.Result.OUTCOME_TIMED_OUT


def test_a_goal_may_have_any_numbers(caller: Caller, goals: Goals) -> None:
    for timeout in (math.inf, math.nan, -math.inf, 3e38, -1.0):
        handle = goals.send(timeout=timeout, min_confidence=1.0, frames=0)
        result = handle.get_result_async()
        caller.client.spin(0.3, each=caller.send_image)
        caller.wait([handle.cancel_goal_async(), result], 20.0, each=caller.send_image)
        assert result.result().result.outcome != SegmentTarget.Result.OUTCOME_ERROR
    caller.check_good()


def test_goals_leave_room_for_calls(caller: Caller, goals: Goals) -> None:
    handles = [goals.send(min_confidence=1.0, timeout=600.0) for _ in range(N_GOALS)]
    caller.check_good()
    one_more = goals.send(min_confidence=1.0, timeout=600.0)
    (reply,) = caller.wait([one_more.get_result_async()], 20.0)
    assert reply.result.outcome == SegmentTarget.Result.OUTCOME_ERROR
    assert "16 goals are in progress" in reply.result.text
    results = [handle.get_result_async() for handle in handles]
    caller.wait([handle.cancel_goal_async() for handle in handles], 20.0)
    outcomes = {reply.result.outcome for reply in caller.wait(results, 20.0)}
    assert outcomes == {SegmentTarget.Result.OUTCOME_CANCELED}


def test_every_one_of_many_explain_calls_gets_a_reply(caller: Caller) -> None:
    for n in (12, 40, 100):
        replies = caller.wait(caller.explain(n), 60.0, each=caller.send_image)
        n_explained = sum(reply.success for reply in replies)
        busy = [reply.text for reply in replies if not reply.success]
        print(f"{n} calls: {n_explained} explained, {len(busy)} busy")
        assert n_explained >= 8
        assert all("explanations are in progress" in text for text in busy), set(busy)
    caller.check_good()


def test_with_a_paused_clock_requests_are_canceled_and_end(tmp_path: Path) -> None:
    caller = start("-p", "use_sim_time:=true", "-p", "request_timeout:=3.0")
    goals = Goals(caller)
    try:
        clock = caller.client.node.create_publisher(Clock, "/clock", 10)
        caller.client.wait(clock.get_subscription_count)
        for tenth in range(5):
            clock.publish(Clock(clock=time_message(1_000_000_000_000 + tenth * 100_000_000)))
            caller.client.spin(0.1)
        handle = goals.send(timeout=600.0)
        began_s = time.monotonic()
        canceling, result = handle.cancel_goal_async(), handle.get_result_async()
        caller.wait([canceling, result], 20.0)
        assert result.result().status == GoalStatus.STATUS_CANCELED
        print(f"canceled after {time.monotonic() - began_s:.2f} s")
        began_s = time.monotonic()
        (reply,) = caller.wait(caller.segment(), 20.0)
        assert reply.answer.status == SegmentationArray.STATUS_STALE_INPUT
        print(f"segment answered after {time.monotonic() - began_s:.2f} s")
        (reply,) = caller.wait([goals.send().get_result_async()], 20.0)
        assert reply.result.outcome == SegmentTarget.Result.OUTCOME_TIMED_OUT
        caller.check_good()
    finally:
        caller.client.close()
        assert caller.node.end() == 0, caller.node.log
    assert "Traceback" not in caller.node.log
