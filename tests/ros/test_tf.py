# SPDX-License-Identifier: Apache-2.0
"""TF over DDS: positions are in the target frame or missing.

The first half tests this package's buffer and, if it is installed, tf2_ros; the second half tests
the node as a process.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import rclpy
from broadcaster import Broadcaster, make_transform
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_harness import Client, NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header

from mllmseg_ros.geometry.transforms import TransformError, pose_to_matrix
from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds
from mllmseg_ros.ros.support import tf
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from mllmseg_ros.msg import Segmentation, SegmentationArray

SECOND = 1_000_000_000
LAST_NS = (2**31 - 1) * SECOND  # that a stamp can name, years ahead
SAMPLE = load_sample(0)
COMMAND = "pick: the red mug; place: the bowl"
CAMERA = "test_camera_optical_frame"
# A camera beside a table, pointing down, as from a calibration.
TRANSLATION = (0.4, -0.1, 0.9)
QUATERNION = tuple((np.array([0.9, 0.1, -0.2, 0.0]) / np.sqrt(0.86)).tolist())
BASE_FROM_CAMERA = pose_to_matrix(TRANSLATION, QUATERNION)


class Rig:
    """A node with TF, spun by a thread as the real one is by the main thread."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=new_domain())
        self.node = rclpy.create_node("listener", context=self.context)
        self.reports: list[str] = []
        self.transforms = tf.Transforms(self.node, self.reports.append)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._other = rclpy.create_node("broadcaster", context=self.context)
        self.executor.add_node(self._other)
        self.broadcaster = Broadcaster(self._other)
        self._thread = threading.Thread(target=self.executor.spin)
        self._thread.start()

    def close(self) -> None:
        self.executor.shutdown()
        self._thread.join()
        self.node.destroy_node()
        self._other.destroy_node()
        rclpy.shutdown(context=self.context)

    def until_subscribed(self, subscribed: bool = True) -> None:
        deadline = time.monotonic() + 10
        while bool(self.broadcaster.moving.get_subscription_count()) != subscribed:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        self.executor.create_task(self.transforms.stop)  # in the thread that spins the node


@pytest.fixture(params=[True, False], ids=["own", "tf2_ros"])
def own(request: pytest.FixtureRequest) -> bool:
    """Whether this package's buffer is tested."""
    return request.param


@pytest.fixture
def rig(own: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if not own:
        pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")
    else:
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "tf2_ros" else real(name)
        )
    rig = Rig()
    yield rig
    rig.close()


def test_nothing_is_subscribed_to_before_it_is_needed(rig: Rig) -> None:
    rig.transforms.start("")
    time.sleep(0.3)
    assert rig.node.count_subscribers("/tf") == 0
    rig.transforms.listen()
    rig.until_subscribed()
    rig.stop()
    rig.until_subscribed(False)
    rig.transforms.listen()  # has no effect before it is started again
    time.sleep(0.3)
    assert rig.node.count_subscribers("/tf") == 0
    rig.transforms.start("base")
    rig.until_subscribed()


def test_static_and_moving_frames_are_looked_up_at_the_stamp(rig: Rig) -> None:
    # Latched before the subscription.
    rig.broadcaster.send_static(make_transform("hand", "camera", 1, (0, 0, 0.1)))
    rig.transforms.start("base")
    rig.until_subscribed()
    for second in (100, 101, 102):
        half = (second - 100) / 2  # it rotates by 1 rad/s
        turn = (0.0, 0.0, float(np.sin(half)), float(np.cos(half)))
        rig.broadcaster.send(make_transform("base", "hand", second * SECOND, (second, 0, 0), turn))
    for at in (100.0, 100.5, 101.9):
        matrix = rig.transforms.matrix("base", "camera", int(at * SECOND), 10.0)
        np.testing.assert_allclose(matrix[:3, 3], [at, 0, 0.1], atol=1e-6)
        expected = cv2.Rodrigues(np.array([0.0, 0.0, at - 100]))[0]
        np.testing.assert_allclose(matrix[:3, :3], expected, atol=1e-3)
    back = rig.transforms.matrix("camera", "base", 100 * SECOND, 0.0)
    np.testing.assert_allclose(back[:3, 3], [-100, 0, -0.1], atol=1e-6)


