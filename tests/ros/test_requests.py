# SPDX-License-Identifier: Apache-2.0
"""Topic, service and action side by side, and two cameras before one model."""

from __future__ import annotations

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
    """A node with two cameras: one without a name, and one on the wrist."""
    node = NodeProcess(
        new_domain(), "--ros-args", "-p", "device:=cpu", "-p", "cameras:=['', 'wrist']"
    )
    node.wait_for("listening on")
    yield node
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


class Asker:
    """Calls services and actions, and is the camera on the wrist."""

    def __init__(self, client: Client) -> None:
        self.client, node = client, client.node
        self.segment = node.create_client(Segment, "segment")
        self.explain = node.create_client(Explain, "explain")
        self.set_expressions = node.create_client(SetExpressions, "set_expressions")
        self.action = ActionClient(node, SegmentTarget, "segment_target")
        self.wrist = node.create_publisher(Image, "wrist/image", 5)
        self.wrist_command = node.create_publisher(String, "wrist/command", 10)
        self.wrist_answers: list[SegmentationArray] = []
        node.create_subscription(
            SegmentationArray, "wrist/segmentations", self.wrist_answers.append, 100
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
def kept_asker(connection: Client) -> Asker:
    return Asker(connection)


@pytest.fixture
def asker(kept_asker: Asker, client: Client) -> Asker:
    assert all(result.successful for result in client.set_parameters(**BY_THE_MODEL))
    client.spin(0.3)
    kept_asker.wrist_answers.clear()
    return kept_asker


def test_a_service_call_is_answered_on_an_image_taken_after_it(asker: Asker) -> None:
    asker.send()
    asker.client.spin(0.3)
    called_ns = asker.client.node.get_clock().now().nanoseconds
    answer = asker.call(asker.segment, Segment.Request(expressions=["the red mug"])).answer
    assert answer.status == SegmentationArray.STATUS_OK, answer.text
    assert (answer.command, answer.camera) == ("the red mug", "/image")
    assert nanoseconds(answer.header.stamp) >= called_ns
    assert answer.segmentations[0].area_px > 0
    assert answer.request_id
    assert not asker.client.answers  # it is nobody else's


def test_a_service_call_brings_its_own_image(asker: Asker) -> None:
    image = image_from_array(SAMPLE.rgb, "rgb8", asker.client.header())
    request = Segment.Request(expressions=["pick: the green bowl", "the red mug"], image=image)
    answer = asker.call(asker.segment, request, images=False).answer
    assert answer.header == image.header
    assert answer.status == SegmentationArray.STATUS_OK, answer.text
    assert {(each.expression, each.role) for each in answer.segmentations} == {
        ("the green bowl", "pick"),
        ("the red mug", ""),
    }
    image.encoding = "nv12"
    answer = asker.call(asker.segment, request, images=False).answer
    assert answer.status == SegmentationArray.STATUS_ERROR
    assert "image encoding 'nv12' is not known" in answer.text


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"expressions": []}, "nothing is named to look for"),
        ({"expressions": ["stop"]}, "nothing is named to look for"),
        ({"expressions": ["the mug; the bowl"]}, "name each thing by itself"),
        ({"expressions": ["x" * 257]}, "257 characters, accepted are up to 256"),
        ({"expressions": ["the mug"], "camera": "left"}, "camera is 'left', accepted: '', 'wrist'"),
    ],
    ids=["nothing", "stop", "two in one", "long", "unknown camera"],
)
def test_refused_calls_say_why(asker: Asker, fields: dict, reason: str) -> None:
    answer = asker.call(asker.segment, Segment.Request(**fields)).answer
    assert answer.status == SegmentationArray.STATUS_ERROR
    assert reason in answer.text


def test_without_an_image_a_call_ends_as_stale(asker: Asker) -> None:
    asker.client.let_images_grow_old()
    request = Segment.Request(expressions=["the mug"])
    answer = asker.call(asker.segment, request, images=False).answer
    assert answer.status == SegmentationArray.STATUS_STALE_INPUT
    assert "max_age is 1.0" in answer.text


def test_calls_overlap_with_each_other_and_with_the_command(asker: Asker) -> None:
    client = asker.client
    client.command("the can")
    client.wait(lambda: client.to("the can"), each=asker.send)
    names = [f"the mug number {index}" for index in range(5)]
    futures = [asker.segment.call_async(Segment.Request(expressions=[name])) for name in names]
    client.wait(lambda: all(future.done() for future in futures), each=asker.send)
    answers = [future.result().answer for future in futures]
    assert [answer.command for answer in answers] == names
    assert len({answer.request_id for answer in answers}) == len(names)
    n_before = len(client.to("the can"))
    client.wait(lambda: len(client.to("the can")) > n_before + 2, each=asker.send)
    assert {answer.command for answer in client.answers} == {"the can"}
    assert len({answer.request_id for answer in client.answers}) == 1


