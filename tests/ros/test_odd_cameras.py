# SPDX-License-Identifier: Apache-2.0
"""Cameras as they are: what the node publishes about binned, padded and unknown ones.

The camera shows the packaged image 0: the red mug is at TRUTH_M.
"""

from __future__ import annotations

import array
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.action import SegmentTarget
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.srv import Segment
from rclpy.action import ActionClient
from ros_harness import START_S, Client, NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds, time_message
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from mllmseg_ros.msg import Segmentation

SAMPLE = load_sample(0)
DEPTH_MM = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
TRUTH_M = (0.243, 0.132, 0.585)
MUG, EXPRESSION = 2, "the red mug"

Send = Callable[[], None]


def camera(
    client: Client,
    *,
    rgb: np.ndarray = SAMPLE.rgb,
    depth: np.ndarray = DEPTH_MM,
    depth_encoding: str = "16UC1",
    info_ns: int | None = None,
    **info: Any,
) -> Send:
    """Returns a function that publishes an image with depth and camera info."""
    fields = {"height": 480, "width": 640, "k": SAMPLE.K.ravel().tolist(), **info}

    def send() -> None:
        header = client.header()
        of_info = header
        if info_ns is not None:
            of_info = Header(stamp=time_message(info_ns), frame_id=header.frame_id)
        client.depth.publish(image_from_array(depth, depth_encoding, header))
        client.info.publish(CameraInfo(header=of_info, **fields))
        client.image.publish(image_from_array(rgb, "rgb8", header))
        client.sent.append(nanoseconds(header.stamp))

    return send


def result_of(client: Client, send: Send) -> SegmentationArray:
    """A result on an image of this test."""
    client.let_images_grow_old()
    client.command(EXPRESSION)

    def new() -> list[SegmentationArray]:
        return [
            each for each in client.to(EXPRESSION) if nanoseconds(each.header.stamp) in client.sent
        ]

    client.wait(lambda: len(new()) > 2, each=send)
    for each in client.to(EXPRESSION):  # one that contradicts itself came before
        assert each.status != SegmentationArray.STATUS_STALE_INPUT or "max_age" not in each.text
    return new()[-1]


def mug_of(result: SegmentationArray) -> Segmentation:
    """The entry of the mug, whose mask is right."""
    assert result.status == SegmentationArray.STATUS_OK, result.text
    size_hw = (result.image_height, result.image_width)
    truth = cv2.resize((SAMPLE.instances == MUG).astype(np.uint8), size_hw[::-1]) > 0
    mask = segmentation_from_message(result.segmentations[0], size_hw).mask
    assert (mask & truth).sum() > 0.7 * (mask | truth).sum()
    return result.segmentations[0]


def check(result: SegmentationArray, truth_m: tuple[float, ...] = TRUTH_M) -> None:
    entry = mug_of(result)
    assert entry.has_position, result.text
    at = entry.position
    np.testing.assert_allclose([at.x, at.y, at.z], truth_m, atol=0.003)


def check_refused(result: SegmentationArray, reason: str) -> None:
    assert not mug_of(result).has_position
    assert f"no position: {reason}" in result.text


@pytest.fixture(params=[True, False], ids=["tracking", "no tracking"])
def tracking(request: pytest.FixtureRequest, client: Client) -> Iterator[bool]:
    client.set_parameters(tracking=request.param)
    yield request.param
    client.set_parameters(tracking=True)


UNKNOWN = {"d": [1e-4, 0.0, 0.0, 0.0], "distortion_model": "xyz"}


def test_an_unknown_lens_removes_only_the_position(client: Client, tracking: bool) -> None:
    reason = "unknown distortion model 'xyz'; accepted: plumb_bob, rational_polynomial, equidistant"
    check_refused(result_of(client, camera(client, **UNKNOWN)), reason)


