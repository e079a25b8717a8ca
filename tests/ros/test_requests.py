# SPDX-License-Identifier: Apache-2.0
"""Topic, service and action at the same time, and two cameras with one model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from action_msgs.msg import GoalStatus
from mllmseg_ros.action import SegmentTarget
from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.srv import Explain, Segment, SetExpressions
from rclpy.action import ActionClient
from ros_harness import START_S, Client, NodeProcess, new_domain, stamps
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.sim.samples import load_sample

SAMPLE = load_sample(0)
SMALL = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
BY_THE_MODEL = {"decide_by": "auto", "threshold": -1.0, "mode": "continuous", "max_age": 1.0}
NEVER_FOUND = {"decide_by": "score", "threshold": 1.0}


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A node with two cameras: one without a name and one on the wrist."""
    node = NodeProcess(
        new_domain(), "--ros-args", "-p", "device:=cpu", "-p", "cameras:=['', 'wrist']"
    )
    node.wait_for("listening on")
    yield node
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


class Caller:
    """Calls services and actions, and publishes images of the wrist camera."""

    def __init__(self, client: Client) -> None:
        self.client, node = client, client.node
        self.segment = node.create_client(Segment, "segment")
        self.explain = node.create_client(Explain, "explain")
        self.set_expressions = node.create_client(SetExpressions, "set_expressions")
        self.action = ActionClient(node, SegmentTarget, "segment_target")
        self.wrist = node.create_publisher(Image, "wrist/image", 5)
        self.wrist_command = node.create_publisher(String, "wrist/command", 10)
        self.wrist_results: list[SegmentationArray] = []
        node.create_subscription(
            SegmentationArray, "wrist/segmentations", self.wrist_results.append, 100
        )
        assert self.segment.wait_for_service(START_S)
        assert self.set_expressions.wait_for_service(START_S)
        assert self.action.wait_for_server(START_S)

    def call(self, client: Any, request: Any, images: bool = True) -> Any:
        future = client.call_async(request)
        self.client.wait(future.done, each=self.send if images else None)
        return future.result()

    def send(self) -> None:
        self.client.send_image(SAMPLE.rgb)

    def send_wrist(self) -> None:
        self.wrist.publish(image_from_array(SMALL, "rgb8", self.client.header()))

    def goal(self, **fields: Any) -> tuple[Any, list[SegmentTarget.Feedback]]:
        feedback: list[SegmentTarget.Feedback] = []
        future = self.action.send_goal_async(
            SegmentTarget.Goal(**fields), lambda message: feedback.append(message.feedback)
        )
        self.client.wait(future.done)
        assert future.result().accepted
        return future.result(), feedback

    def outcome(self, handle: Any, images: bool = True) -> tuple[int, SegmentTarget.Result]:
        future = handle.get_result_async()
        self.client.wait(future.done, each=self.send if images else None)
        return future.result().status, future.result().result


@pytest.fixture(scope="module")
def kept_caller(connection: Client) -> Caller:
    return Caller(connection)


@pytest.fixture
def caller(kept_caller: Caller, client: Client) -> Caller:
    assert all(result.successful for result in client.set_parameters(**BY_THE_MODEL))
    client.spin(0.3)
    kept_caller.wrist_results.clear()
    return kept_caller


def test_a_service_call_uses_an_image_taken_after_it(caller: Caller) -> None:
    caller.send()
    caller.client.spin(0.3)
    called_ns = caller.client.node.get_clock().now().nanoseconds
    result = caller.call(caller.segment, Segment.Request(expressions=["the red mug"])).answer
    assert result.status == SegmentationArray.STATUS_OK, result.text
    assert (result.command, result.camera) == ("the red mug", "/image")
    assert nanoseconds(result.header.stamp) >= called_ns
    assert result.segmentations[0].area_px > 0
    assert result.request_id
    assert not caller.client.results  # nothing is published