def test_an_explanation_is_a_picture_of_the_image_that_is_there(asker: Asker) -> None:
    client = asker.client
    client.command("the red mug")
    client.wait(lambda: client.to("the red mug"), each=asker.send)
    client.spin(0.3)
    n_answers, shown = len(client.answers), client.sent[-1]
    other = asker.explain.call_async(Explain.Request(expression="the red mug"))
    future = asker.explain.call_async(Explain.Request(expression="do you see a banana?"))
    client.wait(lambda: future.done() and other.done())
    told = future.result()
    assert other.result().text.endswith("reaches the threshold 0.50")
    assert told.success, told.text
    assert told.text.startswith("0 of 1 found")
    assert "is below the threshold 0.50" in told.text
    assert nanoseconds(told.panel.header.stamp) == shown
    panel = cv2.imdecode(np.frombuffer(told.panel.data, np.uint8), cv2.IMREAD_COLOR)
    assert told.panel.format.startswith("rgb8; png")
    assert panel.shape[1] > 1000
    # The command in force goes on as it was.
    client.wait(lambda: len(client.answers) > n_answers, each=asker.send)
    assert {answer.command for answer in client.answers} == {"the red mug"}


def test_explanations_that_cannot_be_given_say_why(asker: Asker) -> None:
    for fields, reason in (
        ({"expression": "put the mug in the bowl"}, "ask about one after the other"),
        ({"expression": "the mug; the bowl"}, "name each thing by itself"),
        ({"expression": "  "}, "nothing is named"),
        ({"expression": "the mug", "camera": "nose"}, "camera is 'nose', accepted: '', 'wrist'"),
    ):
        told = asker.call(asker.explain, Explain.Request(**fields))
        assert not told.success
        assert reason in told.text
        assert not told.panel.data
    asker.client.let_images_grow_old()
    told = asker.call(asker.explain, Explain.Request(expression="the mug"), images=False)
    assert not told.success
    assert "max_age" in told.text


def test_an_action_ends_when_enough_images_agree(asker: Asker) -> None:
    handle, feedback = asker.goal(expressions=["the red mug"], frames=3, min_confidence=0.5)
    status, result = asker.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, result.OUTCOME_FOUND)
    asker.client.wait(lambda: len(feedback) == 3)
    assert [each.agreeing for each in feedback] == [1, 2, 3]
    assert len({nanoseconds(each.answer.header.stamp) for each in feedback}) == 3
    assert feedback[-1].answer == result.answer
    assert result.answer.segmentations[0].area_px > 0


def test_an_action_says_that_nothing_is_there(asker: Asker) -> None:
    asker.client.set_parameters(**NEVER_FOUND)
    handle, _ = asker.goal(expressions=["the red mug"], frames=2)
    status, result = asker.outcome(handle)
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, result.OUTCOME_NOT_THERE)
    assert result.answer.status == SegmentationArray.STATUS_NO_TARGET

    # With time to wait it goes on looking, and finds what comes into sight.
    handle, feedback = asker.goal(expressions=["the red mug"], frames=2, timeout=60.0)
    asker.client.wait(lambda: len(feedback) > 3, each=asker.send)
    asker.client.set_parameters(**BY_THE_MODEL)
    _, result = asker.outcome(handle)
    assert result.outcome == result.OUTCOME_FOUND


def test_an_action_times_out(asker: Asker) -> None:
    asker.client.let_images_grow_old()
    handle, _ = asker.goal(expressions=["the red mug"], timeout=0.5)
    status, result = asker.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_TIMED_OUT)
    handle, _ = asker.goal(expressions=["the red mug"], min_confidence=1.1, timeout=0.5)
    _, result = asker.outcome(handle)
    assert result.outcome == result.OUTCOME_TIMED_OUT


def test_an_action_can_be_canceled_and_refused(asker: Asker) -> None:
    handle, _ = asker.goal(expressions=["the red mug"], timeout=600.0)
    canceling = handle.cancel_goal_async()
    asker.client.wait(canceling.done)
    status, result = asker.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_CANCELED, result.OUTCOME_CANCELED)
    handle, _ = asker.goal(expressions=["pick:"])
    status, result = asker.outcome(handle, images=False)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, result.OUTCOME_ERROR)
    assert "role 'pick' has no expression" in result.text


