# SPDX-License-Identifier: Apache-2.0
"""A command in, masks and positions out, between processes over DDS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.msg import Segmentation, SegmentationArray
from ros_harness import stamps
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds, time_message
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from ros_harness import Client

SAMPLE = load_sample(0)
COMMAND = "pick: the red mug; place: the bowl"
TARGETS = ((2,), (5,))  # their instance ids in the sample
ALWAYS_FOUND = {"decide_by": "score", "threshold": 0.0}
NEVER_FOUND = {"decide_by": "score", "threshold": 1.0}
BY_THE_MODEL = {"decide_by": "auto", "threshold": -1.0, "max_rate": 0.0, "max_age": 10.0}


@pytest.fixture(autouse=True)
def defaults(client: Client) -> None:
    assert all(result.successful for result in client.set_parameters(**BY_THE_MODEL))


def send_rgbd(client: Client) -> None:
    """Publish the sample like an aligned RGB-D camera."""
    header = client.header()
    depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
    client.depth.publish(image_from_array(depth_mm, "16UC1", header))
    K = SAMPLE.K.ravel().tolist()
    client.info.publish(CameraInfo(header=header, height=480, width=640, k=K, d=[0.0] * 5))
    client.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
    client.sent.append(nanoseconds(header.stamp))


def pixels(image: Image) -> np.ndarray:
    assert image.encoding == "mono8"
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width)


def entry_masks(result: SegmentationArray) -> list[np.ndarray]:
    size_hw = (result.image_height, result.image_width)
    return [segmentation_from_message(each, size_hw).mask for each in result.segmentations]


def test_command_in_masks_and_position_out(client: Client) -> None:
    client.set_parameters(**ALWAYS_FOUND)
    client.command(COMMAND)
    client.wait(
        lambda: (
            client.centroids and client.clouds and client.overlays and len(client.to(COMMAND)) > 2
        ),
        each=lambda: send_rgbd(client),
    )
    result = client.to(COMMAND)[-1]
    assert result.status == SegmentationArray.STATUS_OK
    assert result.intent == "pick_and_place"
    assert result.camera == "/image"
    assert result.model == "mllmseg-tabletop"
    assert (result.image_height, result.image_width) == (480, 640)
    assert nanoseconds(result.request_stamp) > 0
    assert result.latency.sec == 0 or result.latency.sec < 10
    images = (client.masks, client.labels, client.overlays)
    for received in (*images, client.results, client.centroids, client.clouds):
        assert set(stamps(received)) <= set(client.sent)
        assert {each.header.frame_id for each in received} == {"test_camera_optical_frame"}
    # At least one instance each, the largest first.
    firsts = [each for each in result.segmentations if each.instance_index == 0]
    assert [each.role for each in firsts] == ["pick", "place"]
    assert [each.expression for each in firsts] == ["the red mug", "the bowl"]
    assert [each.expression_index for each in firsts] == [0, 1]
    for each in result.segmentations:
        assert each.status == Segmentation.STATUS_FOUND
        assert each.mask.encoding == "mono8"
        assert (each.mask.width, each.mask.height) == (each.box.width, each.box.height)
        assert each.track_id
        # An image that does not move gets no new inference: the age gives the time of the last one.
        age_ns = nanoseconds(each.inference_age)
        assert each.propagated == (age_ns > 0)
        assert nanoseconds(result.header.stamp) - age_ns in client.sent
    assert len({each.track_id for each in result.segmentations}) == len(result.segmentations)

    # Mask and labels of the same image match the entries.
    stamp_ns = nanoseconds(result.header.stamp)
    masks = entry_masks(result)
    client.wait(lambda: stamp_ns in stamps(client.masks) and stamp_ns in stamps(client.labels))
    mask = pixels(client.masks[stamps(client.masks).index(stamp_ns)])
    labels = pixels(client.labels[stamps(client.labels).index(stamp_ns)])
    expected = np.zeros_like(labels)
    for each, drawn in reversed(list(zip(result.segmentations, masks, strict=True))):
        expected[drawn] = each.label
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(mask, np.where(expected > 0, 255, 0))
    overlay = client.overlays[-1]
    assert (overlay.encoding, overlay.height, overlay.width) == ("rgb8", 480, 640)

    # The centroid is that of the target to pick, in metres and in the camera's frame.
    pick = result.segmentations[0]
    assert pick.has_position
    assert pick.frame_id == "test_camera_optical_frame"
    assert 0.3 < pick.position.z < 2.0
    assert pick.valid_depth_ratio > 0.5
    point = client.centroids[-1].point
    np.testing.assert_allclose(
        [point.x, point.y, point.z],
        [pick.position.x, pick.position.y, pick.position.z],
        atol=1e-3,
    )

    # Pose and markers of the same image match.
    client.wait(lambda: client.poses and client.markers)
    pose = client.poses[-1]
    assert pose.header.frame_id == "test_camera_optical_frame"
    box = pick.box_pose.position
    np.testing.assert_allclose(
        [pose.pose.position.x, pose.pose.position.y, pose.pose.position.z],
        [box.x, box.y, box.z],
        atol=1e-3,
    )
    shown = client.markers[-1].markers
    assert shown[0].action == Marker.DELETEALL
    n_places = sum(each.has_position for each in result.segmentations)
    assert len(shown) == 1 + 2 * n_places

    # The cloud has the points whose mean is the centroid, in the image's colours.
    cloud = client.clouds[-1]
    client.wait(lambda: cloud.header.stamp in [each.header.stamp for each in client.centroids])
    records = np.frombuffer(cloud.data, np.uint8).reshape(cloud.width, cloud.point_step).copy()
    point = client.centroids[stamps(client.centroids).index(stamps([cloud])[0])].point
    mean = records[:, :12].copy().view("<f4").mean(axis=0)
    np.testing.assert_allclose(mean, [point.x, point.y, point.z], atol=1e-3)
    assert cloud.width <= pick.area_px + 50
    shown = {tuple(rgb) for rgb in SAMPLE.rgb.reshape(-1, 3)}
    assert {tuple(bgr[::-1]) for bgr in records[:, 12:15]} <= shown


def test_the_masks_cover_the_targets(client: Client) -> None:
    """The embedded model with its own threshold on a sample image of the package."""
    client.command(COMMAND)
    client.wait(lambda: len(client.to(COMMAND)) > 0, each=lambda: send_rgbd(client))
    result = client.to(COMMAND)[0]
    assert result.status == SegmentationArray.STATUS_OK, result.text
    entries, masks = result.segmentations, entry_masks(result)
    for index, targets in enumerate(TARGETS):
        ours = [k for k, each in enumerate(entries) if each.expression_index == index]
        mask, entry = np.any([masks[k] for k in ours], axis=0), entries[ours[0]]
        truth = np.isin(SAMPLE.instances, targets)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.5
        v, u = np.nonzero(truth)
        z = SAMPLE.depth_m[v, u]
        x = (u - SAMPLE.K[0, 2]) / SAMPLE.K[0, 0] * z
        y = (v - SAMPLE.K[1, 2]) / SAMPLE.K[1, 1] * z
        position = [entry.position.x, entry.position.y, entry.position.z]
        np.testing.assert_allclose(position, [x.mean(), y.mean(), z.mean()], atol=0.03)


def test_no_target_is_a_result_with_an_empty_mask(client: Client) -> None:
    client.set_parameters(**NEVER_FOUND)
    client.command(COMMAND)
    client.wait(lambda: client.masks and client.to(COMMAND), each=lambda: send_rgbd(client))
    client.spin(0.5, each=lambda: send_rgbd(client))
    result = client.to(COMMAND)[-1]
    assert result.status == SegmentationArray.STATUS_NO_TARGET
    assert len(result.segmentations) == 2
    for each in result.segmentations:
        assert each.status == Segmentation.STATUS_NO_TARGET
        assert (each.area_px, each.label, each.box.width, len(each.mask.data)) == (0, 0, 0, 0)
        assert math.isnan(each.centroid_uv[0])
        assert list(each.inside_uv) == [-1, -1]
        assert not each.has_position
        assert 0 <= each.score <= 1
    assert not any(pixels(mask).any() for mask in client.masks)
    assert not any(pixels(labels).any() for labels in client.labels)
    assert not client.centroids
    assert stamps(client.masks)[-1] in client.sent


def test_without_depth_there_is_no_position(client: Client) -> None:
    client.set_parameters(**ALWAYS_FOUND)
    client.command("the red mug")
    client.wait(
        lambda: set(stamps(client.results)) & set(client.sent),
        each=lambda: client.send_image(SAMPLE.rgb),
    )
    entry = client.to("the red mug")[-1].segmentations[0]
    assert entry.status == Segmentation.STATUS_FOUND
    assert entry.area_px > 0
    assert not entry.has_position
    assert entry.frame_id == ""
    client.spin(0.3)
    # There may have been a result on the last test's image first.
    assert not set(stamps(client.centroids)) & set(client.sent)


def send_with_depth(client: Client, late_ns: int) -> None:
    """Publish an image with depth of half its size, stamped later by ``late_ns``."""
    header = client.header()
    K = SAMPLE.K.ravel().tolist()
    small = np.full((240, 320), 800, dtype=np.uint16)
    stamp = time_message(nanoseconds(header.stamp) + late_ns)
    client.depth.publish(
        image_from_array(small, "16UC1", Header(stamp=stamp, frame_id=header.frame_id))
    )
    client.info.publish(CameraInfo(header=header, height=480, width=640, k=K))
    client.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
    client.sent.append(nanoseconds(header.stamp))


def test_depth_of_another_time_gives_no_position_and_the_text_says_so(client: Client) -> None:
    client.set_parameters(**ALWAYS_FOUND)
    client.command("the green bowl")
    client.wait(
        lambda: set(stamps(client.results)) & set(client.sent),
        each=lambda: send_with_depth(client, -100 * 10**9),  # as none of the images sent
    )
    result = client.to("the green bowl")[-1]
    assert not result.segmentations[0].has_position
    assert "no position: no depth image has the stamp of the colour image" in result.text
    client.spin(0.3)
    assert not set(stamps(client.centroids)) & set(client.sent)


def test_an_image_whose_depth_got_lost_gives_way_to_the_next_one(client: Client) -> None:
    client.set_parameters(**ALWAYS_FOUND)
    client.command("the green bowl")
    client.wait(lambda: client.to("the green bowl"), each=lambda: send_rgbd(client))
    for command in ("the red mug", "the blue mug", "the blue can"):
        client.send_image(SAMPLE.rgb)
        client.spin(0.1)
        client.command(command)
        client.wait(lambda: client.to(command), each=lambda: send_rgbd(client))  # noqa: B023
        assert all(each.has_position for each in client.to(command)[0].segmentations), command


def test_depth_of_another_size_and_slightly_later_is_used(client: Client) -> None:
    client.set_parameters(**ALWAYS_FOUND)
    client.command("the green bowl")
    client.wait(
        lambda: set(stamps(client.centroids)) & set(client.sent),
        each=lambda: send_with_depth(client, 5_000_000),
    )
    (entry, *_) = client.to("the green bowl")[-1].segmentations
    assert entry.has_position
    assert abs(entry.position.z - 0.8) < 1e-6


def test_an_absent_target_has_an_empty_cloud(client: Client) -> None:
    client.set_parameters(**NEVER_FOUND)
    client.command("the green bowl")
    client.wait(lambda: client.clouds, each=lambda: send_rgbd(client))
    assert {cloud.width for cloud in client.clouds} == {0}
    assert set(stamps(client.clouds)) <= set(client.sent)


def test_a_result_for_every_image_until_stop(client: Client) -> None:
    client.command("the green bowl")
    client.wait(
        lambda: len(set(stamps(client.to("the green bowl")))) >= 5, each=lambda: send_rgbd(client)
    )
    results = client.to("the green bowl")
    assert len({result.request_id for result in results}) == 1
    # A second one on an image is of a newer inference.
    inferred_ns = {
        nanoseconds(result.header.stamp) - nanoseconds(result.segmentations[0].inference_age)
        for result in results
    }
    assert len(results) <= len(set(stamps(results))) + len(inferred_ns) - 1
    client.command("stop")
    client.wait(lambda: client.to("stop"))
    client.spin(0.3)
    stopped = client.to("stop")[0]
    assert stopped.status == SegmentationArray.STATUS_STOPPED
    assert stopped.intent == "stop"
    assert (stopped.header.stamp.sec, stopped.header.frame_id) == (0, "")
    # Nothing of it stays in a viewer.
    client.wait(lambda: client.clouds and client.clouds[-1].width == 0)
    client.wait(lambda: bytes(client.overlays[-1].data) == SAMPLE.rgb.tobytes(), each=lambda: None)
    assert client.clouds[-1].header.stamp == client.overlays[-1].header.stamp
    assert client.masks[-1].header.frame_id == "test_camera_optical_frame"
    assert not pixels(client.masks[-1]).any()
    n_results, n_masks = len(client.results), len(client.masks)
    client.spin(1.0, each=lambda: send_rgbd(client))
    assert (len(client.results), len(client.masks)) == (n_results, n_masks)


def test_max_rate_holds(client: Client) -> None:
    client.set_parameters(max_rate=1.0)
    client.command("the green bowl")
    client.wait(lambda: client.to("the green bowl"), each=lambda: send_rgbd(client))
    client.spin(2.5, each=lambda: send_rgbd(client))
    assert 2 <= len(client.to("the green bowl")) <= 4


def test_a_fresh_image_is_used_for_a_later_command(client: Client) -> None:
    client.set_parameters(max_age=60.0)
    header = client.send_image(SAMPLE.rgb)
    client.spin(0.5)
    client.command("the green bowl")
    client.wait(lambda: client.to("the green bowl"))
    client.command("the red mug")
    client.wait(lambda: client.to("the red mug"))
    assert set(stamps(client.results)) == {nanoseconds(header.stamp)}


def test_every_command_of_a_burst_gets_exactly_one_first_result(client: Client) -> None:
    commands = [f"the green bowl number {index}" for index in range(10)]  # the depth of the topic
    send_rgbd(client)
    for command in commands:
        client.command(command)
    last = commands[-1]
    client.wait(lambda: len(client.to(last)) > 2, each=lambda: send_rgbd(client))
    with_result = (
        SegmentationArray.STATUS_OK,
        SegmentationArray.STATUS_NO_TARGET,
        SegmentationArray.STATUS_LOW_CONFIDENCE,
    )
    ids = set()
    for command in commands[:-1]:
        results = client.to(command)
        ids |= {result.request_id for result in results}
        assert len({result.request_id for result in results}) == 1
        superseded = [a for a in results if a.status == SegmentationArray.STATUS_SUPERSEDED]
        assert len(superseded) == (0 if any(a.status in with_result for a in results) else 1)
        assert all(stamp == 0 for stamp in stamps(superseded))
    ids |= {result.request_id for result in client.to(last)}
    assert len(ids) == len(commands)
    assert all(result.status in with_result for result in client.to(last))


def test_memory_does_not_grow_when_images_arrive_too_fast(client: Client, node) -> None:  # type: ignore[no-untyped-def]
    def resident_mb() -> float:
        with open(f"/proc/{node.process.pid}/statm") as file:
            return int(file.read().split()[1]) * 4096 / 1e6

    big = np.zeros((1080, 1920, 3), dtype=np.uint8)

    def flood(n_images: int) -> None:
        for _ in range(n_images):
            client.send_image(big)
            client.executor.spin_once(timeout_sec=0.01)
        client.spin(1.0)

    client.command("the green bowl")
    flood(40)  # buffers for images of this size
    n_results, before_mb = len(client.to("the green bowl")), resident_mb()
    flood(80)
    assert len(client.to("the green bowl")) > n_results
    # 80 such images are 498 MB.
    assert resident_mb() - before_mb < 120