def test_a_service_call_can_contain_an_image(caller: Caller) -> None:
    image = image_from_array(SAMPLE.rgb, "rgb8", caller.client.header())
    request = Segment.Request(expressions=["pick: the green bowl", "the red mug"], image=image)
    result = caller.call(caller.segment, request, images=False).answer
    assert result.header == image.header
    assert result.status == SegmentationArray.STATUS_OK, result.text
    assert {(each.expression, each.role) for each in result.segmentations} == {
        ("the green bowl", "pick"),
        ("the red mug", ""),
    }
    image.encoding = "nv24"
    result = caller.call(caller.segment, request, images=False).answer
    assert result.status == SegmentationArray.STATUS_ERROR
    assert "image encoding nv24; accepted: rgb8" in result.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expressions": []}, "no expression is given"),
        ({"expressions": ["", " "]}, "names nothing"),
        ({"expressions": ["the mug; the bowl", "the cube"]}, "give each expression separately"),
        ({"expressions": ["x" * 257]}, "257 characters, accepted are up to 256"),
        ({"expressions": ["the mug"], "camera": "left"}, "camera is 'left', accepted: '', 'wrist'"),
    ],
    ids=["nothing", "empty", "two in one", "long", "unknown camera"],
)
def test_refused_calls_say_why(caller: Caller, fields: dict, reason: str) -> None:
    result = caller.call(caller.segment, Segment.Request(**fields)).answer
    assert result.status == SegmentationArray.STATUS_ERROR
    assert reason in result.text


@pytest.mark.parametrize(
    "text", ["stop！", "\ufeffstop", "stop 🛑", "*stop*", "[stop]", "stop;", "„Stopp“"]
)
@pytest.mark.parametrize("way", ["topic", "set_expressions", "segment", "segment_target"])
@pytest.mark.threat("N4")
def test_a_stop_is_one_whichever_way_it_comes_and_however_it_is_written(
    caller: Caller, way: str, text: str
) -> None:
    client = caller.client
    if text == "„Stopp“":
        client.set_parameters(language="de")
    client.command("the can")
    client.wait(lambda: client.to("the can"), each=caller.send)
    client.results.clear()
    if way == "topic":
        client.command(text)
    elif way == "segment_target":
        handle, _ = caller.goal(expressions=[text])
        _, ended = caller.outcome(handle)
        assert ended.outcome == SegmentTarget.Result.OUTCOME_CANCELED
        assert ended.answer.status == SegmentationArray.STATUS_STOPPED
    else:
        request = (Segment if way == "segment" else SetExpressions).Request(expressions=[text])
        reply = caller.call(getattr(caller, way), request)
        if way == "segment":
            assert reply.answer.status == SegmentationArray.STATUS_STOPPED
        else:
            assert reply.success, reply.message
    stopped = SegmentationArray.STATUS_STOPPED
    client.wait(lambda: any(each.status == stopped for each in client.results), each=caller.send)
    at = [each.status for each in client.results].index(stopped)
    client.spin(0.3, each=caller.send)
    (only,) = client.results[at:]  # once, and nothing follows it
    assert only.status == stopped
    assert only.command == text  # as it came
    client.set_parameters(language="en")


def test_without_an_image_a_call_ends_as_stale(caller: Caller) -> None:
    caller.client.let_images_grow_old()
    request = Segment.Request(expressions=["the mug"])
    result = caller.call(caller.segment, request, images=False).answer
    assert result.status == SegmentationArray.STATUS_STALE_INPUT
    assert "max_age is 1.0" in result.text


def test_calls_overlap_with_each_other_and_with_the_command(caller: Caller) -> None:
    client = caller.client
    client.command("the can")
    client.wait(lambda: client.to("the can"), each=caller.send)
    names = [f"the mug number {index}" for index in range(5)]
    futures = [caller.segment.call_async(Segment.Request(expressions=[name])) for name in names]
    client.wait(lambda: all(future.done() for future in futures), each=caller.send)
    results = [future.result().answer for future in futures]
    assert [result.command for result in results] == names
    assert len({result.request_id for result in results}) == len(names)
    n_before = len(client.to("the can"))
    client.wait(lambda: len(client.to("the can")) > n_before + 2, each=caller.send)
    assert {result.command for result in client.results} == {"the can"}
    assert len({result.request_id for result in client.results}) == 1


