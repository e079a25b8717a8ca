# SPDX-License-Identifier: Apache-2.0
"""Depth is paired with the image of the same stamp."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from mllmseg_ros.codecs.depth_pairing import DepthPairing
from mllmseg_ros.geometry.transforms import TransformBuffer
from mllmseg_ros.ros.messages.image_msgs import image_from_array, time_message
from mllmseg_ros.ros.node.camera_image import CameraImage, CameraImageReader
from mllmseg_ros.ros.node.metrics import CameraMetrics
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.result import locate_segmentations
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

HEIGHT, WIDTH = 24, 32


def found() -> Segmentation:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[5:15, 5:15] = True
    return build_segmentation("it", Status.FOUND, 1.0, 1.0, mask.astype(np.float32), mask)


class Tree(TransformBuffer):
    """Transforms without topics."""

    def listen(self) -> None:
        """Nothing to subscribe to."""

    def matrix(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> np.ndarray:
        return self.lookup(target, source, stamp_ns)


class Rig:
    def __init__(self) -> None:
        self.tree = Tree()
        self.pairing = DepthPairing()
        self.note, self.target_frame, self.upright_boxes = "", "", False
        self.reader: CameraImageReader | None = None

    def depth(
        self,
        stamp_ns: int,
        metres: float,
        size_hw: tuple[int, int] = (HEIGHT, WIDTH),
        frame_id: str = "camera",
    ) -> None:
        header = Header(stamp=time_message(stamp_ns), frame_id=frame_id)
        pixels = np.full(size_hw, metres, np.float32)
        message = image_from_array(pixels, "32FC1", header)
        self.is_of_another_frame = self.pairing.put_depth(message)

    def info(self, stamp_ns: int, **fields: object) -> None:
        header = Header(stamp=time_message(stamp_ns), frame_id="camera")
        k = [30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
        self.pairing.put_info(CameraInfo(header=header, **{"k": k, **fields}))

    def image(self, stamp_ns: int, tolerance_ns: int = 0) -> CameraImage:
        message = Image(header=Header(stamp=time_message(stamp_ns), frame_id="camera"))
        parameters = SegmenterParameters(
            depth_tolerance=tolerance_ns * 1e-9 + 1e-10,
            target_frame=self.target_frame,
            upright_boxes=self.upright_boxes,
            transform_timeout=0.0,
        )
        self.reader = CameraImageReader(
            rgb_from_image=lambda _: np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            depth_pairing=self.pairing,
            transforms=self.tree,
            parameters=LiveParameters(parameters),
            image_topic="/image",
            depth_topic="/depth/image",
            metrics=CameraMetrics(),
        )
        return self.reader.wrap(message)

    def z_of(self, image: CameraImage) -> float | None:
        instance_set = locate_segmentations(image, [found()])
        self.note, self.instance_set = instance_set.note, instance_set
        (instance,) = instance_set.instances
        position = instance.position
        return None if position is None else float(position.mean[2])


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    for stamp_ns, metres in ((1, 0.5), (2, 0.9)):
        rig.depth(stamp_ns, metres)
        rig.info(stamp_ns)
    return rig


def test_the_depth_of_the_same_stamp_is_used(rig: Rig) -> None:
    for stamp_ns, metres in ((1, 0.5), (2, 0.9)):
        assert rig.z_of(rig.image(stamp_ns)) == pytest.approx(metres)
        assert rig.note == ""


def test_an_image_keeps_its_depth(rig: Rig) -> None:
    first = rig.image(1)
    for stamp_ns in range(3, 40):  # while the first image is being processed
        rig.depth(stamp_ns, 2.0)
        rig.info(stamp_ns)
    assert rig.z_of(first) == pytest.approx(0.5)
    assert rig.z_of(rig.image(1)) is None  # depth that no image has taken is dropped


def test_a_near_stamp_is_used_within_the_tolerance(rig: Rig) -> None:
    assert rig.z_of(rig.image(4, 2)) == pytest.approx(0.9)
    assert rig.z_of(rig.image(5, 2)) is None
    assert rig.note.startswith("no position: no depth image has the stamp of the colour image; ")


def test_the_distance_to_the_nearest_depth_is_reported(rig: Rig) -> None:
    assert rig.z_of(rig.image(35_000_004, 20_000_000)) is None
    assert rig.note.endswith("; the nearest is 0.035 s off")


def test_what_arrives_is_told_lost_images_from_other_stamps(rig: Rig) -> None:
    period_ns = 100_000_000
    for number in range(1, 12):
        if number % 4 == 0:  # of twelve images, those of the fourth and the eighth
            rig.depth(number * period_ns, 0.7)
        rig.image(number * period_ns, 20_000_000)
    newest = rig.image(12 * period_ns, 20_000_000)
    rig.image(13 * period_ns, 20_000_000)  # whose depth may still come
    assert rig.z_of(newest) is None
    reason = "off; 2 of 9 depth images arrive, see Large images in docs/topics.md"
    assert rig.note.endswith(reason)
    others = Rig()
    for number in range(1, 12):
        others.info(number * period_ns)
        others.depth(number * period_ns + 40_000_000, 0.7)
        last = others.image(number * period_ns, 20_000_000)
    assert others.z_of(last) is None
    assert "0.040 s off, and none of the last 10 images has one within 0.02 s" in others.note


def test_depth_of_another_size_is_sampled(rig: Rig) -> None:
    rig.depth(3, 0.7, (HEIGHT // 2, WIDTH // 2))
    rig.info(3)
    assert rig.z_of(rig.image(3)) == pytest.approx(0.7)
    assert rig.note == ""


def test_a_separate_depth_camera_is_used(rig: Rig) -> None:
    """Its field of view is narrower: the target at the left of the image is outside."""
    k = [300.0, 0.0, 15.5, 0.0, 300.0, 11.5, 0.0, 0.0, 1.0]
    rig.pairing.put_depth_info(CameraInfo(k=k))
    assert rig.z_of(rig.image(2)) is None
    rig.pairing.put_depth_info(CameraInfo(k=[30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]))
    assert rig.z_of(rig.image(2)) == pytest.approx(0.9)
    rig.pairing.put_depth_info(CameraInfo())
    assert rig.z_of(rig.image(2)) == pytest.approx(0.9)  # of the same frame and size: aligned
    rig.depth(2, 0.7, (HEIGHT // 2, WIDTH // 2))
    assert rig.z_of(rig.image(2)) is None
    assert rig.note == (
        "no position: depth/camera_info says that the camera is not calibrated (K[0] = 0)"
    )


def test_depth_in_another_frame_is_registered_by_its_transform(rig: Rig) -> None:
    k = [30.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
    assert not rig.is_of_another_frame  # everything was in one frame until here
    rig.depth(3, 0.7, frame_id="infra")
    rig.info(3)
    assert rig.is_of_another_frame
    assert rig.z_of(rig.image(3)) is None
    assert "in frame 'infra', the colour image in 'camera'; publish depth/camera_info" in rig.note
    rig.pairing.put_depth_info(CameraInfo(k=k))
    assert rig.z_of(rig.image(3)) is None
    assert "no transform from 'infra' to 'camera': frame 'camera' is unknown" in rig.note
    rig.tree.put("camera", "infra", 1, (0.0, 0.0, -0.2), (0.0, 0.0, 0.0, 1.0), static=True)
    assert rig.z_of(rig.image(3)) == pytest.approx(0.5)
    assert rig.note == ""


def test_positions_are_in_the_target_frame_or_missing(rig: Rig) -> None:
    assert rig.z_of(rig.image(2)) == pytest.approx(0.9)
    assert rig.instance_set.frame is None
    rig.target_frame = "base"
    assert rig.z_of(rig.image(2)) is None
    assert rig.note.startswith("no position: no transform from 'camera' to 'base': frame 'base'")
    assert rig.instance_set.depth is None  # nothing can be published in a wrong frame
    rig.tree.put("base", "camera", 2, (0.0, 0.0, 1.5), (1.0, 0.0, 0.0, 0.0))  # looks down
    assert rig.z_of(rig.image(2)) == pytest.approx(0.6)
    assert rig.instance_set.frame is not None
    assert rig.instance_set.frame.frame_id == "base"
    assert rig.z_of(rig.image(1)) is None  # there is no transform at another time
    assert "into the past" in rig.note


def test_boxes_stand_upright_in_the_target_frame(rig: Rig) -> None:
    tilt = (0.0, np.sin(1.25), 0.0, np.cos(1.25))
    rig.tree.put("base", "camera", 1, (0.0, 0.0, 1.5), tilt, static=True)
    for target_frame, upright in (("base", False), ("base", True), ("camera", True)):
        rig.target_frame, rig.upright_boxes = target_frame, upright
        assert rig.z_of(rig.image(1)) is not None
        assert (rig.instance_set.frame.frame_id, rig.note) == (target_frame, "")
        axes = rig.instance_set.instances[0].position.box_axes
        assert (axes[2, 2] == pytest.approx(1.0, abs=1e-9)) == upright
    with pytest.raises(ValueError, match="upright_boxes is true and target_frame empty"):
        SegmenterParameters(upright_boxes=True)


def test_missing_depth_is_reported(rig: Rig) -> None:
    assert rig.z_of(rig.image(3)) is None
    assert rig.note.startswith("no position: no depth image has the stamp of the colour image; ")
    rig = Rig()
    rig.depth(3, 0.7)
    assert rig.z_of(rig.image(3)) is None
    assert rig.note == "no position: no camera_info has arrived"


def test_images_whose_depth_got_lost_give_way_a_few_times_in_a_row(rig: Rig) -> None:
    whole = rig.image(1)
    assert rig.reader is not None

    def gives_way(stamp_ns: int) -> bool:
        message = Image(header=Header(stamp=time_message(stamp_ns), frame_id="camera"))
        return rig.reader.wrap(message).gives_way()

    assert not whole.gives_way()
    assert [gives_way(stamp_ns) for stamp_ns in (3, 4, 5)] == [True] * 3
    assert not gives_way(6)  # no depth has these stamps
    assert not gives_way(2)
    assert gives_way(7)  # one has come since


def test_an_image_gives_way_for_a_moment_only(rig: Rig) -> None:
    lossy = rig.image(3)
    deadline = time.monotonic() + 5.0
    assert lossy.gives_way()
    while lossy.gives_way():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert rig.z_of(lossy) is None
    assert "no depth image has the stamp of the colour image" in rig.note


def test_where_no_depth_is_published_no_image_gives_way() -> None:
    assert not Rig().image(1).gives_way()


def test_the_newest_camera_info_serves_where_none_has_the_stamp(rig: Rig) -> None:
    """It is sent once, late, or with a stamp that never changes; the one of the stamp is better."""
    rig.depth(3, 0.7)
    image = rig.image(3)
    assert rig.z_of(image) == pytest.approx(0.7)
    assert rig.note == ""
    k = [15.0, 0.0, 16.0, 0.0, 30.0, 12.0, 0.0, 0.0, 1.0]
    rig.pairing.put_info(CameraInfo(header=Header(frame_id="camera"), k=k))
    assert focal_length(rig, rig.image(3)) == 15.0
    assert focal_length(rig, rig.image(2)) == 30.0
    rig.pairing.put_info(CameraInfo(header=Header(frame_id="other_camera"), k=k))
    assert rig.z_of(rig.image(3)) is None
    assert rig.note == (
        "no position: no camera_info has the stamp of the colour image, and the newest is of frame "
        "'other_camera', the colour image of 'camera'"
    )


def focal_length(rig: Rig, image: CameraImage) -> float:
    assert rig.z_of(image) is not None
    return float(rig.instance_set.depth.intrinsics.K[0, 0])


def test_camera_info_of_another_size_is_converted_or_named(rig: Rig) -> None:
    k = [60.0, 0.0, 32.5, 0.0, 60.0, 24.5, 0.0, 0.0, 1.0]
    rig.depth(3, 0.7)
    rig.info(3, k=k, width=2 * WIDTH, height=2 * HEIGHT, binning_x=2, binning_y=2)
    assert focal_length(rig, rig.image(3)) == 30.0
    rig.info(3, k=k, width=2 * WIDTH, height=WIDTH)
    assert rig.z_of(rig.image(3)) is None
    assert rig.note == (
        "no position: camera_info is for 64 x 32, the image is 32 x 24, which no binning explains"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"k": [1e-300, 0.0, 16.0, 0.0, 1e-300, 12.0, 0.0, 0.0, 1.0]},
        {"d": [1e200] * 5, "distortion_model": "plumb_bob"},
        {"d": [1e30] * 4, "distortion_model": "fisheye"},
    ],
)
def test_impossible_lens_parameters_remove_only_the_position(rig: Rig, fields: dict) -> None:
    rig.info(2, **fields)
    with np.errstate(all="ignore"):
        z = rig.z_of(rig.image(2))
    assert z is None or not np.isfinite(z) or z == pytest.approx(0.9)
    (instance,) = rig.instance_set.instances
    assert instance.segmentation.mask.sum() == 100


def test_without_depth_topics_nothing_is_reported() -> None:
    rig = Rig()
    assert rig.z_of(rig.image(1)) is None
    assert rig.note == ""


def test_wrong_intrinsics_remove_only_the_position(rig: Rig) -> None:
    rig.depth(3, 0.7)
    rig.info(3, distortion_model="plumb_bob", d=[float("nan")] * 5)
    assert rig.z_of(rig.image(3)) is None
    assert "expected 4 or 5 or 8 or 12 or 14 finite numbers" in rig.note
    rig.info(3, distortion_model="xyz", d=[0.1] * 5)
    assert rig.z_of(rig.image(3)) is None
    assert rig.note.startswith("no position: unknown distortion model 'xyz'; accepted: plumb_bob,")