def test_a_leading_slash_is_stripped(rig: Rig) -> None:
    rig.transforms.start("/base")
    rig.until_subscribed()
    rig.broadcaster.send(make_transform("/base", "/camera", 100 * SECOND, (1, 2, 3)))
    for target, source in (("/base", "camera"), ("base", "/camera"), ("/base", "/camera")):
        matrix = rig.transforms.matrix(target, source, 100 * SECOND, 10.0)
        assert matrix[:3, 3].tolist() == [1, 2, 3]


def test_a_late_transform_is_waited_for_and_the_latest_not_used(rig: Rig) -> None:
    rig.transforms.start("base")
    rig.until_subscribed()
    rig.broadcaster.send(make_transform("base", "camera", 100 * SECOND, (1, 0, 0)))
    rig.transforms.matrix("base", "camera", 100 * SECOND, 10.0)
    timer = threading.Timer(
        0.3, lambda: rig.broadcaster.send(make_transform("base", "camera", 102 * SECOND, (3, 0, 0)))
    )
    timer.start()
    began_s = time.monotonic()
    matrix = rig.transforms.matrix("base", "camera", 101 * SECOND, 10.0)
    assert time.monotonic() - began_s < 5  # woken, not timed out
    np.testing.assert_allclose(matrix[:3, 3], [2, 0, 0], atol=1e-6)
    timer.join()
    with pytest.raises(TransformError, match="into the future"):
        rig.transforms.matrix("base", "camera", 103 * SECOND, 0.1)
    # An expired transform will not arrive: no waiting.
    began_s = time.monotonic()
    with pytest.raises(TransformError, match="into the past"):
        rig.transforms.matrix("base", "camera", 50 * SECOND, 10.0)
    assert time.monotonic() - began_s < 5
    with pytest.raises(TransformError, match="no stamp"):
        rig.transforms.matrix("base", "camera", 0, 10.0)  # tf2 would use the latest


def test_malformed_transforms_are_ignored(rig: Rig, own: bool) -> None:
    rig.transforms.start("base")
    rig.until_subscribed()
    for wrong in (
        make_transform("base", "camera", SECOND, (float("nan"), 0, 0)),
        make_transform("base", "camera", SECOND, quaternion=(0, 0, 0, 0)),
        make_transform("base", "camera", SECOND, quaternion=(0, float("inf"), 0, 1)),
        make_transform("camera", "camera", SECOND),
        make_transform("base", "", SECOND),
        make_transform("", "camera", SECOND),
    ):
        rig.broadcaster.send(wrong)
    rig.broadcaster.send(make_transform("base", "hand", SECOND))
    rig.transforms.matrix("base", "hand", SECOND, 10.0)
    with pytest.raises(TransformError, match="camera"):
        rig.transforms.matrix("base", "camera", SECOND, 0.0)
    rig.broadcaster.send(make_transform("base", "camera", SECOND, (1, 2, 3)))
    matrix = rig.transforms.matrix("base", "camera", SECOND, 10.0)
    assert matrix[:3, 3].tolist() == [1, 2, 3]
    # tf2 reports it in its own log.
    assert len(rig.reports) == (6 if own else 0)
    assert all(each.startswith("transform refused: ") for each in rig.reports)


@pytest.mark.threat("N7")
def test_a_transform_stamped_years_ahead_is_refused(rig: Rig) -> None:
    now_ns = rig.node.get_clock().now().nanoseconds
    rig.transforms.start("base")
    rig.until_subscribed()
    rig.broadcaster.send(make_transform("base", "hand", now_ns - 2 * SECOND, (1, 0, 0)))
    for before_end_ns in (SECOND, 0):
        stamp_ns = LAST_NS - before_end_ns
        rig.broadcaster.send(make_transform("base", "hand", stamp_ns, (1e6, 0, 0)))
    rig.broadcaster.send(make_transform("base", "hand", now_ns, (3, 0, 0)))
    matrix = rig.transforms.matrix("base", "hand", now_ns - SECOND, 10.0)
    np.testing.assert_allclose(matrix[:3, 3], [2, 0, 0], atol=1e-6)
    with pytest.raises(TransformError, match="into the future"):
        rig.transforms.matrix("base", "hand", now_ns + 10 * SECOND, 0.0)
    assert len(rig.reports) == 2
    assert "'hand' in 'base' is stamped" in rig.reports[0]
    assert "ahead of time, accepted are up to 10.000 s" in rig.reports[0]