def test_an_explanation_shows_the_newest_image(caller: Caller) -> None:
    client = caller.client
    client.command("the red mug")
    client.wait(lambda: client.to("the red mug"), each=caller.send)
    client.spin(0.3)
    n_results, shown = len(client.results), client.sent[-1]
    other = caller.explain.call_async(Explain.Request(expression="the red mug"))
    future = caller.explain.call_async(Explain.Request(expression="do you see a banana?"))
    client.wait(lambda: future.done() and other.done())
    reply = future.result()
    assert other.result().text.endswith("reaches the threshold 0.50")
    assert reply.success, reply.text
    assert reply.text.startswith("0 of 1 found")
    assert "is below the threshold 0.50" in reply.text
    assert nanoseconds(reply.panel.header.stamp) == shown
    panel = cv2.imdecode(np.frombuffer(reply.panel.data, np.uint8), cv2.IMREAD_COLOR)
    assert reply.panel.format.startswith("rgb8; png")
    assert panel.shape[1] > 1000
    # The command in force is not affected.
    client.wait(lambda: len(client.results) > n_results, each=caller.send)
    assert {result.command for result in client.results} == {"the red mug"}


def test_explanations_that_cannot_be_given_say_why(caller: Caller) -> None:
    for fields, reason in (
        ({"expression": "put the mug in the bowl"}, "ask about one at a time"),
        ({"expression": "the mug; the bowl"}, "ask about one at a time"),
        ({"expression": "  "}, "no expression is given"),
        ({"expression": "the mug", "camera": "nose"}, "camera is 'nose', accepted: '', 'wrist'"),
    ):
        reply = caller.call(caller.explain, Explain.Request(**fields))
        assert not reply.success
        assert reason in reply.text
        assert not reply.panel.data
    caller.client.let_images_grow_old()
    reply = caller.call(caller.explain, Explain.Request(expression="the mug"), images=False)
    assert not reply.success
    assert "max_age" in reply.text


def test_an_action_ends_when_enough_images_agree(caller: Caller) -> None:
    handle, feedback = caller.goal(expressions=["the red mug"], frames=3, min_confidence=0.5)
    status, result = caller.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, result.OUTCOME_FOUND)
    caller.client.wait(lambda: len(feedback) == 3)
    assert [each.agreeing for each in feedback] == [1, 2, 3]
    assert len({nanoseconds(each.answer.header.stamp) for each in feedback}) == 3
    assert feedback[-1].answer == result.answer
    assert result.answer.segmentations[0].area_px > 0


def test_an_action_says_that_nothing_is_there(caller: Caller) -> None:
    caller.client.set_parameters(**NEVER_FOUND)
    handle, _ = caller.goal(expressions=["the red mug"], frames=2)
    status, result = caller.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, result.OUTCOME_NOT_THERE)
    assert result.answer.status == SegmentationArray.STATUS_NO_TARGET

    # With a timeout it keeps looking and finds a target that comes into view.
    handle, feedback = caller.goal(expressions=["the red mug"], frames=2, timeout=60.0)
    caller.client.wait(lambda: len(feedback) > 3, each=caller.send)
    caller.client.set_parameters(**BY_THE_MODEL)
    _, result = caller.outcome(handle)
    assert result.outcome == result.OUTCOME_FOUND


def test_an_action_times_out(caller: Caller) -> None:
    caller.client.let_images_grow_old()
    handle, _ = caller.goal(expressions=["the red mug"], timeout=0.5)
    status, result = caller.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_TIMED_OUT)
    handle, _ = caller.goal(expressions=["the red mug"], min_confidence=1.0, timeout=0.5)
    _, result = caller.outcome(handle)
    assert result.outcome == result.OUTCOME_TIMED_OUT


