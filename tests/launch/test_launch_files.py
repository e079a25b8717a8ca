# SPDX-License-Identifier: Apache-2.0
"""The launch files as started on a robot; needs ROS 2's launch."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")
pytest.importorskip("mllmseg_ros.msg", reason="needs the built workspace: make test")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ros"))

from ament_index_python.packages import get_package_share_directory
from launch.actions import SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from mllmseg_ros.msg import SegmentationArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import START_S, Client, new_domain
from tf2_msgs.msg import TFMessage

from launch import LaunchContext
from mllmseg_ros.ros.demo.camera_publisher import FRAME_ID
from mllmseg_ros.ros.support import large_images
from mllmseg_ros.ros.support.camera_presets import PRESETS

LAUNCH = Path(get_package_share_directory("mllmseg_ros")) / "launch"
# Does what `ros2 launch FILE name:=value` does; ros2cli may not be installed.
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(text.split(":=", 1)) for text in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService()
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""
RGB = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)

pytestmark = pytest.mark.ros


def start_launch(name: str, domain: int, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(LAUNCH / name), *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",  # a folder named launch must not hide the package of that name
    )


def test_the_node_on_a_camera_s_topics(tmp_path: Path) -> None:
    parameters = tmp_path / "mine.yaml"
    parameters.write_text("/**:\n  ros__parameters:\n    max_rate: 7.0\n    device: cpu\n")
    domain = new_domain()
    process = start_launch(
        "mllmseg.launch.py", domain, "namespace:=robot", f"params_file:={parameters}",
        "image:=/camera/color", "command:=/say", "cameras:=['']",
        "key_frame_age:=1", "tracking:=False",
    )  # fmt: skip
    client = Client(domain, image="/camera/color", command="/say", namespace="/robot")

    def cameras() -> set[str]:  # of results that have an image: it may come after the command
        return {each.camera for each in client.to("the mug") if each.image_width}

    try:
        client.wait(client.connected, START_S)
        client.command("the mug")
        client.wait(cameras, START_S, each=lambda: client.send_image(RGB))
        assert cameras() == {"/camera/color"}
        values = client.get_parameters("/robot/mllmseg", "max_rate", "device", "autostart", "model")
        assert values == [7.0, "cpu", True, ""]
        values = client.get_parameters("/robot/mllmseg", "cameras", "key_frame_age", "tracking")
        assert values == [[""], 1.0, False]
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "process has finished cleanly" in output
    assert "Traceback" not in output


def remappings(name: str, **arguments: str) -> dict[str, str]:
    """What a launch file remaps, without starting anything."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    source = PythonLaunchDescriptionSource(str(LAUNCH / name))
    found: dict[str, str] = {}
    for entity in source.get_launch_description(context).entities:
        for node in entity.execute(context) or []:
            node._perform_substitutions(context)
            found |= dict(node.expanded_remapping_rules)
    return found


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["mllmseg.launch.py", "console.launch.py"])
def test_a_preset_gives_the_topics_of_a_camera(name: str, preset: str) -> None:
    topics = PRESETS[preset]
    given = remappings(name, preset=preset)
    assert given["image"] == topics["image"]
    assert given["image/compressed"] == f"{topics['image']}/compressed"
    if name == "mllmseg.launch.py":
        assert given["camera_info"] == topics["camera_info"]
        assert given["depth/image"] == topics["depth"]
        assert given["depth/camera_info"] == topics["depth_camera_info"]
    assert given["command"] == "command"
    own = remappings(name, preset=preset, image="/mine")
    assert (own["image"], own["image/compressed"]) == ("/mine", "/mine/compressed")
    assert remappings(name)["image"] == "image"
    with pytest.raises(RuntimeError, match="realsense"):
        remappings(name, preset="kinect")


@pytest.mark.parametrize("name", ["mllmseg.launch.py", "demo.launch.py"])
def test_large_images_have_their_profile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ((variable, profile),) = large_images.environment().items()
    monkeypatch.delenv(variable, raising=False)
    source = PythonLaunchDescriptionSource(str(LAUNCH / name))
    context = LaunchContext()
    for entity in source.get_launch_description(context).entities:
        if isinstance(entity, SetEnvironmentVariable):
            entity.execute(context)
    assert os.environ.pop(variable) == profile
    assert Path(profile).is_file()


def test_a_node_that_died_is_started_again() -> None:
    process = start_launch("mllmseg.launch.py", new_domain(), "device:=cpu", "respawn:=true")
    assert process.stdout is not None
    lines, pids = [], []
    try:
        for line in process.stdout:
            lines.append(line)
            if started := re.search(r"mllmseg_node-1\]: process started with pid \[(\d+)\]", line):
                pids.append(int(started[1]))
            if "listening on" in line:
                if len(pids) == 2:
                    break
                os.kill(pids[0], signal.SIGKILL)
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert len(pids) == 2, "".join(lines)
    assert pids[0] != pids[1]


def test_the_console_logs_its_address() -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp")
    process = start_launch("console.launch.py", new_domain(), "port:=0")
    assert process.stdout is not None
    lines = []
    while "console at http://127.0.0.1:" not in "".join(lines):
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Traceback" not in output


def test_the_demo_ends_by_itself(tmp_path: Path) -> None:
    process = start_launch("demo.launch.py", new_domain(), f"out:={tmp_path}")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    assert "camera at" in output
    assert len(list(tmp_path.glob("*.png"))) >= 5
    assert "Traceback" not in output
    assert output.count("process has finished cleanly") == 3


def test_the_demo_stays_if_it_is_to(tmp_path: Path) -> None:
    """With the last command in force, and the camera's pose above the table in TF."""
    domain = new_domain()
    process = start_launch("demo.launch.py", domain, f"out:={tmp_path}", "live:=true")
    client = Client(domain)
    poses: list = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    client.node.create_subscription(TFMessage, "/tf_static", poses.append, latched)
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        assert any("demo_commander-3]: process has finished cleanly" in line for line in lines)
        client.wait(lambda: poses)
        (pose,) = poses[0].transforms
        assert (pose.header.frame_id, pose.child_frame_id) == ("table", FRAME_ID)
        assert pose.transform.translation.z > 0.2
        n_results = len(client.results)
        client.wait(lambda: len(client.results) > n_results + 2)
        assert client.results[-1].status != SegmentationArray.STATUS_STOPPED
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output


def test_the_speech_node_with_its_arguments() -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    pytest.importorskip("silero_vad", reason="silero-vad is not installed")
    domain = new_domain()
    process = start_launch(
        "speech.launch.py", domain, "namespace:=robot", "wake_word:=robot", "pause:=1"
    )
    client = Client(domain, command="/robot/command")
    try:
        client.wait(lambda: client.node.count_publishers("/robot/transcript"), START_S)
        client.wait(lambda: client.node.count_subscribers("/robot/audio"), START_S)
        assert client.get_parameters("/robot/speech", "wake_word", "pause") == ["robot", 1.0]
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Traceback" not in output
