# SPDX-License-Identifier: Apache-2.0
"""The image folder node: images in order, stamped, with calibration."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_harness import NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo, Image

from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_image

CALIBRATION = """
image_width: 32
image_height: 24
camera_name: wrist
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [30.0, 0, 16, 0, 30.0, 12, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [30.0, 0, 16, 0, 0, 30.0, 12, 0, 0, 0, 1, 0]}
"""


def start(domain: int, **parameters: object) -> NodeProcess:
    given = [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
    return NodeProcess(domain, "--ros-args", *given, executable="image_folder")


def test_images_are_published_in_order_with_their_calibration(tmp_path: Path) -> None:
    images = [np.full((24, 32, 3), 60 * index, np.uint8) for index in range(3)]
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    (tmp_path / "1_broken.png").write_bytes(b"no image")
    (tmp_path / "wrist.yaml").write_text(CALIBRATION)
    domain = new_domain()
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    listener = rclpy.create_node("listener", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    images: list[Image] = []
    infos: list[CameraInfo] = []
    listener.create_subscription(Image, "image", images.append, 10)
    listener.create_subscription(CameraInfo, "camera_info", infos.append, 10)
    began_ns = listener.get_clock().now().nanoseconds
    node = start(
        domain,
        path=tmp_path,
        rate=10.0,
        loop=True,
        frame_id="wrist_optical",
        camera_info=tmp_path / "wrist.yaml",
    )
    try:
        deadline = time.monotonic() + 20
        while len(images) < 5 or len(infos) < 5:
            assert time.monotonic() < deadline, node.log
            executor.spin_once(timeout_sec=0.05)
    finally:
        assert node.end() == 0, node.log
        listener.destroy_node()
        context.try_shutdown()
    values = [int(rgb_from_image(message)[0, 0, 0]) for message in images]
    assert values == [[0, 60, 120][(values[0] // 60 + index) % 3] for index in range(len(values))]
    assert "1_broken.png" in node.log
    assert {message.header.frame_id for message in images} == {"wrist_optical"}
    stamps = [nanoseconds(message.header.stamp) for message in images]
    assert began_ns < stamps[0]
    assert stamps == sorted(set(stamps))
    assert (infos[0].k[0], infos[0].d[0], infos[0].width) == (30.0, 0.1, 32)
    assert {nanoseconds(info.header.stamp) for info in infos} & set(stamps)


def logged(tmp_path: Path, calibration: str, size_wh: tuple[int, int] = (32, 24)) -> NodeProcess:
    """Publish one image once, with a calibration."""
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((*size_wh[::-1], 3), np.uint8))
    (tmp_path / "camera.yaml").write_text(calibration)
    node = start(
        new_domain(), path=tmp_path, loop=False, camera_info=tmp_path / "camera.yaml", rate=20.0
    )
    node.process.wait(20)
    node.end()
    assert "Traceback" not in node.log
    return node


@pytest.mark.parametrize(
    ("calibration", "size_wh", "status", "text"),
    [
        (CALIBRATION, (32, 24), 0, "the last image was published"),
        (CALIBRATION, (16, 12), 0, "K is converted from 32 x 24 to 16 x 12"),
        (
            CALIBRATION,
            (24, 24),
            0,
            "image without camera_info: camera_info is for 32 x 24, the image is 24 x 24",
        ),
        (
            CALIBRATION.replace("plumb_bob", "xyz"),
            (32, 24),
            1,
            "camera.yaml: unknown distortion model 'xyz'; accepted: plumb_bob",
        ),
        (
            CALIBRATION.replace("distortion_model: plumb_bob", ""),
            (32, 24),
            1,
            "it has no distortion_model",
        ),
        (
            CALIBRATION.replace("distortion_model: plumb_bob", "camera_model: fisheye").replace(
                "0.1, 0, 0, 0, 0]", "0.1, 0, 0, 0]"
            ),
            (32, 24),
            0,
            "the last image was published",
        ),
    ],
    ids=["fits", "half the size", "another size", "unknown lens", "no model", "camera_model"],
)
def test_a_calibration_is_published_with_images_that_it_is_for(
    calibration: str, size_wh: tuple[int, int], status: int, text: str, tmp_path: Path
) -> None:
    node = logged(tmp_path, calibration, size_wh)
    assert node.process.returncode == status, node.log
    assert text in node.log


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"no image")
    node = start(new_domain(), path=tmp_path, rate=20.0)
    assert node.process.wait(20) == 1
    node.end()
    assert "no image can be read" in node.log


def test_unreadable_input_is_named() -> None:
    node = start(new_domain(), path="/no/such/folder")
    assert node.process.wait(20) == 1
    node.end()
    assert "no such file" in node.log
