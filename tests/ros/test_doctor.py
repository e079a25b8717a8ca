# SPDX-License-Identifier: Apache-2.0
"""``ros2 run mllmseg_ros doctor`` checks the topics of the node."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from ros_harness import START_S, Client, NodeProcess, new_domain
from sensor_msgs.msg import CameraInfo

from mllmseg_ros.ros.messages.image_msgs import image_from_array

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


def test_a_working_robot_and_a_broken_one() -> None:
    client = Client(new_domain())

    def send() -> None:
        header = client.send_image(RGB)
        client.depth.publish(image_from_array(DEPTH, "32FC1", header))
        info = CameraInfo(header=header, height=120, width=160)
        info.k = [100.0, 0.0, 80.0, 0.0, focal_v, 60.0, 0.0, 0.0, 1.0]
        client.info.publish(info)

    try:
        focal_v = 100.0
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

        focal_v = math.nan
        status, lines = run(client, send)
        assert status == 1
        assert lines["camera_info"][0] == "FAIL"
        assert "no focal length" in lines["camera_info"][1]
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