def test_an_action_without_timeout_ends_unsure(caller: Caller) -> None:
    handle, feedback = caller.goal(expressions=["the red mug"], min_confidence=1.0, frames=2)
    status, result = caller.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_UNSURE)
    assert "is below min_confidence, 1.00" in result.text
    assert len(feedback) == 2
    handle, _ = caller.goal(expressions=["the zyzzyva"], frames=2)
    _, result = caller.outcome(handle)
    assert result.outcome in (result.OUTCOME_UNSURE, result.OUTCOME_NOT_THERE)
    assert "was not trained on 'zyzzyva'" in result.text


@pytest.mark.parametrize("min_confidence", [-0.1, 1.1, 80.0, math.nan, math.inf])
def test_an_action_refuses_a_confidence_out_of_range(caller: Caller, min_confidence: float) -> None:
    handle, _ = caller.goal(expressions=["the red mug"], min_confidence=min_confidence)
    status, result = caller.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_ERROR)
    assert result.text == f"min_confidence is {min_confidence:g}, accepted: 0 to 1"


def test_the_default_confidence_of_an_action() -> None:
    assert SegmentTarget.Goal().min_confidence == pytest.approx(0.8)


def test_an_action_can_be_canceled_and_refused(caller: Caller) -> None:
    handle, _ = caller.goal(expressions=["the red mug"], timeout=600.0)
    canceling = handle.cancel_goal_async()
    caller.client.wait(canceling.done)
    status, result = caller.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_CANCELED, result.OUTCOME_CANCELED)
    handle, _ = caller.goal(expressions=["pick:"])
    status, result = caller.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_ERROR)
    assert "role 'pick' has no expression" in result.text


def test_set_expressions_is_a_command_with_a_reply(caller: Caller) -> None:
    client = caller.client
    request = SetExpressions.Request(expressions=["pick: the red mug", "place: the bowl"])
    reply = caller.call(caller.set_expressions, request)
    assert reply.success, reply.message
    assert reply.message == "understood as 'pick: the red mug; place: the bowl'"
    client.wait(lambda: client.to("pick: the red mug; place: the bowl"), each=caller.send)
    assert client.results[-1].request_id == reply.request_id
    assert client.results[-1].intent == "pick_and_place"
    refused = caller.call(caller.set_expressions, SetExpressions.Request(expressions=["pick:"]))
    assert not refused.success
    assert "role 'pick' has no expression" in refused.message
    sentence = SetExpressions.Request(expressions=["pick up the mug if it is red"])
    reply = caller.call(caller.set_expressions, sentence)
    assert reply.success
    assert reply.message == "understood as 'pick: the mug'; left out: 'if it is red'"
    reply = caller.call(caller.set_expressions, SetExpressions.Request(expressions=["open it"]))
    assert not reply.success
    assert "'open'" in reply.message
    reply = caller.call(caller.set_expressions, SetExpressions.Request())
    assert reply.success
    client.wait(lambda: client.to(""))
    assert client.to("")[-1].status == SegmentationArray.STATUS_STOPPED