def test_set_expressions_is_a_command_with_a_reply(asker: Asker) -> None:
    client = asker.client
    request = SetExpressions.Request(expressions=["pick: the red mug", "place: the bowl"])
    reply = asker.call(asker.set_expressions, request)
    assert reply.success, reply.message
    client.wait(lambda: client.to("pick: the red mug; place: the bowl"), each=asker.send)
    assert client.answers[-1].request_id == reply.request_id
    assert client.answers[-1].intent == "pick_and_place"
    refused = asker.call(asker.set_expressions, SetExpressions.Request(expressions=["pick:"]))
    assert not refused.success
    assert "role 'pick' has no expression" in refused.message
    reply = asker.call(asker.set_expressions, SetExpressions.Request())
    assert reply.success
    client.wait(lambda: client.to(""))
    assert client.to("")[-1].status == SegmentationArray.STATUS_STOPPED


def test_topic_and_services_understand_sentences(asker: Asker) -> None:
    client = asker.client

    def first(text: str) -> SegmentationArray:
        client.command(text)
        client.wait(lambda: client.to(text), each=asker.send)
        return client.to(text)[0]

    answer = first("could you please pick up the red mug")
    assert (answer.intent, answer.segmentations[0].role) == ("pick", "pick")
    assert answer.segmentations[0].expression == "the red mug"
    assert "understood as 'pick: the red mug'" in answer.text
    # Beside the conversation: it may refer back, and is not referred to.
    request = Segment.Request(expressions=["where is the other one"])
    answer = asker.call(asker.segment, request).answer
    assert answer.segmentations[0].expression == "the other red mug"
    answer = first("no, the green bowl")
    assert (answer.intent, answer.segmentations[0].expression) == ("pick", "the green bowl")
    answer = first("who is your maker")
    assert answer.segmentations[0].expression == "who is your maker"
    assert "not understood as a command, looked for as said" in answer.text
    entry = answer.segmentations[0]
    assert entry.status in (Segmentation.STATUS_NO_TARGET, Segmentation.STATUS_LOW_CONFIDENCE)
    client.command("turn off the lights")  # names nothing: is refused, and that before goes on
    client.wait(lambda: client.to("turn off the lights"), each=asker.send)
    refusal = client.to("turn off the lights")[0]
    assert (refusal.status, refusal.segmentations) == (SegmentationArray.STATUS_ERROR, [])
    assert "names nothing to look for" in refusal.text
    n_answers = len(client.to("who is your maker"))
    client.wait(lambda: len(client.to("who is your maker")) > n_answers, each=asker.send)
    client.set_parameters(language="de")
    answer = first("nimm die rote Tasse")
    assert (answer.intent, answer.segmentations[0].expression) == ("pick", "the red mug")
    client.set_parameters(language="en")
    reply = asker.call(asker.set_expressions, SetExpressions.Request(expressions=["never mind"]))
    assert reply.success
    client.wait(lambda: client.answers[-1].status == SegmentationArray.STATUS_STOPPED)


def test_a_command_to_all_cameras_and_to_one(asker: Asker) -> None:
    client = asker.client

    def send_both() -> None:
        asker.send()
        asker.send_wrist()

    client.command("the can")
    client.wait(lambda: client.to("the can") and len(asker.wrist_answers) > 2, each=send_both)
    assert {answer.camera for answer in client.answers} == {"/image"}
    looked = [answer for answer in asker.wrist_answers if answer.command == "the can"]
    assert {answer.camera for answer in looked} == {"/wrist/image"}
    assert {(answer.image_height, answer.image_width) for answer in looked} == {(120, 160)}
    assert looked[0].request_id == client.to("the can")[0].request_id

    asker.wrist_command.publish(String(data="the spoon"))
    client.wait(
        lambda: any(answer.command == "the spoon" for answer in asker.wrist_answers), each=send_both
    )
    n_before = len(client.to("the can"))
    client.wait(lambda: len(client.to("the can")) > n_before + 2, each=send_both)
    assert not client.to("the spoon")

    request = Segment.Request(expressions=["the mug"], camera="wrist")
    future = asker.segment.call_async(request)
    client.wait(future.done, each=send_both)
    assert future.result().answer.camera == "/wrist/image"


def test_on_demand_a_command_is_answered_once(asker: Asker) -> None:
    client = asker.client
    client.set_parameters(mode="on_demand")
    client.command("the green bowl")
    client.wait(lambda: client.to("the green bowl"), each=asker.send)
    client.spin(0.7, each=asker.send)
    assert len(client.to("the green bowl")) == 1


def test_compressed_outputs_say_the_same_as_raw_ones(asker: Asker) -> None:
    client, node = asker.client, asker.client.node
    compressed: dict[str, list[CompressedImage]] = {"mask": [], "labels": [], "overlay": []}
    subscriptions = [
        node.create_subscription(CompressedImage, f"{name}/compressed", received.append, 10)
        for name, received in compressed.items()
    ]
    client.command("the green bowl; the red mug")
    client.wait(lambda: all(len(each) > 2 for each in compressed.values()), each=asker.send)
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