def test_after_a_jump_of_time_only_static_transforms_are_known(rig: Rig) -> None:
    rig.transforms.start("base")
    rig.until_subscribed()
    rig.broadcaster.send_static(make_transform("hand", "camera", 1, (0, 0, 0.1)))
    rig.broadcaster.send(make_transform("base", "hand", 100 * SECOND))
    rig.transforms.matrix("base", "camera", 100 * SECOND, 10.0)
    rig.transforms.clear()
    assert rig.transforms.matrix("hand", "camera", 5 * SECOND, 0.0)[2, 3] == 0.1
    with pytest.raises(TransformError):
        rig.transforms.matrix("base", "camera", 100 * SECOND, 0.0)
    rig.broadcaster.send(make_transform("base", "hand", 5 * SECOND, (2, 0, 0)))
    assert rig.transforms.matrix("base", "camera", 5 * SECOND, 10.0)[0, 3] == 2


def test_a_waiting_lookup_ends_when_the_node_stops(rig: Rig) -> None:
    rig.transforms.start("base")
    rig.until_subscribed()
    threading.Timer(0.3, rig.stop).start()
    began_s = time.monotonic()
    with pytest.raises(TransformError, match="stopped listening"):
        rig.transforms.matrix("base", "camera", SECOND, 30.0)
    assert time.monotonic() - began_s < 10


# The node