def test_an_unknown_lens_in_a_service_and_an_action(client: Client) -> None:
    send = camera(client, **UNKNOWN)
    service = client.node.create_client(Segment, "segment")
    assert service.wait_for_service(START_S)
    reply = service.call_async(Segment.Request(expressions=[EXPRESSION]))
    client.wait(reply.done, each=send)
    check_refused(reply.result().answer, "unknown distortion model 'xyz'")
    action = ActionClient(client.node, SegmentTarget, "segment_target")
    assert action.wait_for_server(START_S)
    goal = action.send_goal_async(SegmentTarget.Goal(expressions=[EXPRESSION], frames=1))
    client.wait(goal.done, each=send)
    outcome = goal.result().get_result_async()
    client.wait(outcome.done, each=send)
    check_refused(outcome.result().result.answer, "unknown distortion model 'xyz'")


def test_a_camera_info_of_another_size_removes_only_the_position(
    client: Client, tracking: bool
) -> None:
    reason = "camera_info is for 1280 x 720, the image is 640 x 480, which no binning explains"
    check_refused(result_of(client, camera(client, width=1280, height=720)), reason)


def test_binned_images(client: Client, tracking: bool) -> None:
    rgb = cv2.resize(SAMPLE.rgb, (320, 240), interpolation=cv2.INTER_AREA)
    depth = np.ascontiguousarray(DEPTH_MM[::2, ::2])
    check(result_of(client, camera(client, rgb=rgb, depth=depth, binning_x=2, binning_y=2)))


def test_a_fisheye_lens_by_another_name_and_padded(client: Client) -> None:
    d = [1e-4, 0.0, 0.0, 0.0, 0.0]
    send = camera(client, d=d, distortion_model="fisheye")
    check(result_of(client, send), (0.264, 0.143, 0.585))


def test_an_info_whose_stamp_never_changes(client: Client) -> None:
    check(result_of(client, camera(client, info_ns=1_000_000_000)))


@pytest.mark.parametrize(
    ("depth", "encoding", "reason"),
    [
        (SAMPLE.depth_m.astype(np.float64), "64FC1", "depth encoding 64FC1; accepted: 16UC1"),
        (
            (SAMPLE.depth_m * 1000).astype(np.float32),
            "32FC1",
            "32FC1 depth with a median of 737 can only be millimetres",
        ),
    ],
)
def test_unusable_depth(depth: np.ndarray, encoding: str, reason: str, client: Client) -> None:
    check_refused(result_of(client, camera(client, depth=depth, depth_encoding=encoding)), reason)


def test_saturated_depth(client: Client) -> None:
    depth = DEPTH_MM.copy()
    depth[np.random.default_rng(0).random(depth.shape) < 0.6] = 65535
    check(result_of(client, camera(client, depth=depth)))


@pytest.mark.parametrize("target_frame", ["", "/test_camera_optical_frame"])
def test_a_leading_slash_makes_no_other_frame(
    target_frame: str, client: Client, tracking: bool
) -> None:
    """Drivers of ROS 1 name frames so."""

    def send() -> None:
        header = client.header()
        slashed = Header(stamp=header.stamp, frame_id=f"/{header.frame_id}")
        client.depth.publish(image_from_array(DEPTH_MM, "16UC1", slashed))
        k = SAMPLE.K.ravel().tolist()
        client.info.publish(CameraInfo(header=slashed, height=480, width=640, k=k))
        client.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
        client.sent.append(nanoseconds(header.stamp))

    client.set_parameters(target_frame=target_frame)
    try:
        check(result_of(client, send))
    finally:
        client.set_parameters(target_frame="")


