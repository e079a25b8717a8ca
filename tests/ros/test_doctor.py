# SPDX-License-Identifier: Apache-2.0
"""``ros2 run mllmseg_ros doctor`` checks the topics of the node."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

import rclpy
from ament_index_python.packages import get_package_prefix
from ros_harness import START_S, Client, NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.doctor.machine import Finding
from mllmseg_ros.ros.messages.image_msgs import image_from_array, time_message
from mllmseg_ros.ros.support import large_images
from mllmseg_ros.ros.tools import doctor

RGB = np.zeros((120, 160, 3), np.uint8)
DEPTH = np.ones((120, 160), np.float32)


def run(client: Client, each=None) -> tuple[int, dict[str, list[str]]]:
    """Return the exit status and the lines, as words by subject."""
    doctor = NodeProcess(
        client.context.get_domain_id(), "--device", "cpu", "--seconds", "6", executable="doctor"
    )
    client.wait(lambda: doctor.process.poll() is not None, START_S, each)
    status = doctor.end()
    assert "Traceback" not in doctor.log
    return status, {line[5:21].strip(): [line[:5].strip(), line[21:]] for line in doctor.lines}


@pytest.mark.parametrize(
    ("package", "variable"),
    [
        ("fastrtps", "FASTRTPS_DEFAULT_PROFILES_FILE"),  # Fast DDS 2: Humble, Jazzy
        ("fastdds", "FASTDDS_DEFAULT_PROFILES_FILE"),  # Fast DDS 3
    ],
)
def test_the_profile_is_set_under_the_name_that_fast_dds_reads(
    package: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "share" / package).mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{get_package_prefix('mllmseg_ros')}:{tmp_path}")
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    ((name, profile),) = large_images.environment().items()
    assert name == variable
    assert Path(profile).is_file()
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")  # a profile would override it
    assert large_images.environment() == {}
    monkeypatch.setenv(variable, "/mine.xml")
    assert large_images.environment() == {variable: "/mine.xml"}


@pytest.mark.slow
@pytest.mark.skipif("MLLMSEG_SLOW" not in os.environ, reason="takes half a minute: make slow")
def test_a_working_robot_and_a_broken_one() -> None:
    client = Client(new_domain())

    def send() -> None:
        header = client.send_image(RGB)
        client.depth.publish(image_from_array(DEPTH, "32FC1", header))
        info = CameraInfo(header=header, height=120, width=160)
        info.k = [focal_u, 0.0, 80.0, 0.0, 100.0, 60.0, 0.0, 0.0, 1.0]
        client.info.publish(info)

    try:
        focal_u = 100.0
        status, lines = run(client, send)
        assert {name: each for name, each in lines.items() if each[0] == "FAIL"} == {}
        assert status == 0
        assert {verdict for verdict, _ in lines.values()} <= {"OK", "WARN"}
        assert lines["middleware"][1].startswith("rmw_")
        verdict, text = lines["image"]
        assert verdict == "OK"
        assert "160 x 120 rgb8, frame 'test_camera_optical_frame'" in text
        rate = float(text.split(": ")[1].split(" Hz")[0])
        assert 2 < rate < 12  # sent at 10 Hz
        assert lines["camera_info"][0] == "OK"
        assert "160 x 120 32FC1" in lines["depth"][1]
        assert lines["large images"][0] == "OK"  # the tests set the profile
        assert lines["TF"][0] == "WARN"
        assert "/tf" in lines["TF"][1]

        focal_u = math.nan
        status, lines = run(client, send)
        assert status == 1
        assert lines["camera_info"][0] == "FAIL"
        assert (
            "/camera_info: camera_info says that the camera is not calibrated (K[0] = nan)"
            in (lines["camera_info"][1])
        )
        assert lines["positions"][0] == "FAIL"
    finally:
        client.close()


def test_an_image_under_another_name_is_found() -> None:
    client = Client(new_domain(), image="camera/color/image_raw")
    client.node.destroy_publisher(client.compressed)
    try:
        status, lines = run(client)
        assert status == 1
        assert lines["image"][0] == "FAIL"
        assert "nobody publishes /image" in lines["image"][1]
        assert "/camera/color/image_raw: -r image:=" in lines["image"][1]
    finally:
        client.close()


@pytest.fixture(scope="module")
def watched() -> Iterator[Client]:
    """A camera in the domain of this process, so that the checks of topics can be called."""
    domain = new_domain()
    rclpy.init(domain_id=domain)
    client = Client(domain)
    yield client
    client.close()
    rclpy.try_shutdown()


def judge(
    client: Client,
    *,
    encoding: str = "rgb8",
    depth: np.ndarray = DEPTH,
    depth_encoding: str = "32FC1",
    depth_frame: str = "",
    info_ns: int | None = None,
    **info: Any,
) -> dict[str, Finding]:
    """Findings on a camera that is odd in one way."""
    fields = {"width": 160, "height": 120, "k": [100.0, 0.0, 80.0, 0.0, 100.0, 60.0, 0.0, 0.0, 1.0]}

    def send() -> None:
        header = client.header()
        image = image_from_array(RGB, encoding, header)
        if encoding == "nv12":
            image = Image(header=header, height=120, width=160, step=160, encoding=encoding)
            image.data = bytes(160 * 180)
        client.image.publish(image)
        of_depth = Header(stamp=header.stamp, frame_id=depth_frame or header.frame_id)
        client.depth.publish(image_from_array(depth, depth_encoding, of_depth))
        message = CameraInfo(header=header, **{**fields, **info})
        if info_ns is not None:
            message.header = Header(stamp=time_message(info_ns), frame_id=header.frame_id)
        client.info.publish(message)

    def watch() -> dict[str, Finding]:
        findings: list[Finding] = []
        thread = threading.Thread(target=lambda: findings.extend(doctor._check_topics(1.5)))
        thread.start()
        client.wait(lambda: not thread.is_alive(), START_S, send)
        return {each.subject: each for each in findings}

    found = watch()
    # On a busy machine nodes find each other late.
    while any(each in found[s].text for s in TOPICS for each in NOT_FOUND):
        found = watch()
    return found


TOPICS = ("image", "camera_info", "depth")
NOT_FOUND = ("nobody publishes", "nothing arrives", "no messages")
LENS = [0.01, 0.0, 0.0, 0.0]
TWICE = [200.0, 0.0, 160.5, 0.0, 200.0, 120.5, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        (
            {},
            {
                "camera_info": ("OK", "/camera_info"),
                "positions": ("OK", "100 % of the image's pixels have a depth"),
            },
        ),
        (
            {"d": LENS, "distortion_model": "xyz", "encoding": "8UC3"},
            {
                "image": ("OK", "160 x 120 8UC3"),
                "camera_info": ("FAIL", "unknown distortion model 'xyz'"),
                "positions": ("FAIL", "no position: unknown distortion model 'xyz'"),
            },
        ),
        (
            {
                "d": LENS,
                "distortion_model": "fisheye",
                "encoding": "xyz",
                "depth": DEPTH.astype(np.float64),
                "depth_encoding": "64FC1",
            },
            {
                "image": ("FAIL", "image encoding xyz; accepted: rgb8, bgr8"),
                "camera_info": ("WARN", "distortion model 'fisheye' is taken for equidistant"),
                "depth": ("FAIL", "depth encoding 64FC1; accepted: 16UC1, mono16, 32FC1"),
            },
        ),
        (
            {"width": 320, "encoding": "nv12"},
            {
                "image": ("OK", "160 x 120 nv12"),
                "camera_info": ("FAIL", "camera_info is for 320 x 120, the image is 160 x 120"),
            },
        ),
        (
            {
                "width": 320,
                "height": 240,
                "k": TWICE,
                "binning_x": 2,
                "binning_y": 2,
                "depth": 700 * DEPTH,
            },
            {
                "camera_info": ("WARN", "converted from 320 x 240, binning 2 x 2 to 160 x 120"),
                "depth": ("FAIL", "32FC1 depth with a median of 700 can only be millimetres"),
            },
        ),
        (
            {
                "info_ns": 10**9,
                "depth": np.full((120, 160), 65535, np.uint16),
                "depth_encoding": "16UC1",
            },
            {
                "camera_info": ("WARN", "none has the stamp of the image: the newest is used"),
                "positions": ("FAIL", "no pixel of the image has a depth"),
            },
        ),
        (
            {"depth_frame": "infra"},
            {"positions": ("FAIL", "no position: the depth image is in frame 'infra'")},
        ),
    ],
)
def test_odd_cameras_are_judged_as_the_node_does(
    odd: dict[str, Any], expected: dict[str, tuple[str, str]], watched: Client
) -> None:
    findings = judge(watched, **odd)
    for subject, (verdict, text) in expected.items():
        assert findings[subject].verdict.value == verdict, findings[subject]
        assert text in findings[subject].text


def test_a_topic_of_another_type_is_named(watched: Client) -> None:
    """As with ``-r image:=/camera/image/compressed``."""
    watched.node.create_publisher(CompressedImage, "image/raw/compressed", 1)
    node = rclpy.create_node("doctor_alone")
    try:
        topic = doctor._Topic(node, Image, "image/raw/compressed")
        watched.wait(lambda: topic.publishers, START_S)
        wrong = (
            "/image/raw/compressed is sensor_msgs/msg/CompressedImage from /client, expected "
            "sensor_msgs/msg/Image; remap to /image/raw, the node adds /compressed"
        )
        watched.wait(lambda: topic.wrong_types == wrong, START_S)
        assert doctor._explain_silence(node, topic) == wrong
        assert doctor._check_depth(topic).text == f"{wrong}; results have no position"
    finally:
        node.destroy_node()