class RobotClient(Client):
    """A client with a depth camera and TF."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.depth_info = self.node.create_publisher(CameraInfo, "depth/camera_info", 5)
        self.broadcaster = Broadcaster(self.node)
        self.scenes: list[PointCloud2] = []
        self.node.create_subscription(PointCloud2, "scene_cloud", self.scenes.append, 10)

    def send_rgbd(self, depth_frame: str = CAMERA) -> int:
        header = self.header()
        depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
        of_depth = Header(stamp=header.stamp, frame_id=depth_frame)
        info = {"height": 480, "width": 640, "k": SAMPLE.K.ravel().tolist(), "d": [0.0] * 5}
        self.info.publish(CameraInfo(header=header, **info))
        if depth_frame != CAMERA:
            self.depth_info.publish(CameraInfo(header=of_depth, **info))
        self.depth.publish(image_from_array(depth_mm, "16UC1", of_depth))
        self.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
        self.sent.append(nanoseconds(header.stamp))
        return self.sent[-1]

    def forget(self) -> None:
        for received in (self.scenes, self.centroids, self.poses, self.clouds, self.markers):
            received.clear()
        self.masks.clear()

    def wait_for_result(
        self, condition: Callable[[SegmentationArray], object], each: Callable[[], object]
    ) -> SegmentationArray:
        """Wait for the first result that meets a condition, on an image sent from now on."""
        n_before = len(self.sent)

        def fitting() -> list[SegmentationArray]:
            new = self.sent[n_before:]
            results = [each for each in self.to(COMMAND) if nanoseconds(each.header.stamp) in new]
            return [each for each in results if condition(each)]

        self.wait(fitting, each=each, every_s=0.3)
        return fitting()[0]


def has_position(result: SegmentationArray) -> bool:
    return bool(result.segmentations) and result.segmentations[0].has_position


@pytest.fixture(scope="module")
def robot() -> Iterator[tuple[NodeProcess, RobotClient]]:
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", "-p", "max_age:=10.0")
    client = RobotClient(domain)
    node.wait_for("listening on")
    client.wait(client.connected)
    client.set_parameters(decide_by="score", threshold=0.0)
    client.command(COMMAND)
    yield node, client
    client.close()
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def xyz(point: object) -> np.ndarray:
    return np.array([point.x, point.y, point.z])


def in_base(point: object) -> np.ndarray:
    return BASE_FROM_CAMERA[:3, :3] @ xyz(point) + BASE_FROM_CAMERA[:3, 3]


def mean_point(cloud: PointCloud2) -> np.ndarray:
    records = np.frombuffer(cloud.data, np.uint8).reshape(cloud.width, cloud.point_step)
    return records[:, :12].copy().view("<f4").mean(axis=0)


def test_positions_are_in_the_target_frame(
    robot: tuple[NodeProcess, RobotClient],
) -> None:
    node, client = robot
    seen = client.wait_for_result(has_position, client.send_rgbd)
    client.wait(lambda: client.scenes and client.centroids, each=client.send_rgbd)
    assert seen.segmentations[0].frame_id == CAMERA
    scene_before = mean_point(client.scenes[-1])
    assert client.node.count_subscribers("/tf") == 0  # not needed yet
    client.forget()

    client.broadcaster.send_static(make_transform("base", CAMERA, 1, TRANSLATION, QUATERNION))
    assert client.set_parameters(target_frame="base")[0].successful
    result = client.wait_for_result(has_position, client.send_rgbd)
    assert "transforms are kept by" in node.log
    assert result.header.frame_id == CAMERA  # the image's: masks and boxes are in its pixels
    by_place: list[tuple[Segmentation, Segmentation]] = list(
        zip(seen.segmentations, result.segmentations, strict=True)
    )
    for before, after in by_place:
        assert after.has_position == before.has_position
        if not before.has_position:
            continue
        assert after.frame_id == "base"
        np.testing.assert_allclose(xyz(after.position), in_base(before.position), atol=1e-3)
        np.testing.assert_allclose(
            xyz(after.surface_point), in_base(before.surface_point), atol=1e-3
        )
        np.testing.assert_allclose(
            xyz(after.box_pose.position), in_base(before.box_pose.position), atol=1e-3
        )
        rotation = BASE_FROM_CAMERA[:3, :3]
        np.testing.assert_allclose(
            after.position_covariance.reshape(3, 3),
            rotation @ before.position_covariance.reshape(3, 3) @ rotation.T,
            atol=1e-6,
        )
    client.forget()
    others = (client.centroids, client.poses, client.clouds, client.scenes, client.markers)
    client.wait(lambda: all(others), each=client.send_rgbd, every_s=0.3)
    pick = result.segmentations[0]
    np.testing.assert_allclose(xyz(client.centroids[-1].point), xyz(pick.position), atol=1e-3)
    np.testing.assert_allclose(mean_point(client.clouds[-1]), xyz(pick.position), atol=1e-3)
    np.testing.assert_allclose(
        mean_point(client.scenes[-1]),
        BASE_FROM_CAMERA[:3, :3] @ scene_before + BASE_FROM_CAMERA[:3, 3],
        atol=2e-3,
    )
    for received in others[:4]:
        assert {each.header.frame_id for each in received} == {"base"}
        assert {nanoseconds(each.header.stamp) for each in received} <= set(client.sent)
    _, box, name, *_ = client.markers[-1].markers
    assert {each.header.frame_id for each in client.markers[-1].markers} == {"base"}
    assert name.pose.position.z > box.pose.position.z + 0.03  # above it: z points up
    distance = np.linalg.norm(xyz(seen.segmentations[0].position))  # from the camera
    assert name.text == f"the red mug {distance:.2f} m"


def test_a_leading_slash_of_the_target_frame_is_stripped(
    robot: tuple[NodeProcess, RobotClient],
) -> None:
    _, client = robot
    client.broadcaster.send_static(make_transform("/above", f"/{CAMERA}", 1, (0.0, 0.0, 1.0)))
    client.set_parameters(target_frame="/above")
    result = client.wait_for_result(has_position, client.send_rgbd)
    client.broadcaster.send_static(make_transform("base", CAMERA, 1, TRANSLATION, QUATERNION))
    entry = result.segmentations[0]
    assert entry.frame_id == "above"
    np.testing.assert_allclose(xyz(entry.position), (0.243, 0.132, 1.585), atol=0.003)


def test_without_its_transform_a_result_has_no_position_and_says_why(
    robot: tuple[NodeProcess, RobotClient],
) -> None:
    _, client = robot
    client.set_parameters(target_frame="elsewhere", transform_timeout=0.05)
    client.wait_for_result(lambda result: "elsewhere" in result.text, client.send_rgbd)
    client.forget()
    result = client.wait_for_result(lambda result: True, client.send_rgbd)
    assert "2 of 2 found; no position: no transform from" in result.text
    assert "elsewhere" in result.text
    assert [each.has_position for each in result.segmentations] == [False] * len(
        result.segmentations
    )
    assert all(each.area_px and not each.frame_id for each in result.segmentations)
    client.spin(0.5, each=client.send_rgbd)
    # Masks are published, positions are not.
    assert client.masks
    assert client.markers
    assert all(len(each.markers) == 1 for each in client.markers)
    # What belongs to an earlier image may still arrive: topics are not delivered in turn.
    first_ns = nanoseconds(result.header.stamp)
    in_metres = [*client.centroids, *client.poses, *client.scenes]
    assert [each for each in in_metres if nanoseconds(each.header.stamp) >= first_ns] == []
    assert {each.width for each in client.clouds} == {0}  # so that viewers show no old points


def test_a_late_transform_is_waited_for(robot: tuple[NodeProcess, RobotClient]) -> None:
    """The arm moves: its poses before and after the image arrive after the image."""
    _, client = robot
    client.set_parameters(target_frame="world", transform_timeout=5.0)

    def send() -> None:
        client.broadcaster.send(
            make_transform("world", "base", client.send_rgbd() - SECOND, (1, 0, 0))
        )
        client.spin(0.1)
        stamp_ns = client.sent[-1]
        client.broadcaster.send(make_transform("world", "base", stamp_ns + SECOND, (3, 0, 0)))

    result = client.wait_for_result(has_position, send)
    entry = result.segmentations[0]
    assert entry.frame_id == "world"
    client.set_parameters(target_frame="base")
    fixed = client.wait_for_result(
        lambda each: has_position(each) and each.segmentations[0].frame_id == "base",
        client.send_rgbd,
    ).segmentations[0]
    # Some of the images lie between others' transforms, so that only the range is certain.
    shift = xyz(entry.position) - xyz(fixed.position)
    assert 1 <= shift[0] <= 3
    np.testing.assert_allclose(shift[1:], 0, atol=1e-3)


@pytest.mark.threat("N7")
def test_a_transform_from_the_future_leaves_the_positions_right(
    robot: tuple[NodeProcess, RobotClient],
) -> None:
    node, client = robot
    client.set_parameters(target_frame="table", transform_timeout=0.5)

    def send_all() -> None:
        stamp_ns = client.send_rgbd()
        for off_ns in (-SECOND // 10, SECOND // 10):
            client.broadcaster.send(make_transform("table", "base", stamp_ns + off_ns, (1, 0, 0)))

    client.wait_for_result(has_position, send_all)
    for before_end_ns in (SECOND, 0):
        stamp_ns = LAST_NS - before_end_ns
        client.broadcaster.send(make_transform("table", "base", stamp_ns, (1e6, 0, 0)))
    client.spin(0.3)
    began_s = time.monotonic()
    result = client.wait_for_result(has_position, send_all)
    print(f"right position after {time.monotonic() - began_s:.2f} s")
    entry = result.segmentations[0]
    client.set_parameters(target_frame="base")
    fixed = client.wait_for_result(
        lambda each: has_position(each) and each.segmentations[0].frame_id == "base",
        client.send_rgbd,
    ).segmentations[0]
    np.testing.assert_allclose(xyz(entry.position) - xyz(fixed.position), [1, 0, 0], atol=1e-3)
    assert "transform refused: the pose of frame 'base' in 'table' is stamped" in node.log


def test_depth_of_a_separate_camera_is_registered(
    robot: tuple[NodeProcess, RobotClient],
) -> None:
    """Like a depth camera 5 cm in front of the colour camera."""
    _, client = robot
    client.set_parameters(target_frame="")
    near = client.wait_for_result(has_position, client.send_rgbd).segmentations[0]
    client.broadcaster.send_static(
        make_transform("base", CAMERA, 1, TRANSLATION, QUATERNION),
        make_transform(CAMERA, "infra", 1, (0.0, 0.0, 0.05)),
    )
    result = client.wait_for_result(
        lambda each: has_position(each) and "no position" not in each.text,
        lambda: client.send_rgbd("infra"),
    )
    moved = result.segmentations[0]
    assert moved.frame_id == CAMERA
    assert moved.position.z == pytest.approx(near.position.z + 0.05, abs=0.02)


def test_without_tf_the_error_says_what_to_install() -> None:
    parameters = ("-p", "device:=cpu", "-p", "target_frame:=base")
    script = str(Path(__file__).with_name("node_without_tf.py"))
    node = NodeProcess(new_domain(), "--ros-args", *parameters, script=script)
    node.wait_for("cannot activate: parameter target_frame needs TF: tf2_ros is not inst")
    assert "install ros-$ROS_DISTRO-tf2-ros-py" in node.log
    assert node.end() == 0
    assert "Traceback" not in node.log


def test_the_message_of_tf_is_the_one_that_other_nodes_speak(rig: Rig) -> None:
    """Where `make` has built it; by the hash that DDS announces, as on an installed Jazzy."""
    (publisher, *_) = rig.node.get_publishers_info_by_topic("/tf")
    if not hasattr(publisher, "topic_type_hash"):
        pytest.skip("this distribution announces no hashes of types")
    assert publisher.topic_type == "tf2_msgs/msg/TFMessage"
    assert str(publisher.topic_type_hash) == (
        "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087"
    )