@pytest.fixture
def simulator() -> Iterator[tuple[Client, NodeProcess]]:
    """A node whose camera publishes its info below its images, as some simulators do."""
    domain = new_domain()
    topics = ("-r", "image:=/arm/color", "-r", "depth/image:=/arm/depth")
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", *topics)
    node.wait_for("listening on")
    client = Client(domain, image="/arm/color")
    client.node.destroy_publisher(client.info)
    client.node.destroy_publisher(client.depth)
    client.info = client.node.create_publisher(CameraInfo, "/arm/color/camera_info", 5)
    yield client, node
    client.close()
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_topics_of_a_simulator_and_compressed_depth(
    simulator: tuple[Client, NodeProcess],
) -> None:
    client, _ = simulator
    depth = client.node.create_publisher(CompressedImage, "/arm/depth/compressed", 5)
    png = array.array("B", bytes(cv2.imencode(".png", DEPTH_MM)[1]))
    uv = cv2.cvtColor(SAMPLE.rgb, cv2.COLOR_RGB2YUV_I420)
    nv12 = np.vstack([uv[:480], uv[480:].reshape(2, -1).T.reshape(240, 640)])

    def send() -> None:
        header = client.header()
        depth.publish(CompressedImage(header=header, format="16UC1; png compressed ", data=png))
        k = SAMPLE.K.ravel().tolist()
        client.info.publish(CameraInfo(header=header, height=480, width=640, k=k))
        image = Image(header=header, height=480, width=640, step=640, encoding="nv12")
        image.data = array.array("B", nv12.tobytes())
        client.image.publish(image)
        client.sent.append(nanoseconds(header.stamp))

    client.wait(client.connected, START_S)
    client.wait(
        lambda: depth.get_subscription_count() and client.info.get_subscription_count(), START_S
    )
    check(result_of(client, send))


def test_compressed_images_below_a_remapped_topic(simulator: tuple[Client, NodeProcess]) -> None:
    client, _ = simulator
    client.wait(client.connected, START_S)
    client.node.destroy_publisher(client.image)
    client.image = client.node.create_publisher(CompressedImage, "/arm/color/compressed", 5)
    depth = client.node.create_publisher(CompressedImage, "/arm/depth/compressedDepth", 5)
    color = array.array("B", bytes(cv2.imencode(".png", SAMPLE.rgb[..., ::-1])[1]))
    png = array.array("B", bytes(12) + bytes(cv2.imencode(".png", DEPTH_MM)[1]))

    def send() -> None:
        header = client.header()
        form = "16UC1; compressedDepth png"
        depth.publish(CompressedImage(header=header, format=form, data=png))
        k = SAMPLE.K.ravel().tolist()
        client.info.publish(CameraInfo(header=header, height=480, width=640, k=k))
        client.image.publish(CompressedImage(header=header, format="png", data=color))
        client.sent.append(nanoseconds(header.stamp))

    publishers = (client.image, depth, client.info)
    client.wait(lambda: all(each.get_subscription_count() for each in publishers), START_S)
    result = result_of(client, send)
    check(result)
    assert result.camera == "/arm/color/compressed"


P_OF_K = np.hstack([SAMPLE.K, np.zeros((3, 1))]).ravel().tolist()


@pytest.fixture
def rectified() -> Iterator[Client]:
    """A client of a node whose image topic is named as rectified."""
    domain = new_domain()
    topic = "/arm/image_rect_color"
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", "-r", f"image:={topic}")
    node.wait_for("listening on")
    client = Client(domain, image=topic)
    client.wait(client.connected, START_S)
    yield client
    client.close()
    assert node.end() == 0, node.log


def test_a_rectified_topic_uses_P_without_D(rectified: Client) -> None:
    lens = {"d": [0.1, -0.2, 0.0, 0.0, 0.0], "distortion_model": "plumb_bob", "p": P_OF_K}
    k = (np.diag((1.2, 1.2, 1.0)) @ SAMPLE.K).ravel().tolist()
    check(result_of(rectified, camera(rectified, k=k, **lens)))


def test_a_target_without_depth_gets_no_position_from_its_surroundings(
    client: Client, tracking: bool
) -> None:
    depth = np.where(SAMPLE.instances == MUG, 0, DEPTH_MM).astype(np.uint16)
    check_refused(result_of(client, camera(client, depth=depth)), "3 % of the mask has depth")


def test_two_cameras_on_one_topic_are_named(node: NodeProcess, client: Client) -> None:
    sides = itertools.cycle(("left", "right"))

    def send() -> None:
        header = Header(stamp=client.now(), frame_id=next(sides))
        client.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))

    warning = "images of frames 'left' and 'right' arrive alternately on one topic, /image"
    client.wait(lambda: warning in node.log, each=send)