def test_topic_and_services_understand_sentences(caller: Caller) -> None:
    client = caller.client

    def first(text: str) -> SegmentationArray:
        client.command(text)
        client.wait(lambda: client.to(text), each=caller.send)
        return client.to(text)[0]

    result = first("could you please pick up the red mug")
    assert (result.intent, result.segmentations[0].role) == ("pick", "pick")
    assert result.segmentations[0].expression == "the red mug"
    assert "understood as 'pick: the red mug'" in result.text
    # Outside the conversation: it can refer back, but commands do not refer to it.
    request = Segment.Request(expressions=["where is the other one"])
    result = caller.call(caller.segment, request).answer
    assert result.segmentations[0].expression == "the other red mug"
    result = first("no, the green bowl")
    assert (result.intent, result.segmentations[0].expression) == ("pick", "the green bowl")
    result = first("who is your maker")
    assert result.segmentations[0].expression == "who is your maker"
    assert "not understood as a command, used as one expression" in result.text
    entry = result.segmentations[0]
    assert entry.status in (Segmentation.STATUS_NO_TARGET, Segmentation.STATUS_LOW_CONFIDENCE)
    client.command(
        "turn off the lights"
    )  # names nothing: it is refused, and the command in force stays
    client.wait(lambda: client.to("turn off the lights"), each=caller.send)
    refusal = client.to("turn off the lights")[0]
    assert (refusal.status, refusal.segmentations) == (SegmentationArray.STATUS_ERROR, [])
    assert "names nothing to look for" in refusal.text
    n_results = len(client.to("who is your maker"))
    client.wait(lambda: len(client.to("who is your maker")) > n_results, each=caller.send)
    client.set_parameters(language="de")
    result = first("nimm die rote Tasse")
    assert (result.intent, result.segmentations[0].expression) == ("pick", "the red mug")
    client.set_parameters(language="en")
    reply = caller.call(caller.set_expressions, SetExpressions.Request(expressions=["never mind"]))
    assert reply.success
    client.wait(lambda: client.results[-1].status == SegmentationArray.STATUS_STOPPED)


def test_a_command_to_all_cameras_and_to_one(caller: Caller) -> None:
    client = caller.client

    def send_both() -> None:
        caller.send()
        caller.send_wrist()

    client.command("the can")
    client.wait(lambda: client.to("the can") and len(caller.wrist_results) > 2, each=send_both)
    assert {result.camera for result in client.results} == {"/image"}
    results = [result for result in caller.wrist_results if result.command == "the can"]
    assert {result.camera for result in results} == {"/wrist/image"}
    assert {(result.image_height, result.image_width) for result in results} == {(120, 160)}
    assert results[0].request_id == client.to("the can")[0].request_id

    caller.wrist_command.publish(String(data="the spoon"))
    client.wait(
        lambda: any(result.command == "the spoon" for result in caller.wrist_results),
        each=send_both,
    )
    n_before = len(client.to("the can"))
    client.wait(lambda: len(client.to("the can")) > n_before + 2, each=send_both)
    assert not client.to("the spoon")

    request = Segment.Request(expressions=["the mug"], camera="wrist")
    future = caller.segment.call_async(request)
    client.wait(future.done, each=send_both)
    assert future.result().answer.camera == "/wrist/image"


def test_on_demand_a_command_is_answered_once(caller: Caller) -> None:
    client = caller.client
    client.set_parameters(mode="on_demand")
    client.command("the green bowl")
    client.wait(lambda: client.to("the green bowl"), each=caller.send)
    client.spin(0.7, each=caller.send)
    assert len(client.to("the green bowl")) == 1


def test_compressed_outputs_say_the_same_as_raw_ones(caller: Caller) -> None:
    client, node = caller.client, caller.client.node
    compressed: dict[str, list[CompressedImage]] = {"mask": [], "labels": [], "overlay": []}
    subscriptions = [
        node.create_subscription(CompressedImage, f"{name}/compressed", received.append, 10)
        for name, received in compressed.items()
    ]
    client.command("the green bowl; the red mug")
    client.wait(lambda: all(len(each) > 2 for each in compressed.values()), each=caller.send)
    client.spin(0.3)
    for subscription in subscriptions:
        node.destroy_subscription(subscription)
    for name, raw in (("mask", client.masks), ("labels", client.labels)):
        message = compressed[name][-1]
        assert message.format == "mono8; png compressed mono8"
        stamp_ns = nanoseconds(message.header.stamp)
        same = raw[stamps(raw).index(stamp_ns)]
        decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels = np.frombuffer(same.data, np.uint8).reshape(same.height, same.width)
        np.testing.assert_array_equal(decoded, pixels)
    message = compressed["overlay"][-1]
    assert message.format == "rgb8; jpeg compressed bgr8"
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    same = client.overlays[stamps(client.overlays).index(nanoseconds(message.header.stamp))]
    pixels = np.frombuffer(same.data, np.uint8).reshape(480, 640, 3)
    assert np.abs(decoded.astype(int) - pixels).mean() < 5
