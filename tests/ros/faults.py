# SPDX-License-Identifier: Apache-2.0
"""Faults of drivers, networks and people, and the check that the node works after each.

``test_faults.py`` runs each briefly, ``benchmarks/soak.py`` at length.
"""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import failing_model
import goal_sender
import numpy as np
from broadcaster import Broadcaster, make_transform
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.srv import Segment
from rclpy.publisher import Publisher
from ros_harness import START_S, Client, NodeProcess, new_domain
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from mllmseg_ros.ros.messages.image_msgs import image_from_array, nanoseconds, time_message
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.sim.samples import load_sample

SAMPLE = load_sample(0)
COMMAND, TARGET = "the red mug", 2  # and its instance id in the sample
SECOND = 1_000_000_000
YEARS_NS = 10 * 365 * 86_400 * SECOND  # until a stamp overflows it is less than twelve
GOOD_RESULT_S = 60.0  # generous for a busy machine; latency is not tested here


class Robot:
    """A node, with an RGB-D camera on an arm and a person who sends commands."""

    def __init__(self) -> None:
        self.domain = new_domain()
        self.node = NodeProcess(
            self.domain, "--ros-args", "-p", "device:=cpu", script=failing_model.__file__
        )
        self.node.wait_for("listening on")
        self.client = Client(self.domain)
        node = self.client.node
        self.broadcaster = Broadcaster(node)
        self.depth_compressed = node.create_publisher(
            CompressedImage, "depth/image/compressedDepth", 5
        )
        self.depth_info = node.create_publisher(CameraInfo, "depth/camera_info", 5)
        self._change = node.create_client(ChangeState, "mllmseg/change_state")
        self._segment = node.create_client(Segment, "segment")
        self._kill = node.create_publisher(String, "kill", 10)
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._n_commands = 0
        self.client.wait(self.client.connected, START_S)

    def close(self) -> None:
        self.client.close()
        assert self.node.end() == 0, self.node.log
        assert "Traceback" not in self.node.log

    @property
    def n_threads(self) -> int:
        return len(os.listdir(f"/proc/{self.node.process.pid}/task"))

    @property
    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.node.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def header(self, off_ns: int = 0) -> Header:
        header = self.client.header()
        header.stamp = time_message(max(0, nanoseconds(header.stamp) + off_ns))
        return header

    def send_depth(self, header: Header) -> None:
        depth_mm = np.round(SAMPLE.depth_m * 1000).astype(np.uint16)
        self.client.depth.publish(image_from_array(depth_mm, "16UC1", header))

    def send_info(self, header: Header, **fields: object) -> None:
        good = {"height": 480, "width": 640, "k": SAMPLE.K.ravel().tolist(), "d": [0.0] * 5}
        self.client.info.publish(CameraInfo(header=header, **{**good, **fields}))

    def send_color(self, header: Header) -> None:
        self.client.image.publish(image_from_array(SAMPLE.rgb, "rgb8", header))
        self.client.sent.append(nanoseconds(header.stamp))

    def send(self) -> None:
        """Publish the messages of a working camera."""
        header = self.header()
        self.send_depth(header)
        self.send_info(header)
        self.send_color(header)

    def wait_for_result(
        self,
        condition: Callable[[SegmentationArray], object],
        command: str = COMMAND,
        send: Callable[[], object] | None = None,
    ) -> None:
        """Send a command and wait for a result that meets a condition."""
        client = self.client
        client.results.clear()
        client.command(command)
        client.wait(
            lambda: any(condition(each) for each in client.to(command)),
            GOOD_RESULT_S,
            each=send or self.send,
        )

    def change(self, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        self.client.wait(future.done, START_S)
        assert future.result().success, self.node.log

    def call_segment(self, send: Callable[[], object] | None = None) -> SegmentationArray:
        """Call the service, and return its answer."""
        future = self._segment.call_async(Segment.Request(expressions=[COMMAND]))
        self.client.wait(future.done, GOOD_RESULT_S, each=send)
        answer: SegmentationArray = future.result().answer
        return answer

    def kill(self, what: str) -> None:
        """Raise in a thread of the node, or in a callback."""
        self._kill.publish(String(data=what))
        self.client.spin(0.1)

    def set_clock(self, seconds: int) -> None:
        """Publish a time that is paused."""
        self._clock.publish(Clock(clock=time_message(seconds * SECOND)))

    def set_parameters(self, **values: object) -> None:
        """Set parameters, all of which must be accepted."""
        results = self.client.set_parameters(**values)
        assert all(result.successful for result in results), results

    def check_good(self) -> None:
        """Send a command and wait for a correct result with a position on a new image."""
        assert self.node.process.poll() is None, f"the node ended:\n{self.node.log[-4000:]}"
        client = self.client
        client.sent.clear()
        self._n_commands += 1
        command = f"{' ' * (self._n_commands % 7)}{COMMAND}"  # unlike earlier ones
        client.results.clear()

        def has_correct_result() -> bool:
            return any(is_correct(each) for each in client.to(command) if self._is_new(each))

        due_s = 0.0

        def send_command_and_image() -> None:
            nonlocal due_s
            if time.monotonic() >= due_s:
                client.command(command)
                due_s = time.monotonic() + 5.0
            self.send()

        client.wait(has_correct_result, GOOD_RESULT_S, each=send_command_and_image)

    def _is_new(self, result: SegmentationArray) -> bool:
        return nanoseconds(result.header.stamp) in self.client.sent


def is_correct(result: SegmentationArray) -> bool:
    """Return whether a result has the sample's red mug at its position."""
    if result.status != SegmentationArray.STATUS_OK or result.image_width != 640:
        return False
    masks = [
        segmentation_from_message(each, (result.image_height, result.image_width)).mask
        for each in result.segmentations
    ]
    mask, truth = np.any(masks, axis=0), SAMPLE.instances == TARGET
    iou = (mask & truth).sum() / (mask | truth).sum()
    entry = result.segmentations[0]
    z = float(SAMPLE.depth_m[truth].mean())
    return bool(iou > 0.6 and entry.has_position and abs(entry.position.z - z) < 0.05)


def camera_stops(robot: Robot, scale: int) -> None:
    """No image for a while: reported once; results continue when the camera returns."""
    client = robot.client
    client.command(COMMAND)
    stale = SegmentationArray.STATUS_STALE_INPUT
    client.wait(lambda: any(each.status == stale for each in client.to(COMMAND)), GOOD_RESULT_S)


def stamps_are_wrong(robot: Robot, scale: int) -> None:
    """Zero, backwards, a minute and a century ahead."""
    for off_ns in (-(2**62), -60 * SECOND, 60 * SECOND, -SECOND, 3600 * SECOND):
        robot.send_color(robot.header(off_ns))
        robot.client.spin(0.05)
    robot.send_color(Header(frame_id="camera"))
    robot.send_color(Header(stamp=time_message(2**31 * SECOND - 1), frame_id="camera"))
    robot.client.spin(0.1)


def sizes_and_encodings_change(robot: Robot, scale: int) -> None:
    """Another size and encoding with every image."""
    rng = np.random.default_rng(scale)
    robot.client.command(COMMAND)
    for encoding, channels in (("bgr8", 3), ("rgba8", 4), ("mono8", 1), ("bayer_rggb8", 1)):
        height, width = 2 * rng.integers(8, 400, 2)
        shape = (height, width, channels) if channels > 1 else (height, width)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        robot.client.image.publish(image_from_array(pixels, encoding, robot.header()))
        robot.client.spin(0.15)


def color_without_depth(robot: Robot, scale: int) -> None:
    """The depth stream ends."""
    robot.client.command(COMMAND)
    for _ in range(5):
        robot.send_color(robot.header())
        robot.client.spin(0.1)


def depth_without_color(robot: Robot, scale: int) -> None:
    """The colour stream ends."""
    robot.client.command(COMMAND)
    for _ in range(20):
        header = robot.header()
        robot.send_depth(header)
        robot.send_info(header)
        robot.client.spin(0.02)


def fields_are_absurd(robot: Robot, scale: int) -> None:
    """Sizes that do not match the data, truncated data, a claim of an enormous image."""
    client, data = robot.client, array.array("B", bytes(640 * 480 * 3))
    for height, width, step, n_bytes in (
        (480, 640, 1920, 100),
        (480, 640, 0, 640 * 480 * 3),
        (2**32 - 1, 2**32 - 1, 2**32 - 1, 8),
        (0, 0, 0, 0),
        (480, 640, 1919, 640 * 480 * 3),
    ):
        for publisher, encoding in ((client.image, "rgb8"), (client.depth, "32FC1")):
            image = Image(height=height, width=width, step=step, encoding=encoding)
            image.header, image.data = robot.header(), data[:n_bytes]
            publisher.publish(image)
        client.spin(0.05)
    png = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    huge = png[:16] + (60_000).to_bytes(4, "big") * 2 + png[24:]
    for bad in (b"", b"\xff\xd8\xff", png[:20], huge):
        for publisher in (client.compressed, robot.depth_compressed):
            message = CompressedImage(header=robot.header(), format="png")
            message.data = array.array("B", bad)
            publisher.publish(message)
        client.spin(0.05)


def intrinsics_are_wrong(robot: Robot, scale: int) -> None:
    """No focal length, NaN, distortion of wrong length and of an unknown model."""
    robot.client.command(COMMAND)
    for fields in (
        {"k": [0.0] * 9},
        {"k": [float("nan")] * 9},
        {"d": [0.1] * 3},
        {"d": [0.1] * 5, "distortion_model": "whatever"},
        {"k": [-1.0, 0.0, 0.0, 0.0, 1e300, 0.0, 0.0, 0.0, 0.0]},
        {"d": [float("inf")] * 5},
    ):
        header = robot.header()
        robot.send_depth(header)
        robot.send_info(header, **fields)
        robot.send_color(header)
        robot.client.spin(0.15)


def transforms_are_missing(robot: Robot, scale: int) -> None:
    """The target frame is not in TF."""
    robot.client.set_parameters(target_frame="elsewhere", transform_timeout=0.05)
    robot.wait_for_result(lambda result: _has_no_position(result, "no transform from"))
    _positions_in_the_camera_again(robot)


def transforms_are_disconnected(robot: Robot, scale: int) -> None:
    """The arm is connected to the world, the camera is not."""
    robot.client.set_parameters(target_frame="world", transform_timeout=0.05)

    def send() -> None:
        robot.broadcaster.send(make_transform("world", "arm", robot.header().stamp.sec * SECOND))
        robot.send()

    robot.wait_for_result(lambda result: _has_no_position(result, "no transform from"), send=send)
    _positions_in_the_camera_again(robot)


def transforms_are_late(robot: Robot, scale: int) -> None:
    """The transform arrives after its image; the latest one must not be used instead."""
    client = robot.client
    client.set_parameters(target_frame="base", transform_timeout=5.0)

    def send() -> None:
        robot.send()
        stamp_ns = client.sent[-1]
        frame = "test_camera_optical_frame"
        robot.broadcaster.send(make_transform("base", frame, stamp_ns - SECOND // 100, (0, 0, 1)))
        client.spin(0.2)
        robot.broadcaster.send(make_transform("base", frame, stamp_ns + SECOND // 100, (0, 0, 1)))

    def placed(result: SegmentationArray) -> bool:
        entries = result.segmentations
        if not entries or not entries[0].has_position or entries[0].frame_id != "base":
            return False
        z = float(SAMPLE.depth_m[SAMPLE.instances == TARGET].mean())
        return bool(abs(entries[0].position.z - z - 1) < 0.05)

    robot.wait_for_result(placed, send=send)
    _positions_in_the_camera_again(robot)


def _has_no_position(result: SegmentationArray, reason: str) -> bool:
    return reason in result.text and not any(each.has_position for each in result.segmentations)


def _positions_in_the_camera_again(robot: Robot) -> None:
    results = robot.client.set_parameters(target_frame="", transform_timeout=0.2)
    assert all(result.successful for result in results)


def the_model_raises(robot: Robot, scale: int) -> None:
    """Like a failed CUDA kernel: the command gets an error with the reason."""
    _fails(robot, failing_model.RAISES, "illegal memory access")


def the_model_runs_out_of_memory(robot: Robot, scale: int) -> None:
    """During an inference on a shared GPU: the error says what would fit."""
    _fails(robot, failing_model.OUT_OF_MEMORY, "memory ran out")


def the_model_gives_nan(robot: Robot, scale: int) -> None:
    """NaN is not taken for "not there"."""
    _fails(robot, failing_model.NOT_A_NUMBER, "not finite")


def _fails(robot: Robot, command: str, reason: str) -> None:
    error = SegmentationArray.STATUS_ERROR
    robot.wait_for_result(lambda each: each.status == error and reason in each.text, command)


def thousand_commands(robot: Robot, scale: int) -> None:
    """Like a script in a loop, within about a second."""
    for index in range(1000):
        robot.client.command(f"the mug, take {index}" if index % 3 else "stop")
        if index % 20 == 0:
            robot.client.executor.spin_once(timeout_sec=0)
            time.sleep(0.02)
    robot.client.spin(0.5, each=robot.send)


def parameters_storm(robot: Robot, scale: int) -> None:
    """Good and bad values, as fast as they are accepted."""
    for index in range(25 * scale):
        robot.client.set_parameters(threshold=index % 3 / 2, max_rate=-float(index % 2))
        robot.client.set_parameters(prompt_mode=("single", "joint", "both")[index % 3])
        robot.client.set_parameters(max_age="soon", tracking=bool(index % 2))
    back = {"threshold": -1.0, "prompt": "single", "max_rate": 0.0, "max_age": 1.0}
    results = robot.client.set_parameters(**back, tracking=True, decide_by="auto")
    assert all(result.successful for result in results)


def deactivated_and_activated(robot: Robot, scale: int) -> None:
    """Repeated lifecycle transitions while images and commands arrive."""
    for _ in range(10 * scale):
        robot.client.command(COMMAND)
        robot.send()
        robot.change(Transition.TRANSITION_DEACTIVATE)
        robot.send()
        robot.change(Transition.TRANSITION_ACTIVATE)


def parameters_are_hostile(robot: Robot, scale: int) -> None:
    """Missing folders, names of any length, configurations that nest without end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "loop").symlink_to("loop")
        (folder / "deep").mkdir()
        (folder / "deep" / "config.json").write_text("[" * 100_000)
        (folder / "fifo").mkdir()
        os.mkfifo(folder / "fifo" / "config.json")
        for model in ("~nosuch/x", "x" * 3000, "/dev/null", *map(str, folder.iterdir())):
            robot.client.set_parameters(model=model)
            robot.client.spin(0.1, each=robot.send)
        robot.set_parameters(model="")


def threads_die(robot: Robot, scale: int) -> None:
    """Each thread of the active node, and a callback, by what is no Exception."""
    for name in ("inference", "tracking", "diagnostics", "callback"):
        robot.kill(name)
        robot.client.spin(0.3, each=robot.send)


def a_client_of_goals_is_killed(robot: Robot, scale: int) -> None:
    """It takes every slot for goals; calls are answered all the same."""
    sender = subprocess.Popen(
        [sys.executable, goal_sender.__file__, "16"],
        env={**os.environ, "ROS_DOMAIN_ID": str(robot.domain)},
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline().strip() == "goals are accepted"
    finally:
        sender.kill()
        sender.wait()
    assert is_correct(robot.call_segment(robot.send))


def the_clock_stands_still(robot: Robot, scale: int) -> None:
    """Simulated time that is paused: a call ends by real time."""
    robot.set_parameters(use_sim_time=True, request_timeout=1.0)
    robot.set_clock(1000)
    stale = SegmentationArray.STATUS_STALE_INPUT
    assert robot.call_segment(lambda: robot.set_clock(1000)).status == stale
    robot.set_parameters(use_sim_time=False, request_timeout=60.0)


def a_transform_is_years_ahead(robot: Robot, scale: int) -> None:
    """One pose of the camera with a wrong clock: the next ones count."""
    robot.set_parameters(target_frame="base", transform_timeout=1.0)
    frame = "test_camera_optical_frame"
    z = float(SAMPLE.depth_m[SAMPLE.instances == TARGET].mean())

    def send() -> None:
        robot.send()
        stamp_ns = robot.client.sent[-1]
        for off_ns, z_m in ((YEARS_NS, 9), (-SECOND // 100, 1), (SECOND // 100, 1)):
            robot.broadcaster.send(make_transform("base", frame, stamp_ns + off_ns, (0, 0, z_m)))

    def placed(result: SegmentationArray) -> bool:
        entries = result.segmentations
        if not entries or not entries[0].has_position or entries[0].frame_id != "base":
            return False
        return bool(abs(entries[0].position.z - z - 1) < 0.05)

    robot.wait_for_result(placed, send=send)
    _positions_in_the_camera_again(robot)


_STOPPED_SUBSCRIBER = """
import rclpy, time
from rclpy.qos import QoSProfile, HistoryPolicy
from sensor_msgs.msg import Image
from mllmseg_ros.msg import SegmentationArray
rclpy.init()
node = rclpy.create_node("deaf")
every = QoSProfile(history=HistoryPolicy.KEEP_ALL)
node.create_subscription(SegmentationArray, "segmentations", print, every)
node.create_subscription(Image, "overlay", print, every)
print("here", flush=True)
time.sleep(600)
"""


def a_consumer_never_reads(robot: Robot, scale: int) -> None:
    """A reliable subscriber of everything, stopped as by a debugger."""
    deaf = subprocess.Popen(
        [sys.executable, "-c", _STOPPED_SUBSCRIBER],
        env={**os.environ, "ROS_DOMAIN_ID": str(robot.domain)},
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",  # no source folder hides the messages there
    )
    try:
        assert deaf.stdout is not None
        assert deaf.stdout.readline().strip() == "here"
        robot.client.spin(0.5)
        deaf.send_signal(signal.SIGSTOP)
        robot.client.command(COMMAND)
        robot.client.spin(2.0, each=robot.send)
        robot.check_good()  # while the stopped one still exists
    finally:
        deaf.kill()
        deaf.wait()


def a_second_node_of_the_same_name(robot: Robot, scale: int) -> None:
    """Both publish results; when one ends, the other continues."""
    second = NodeProcess(robot.domain, "--ros-args", "-p", "device:=cpu")
    second.wait_for("listening on")
    robot.client.command(COMMAND)
    robot.client.spin(1.0, each=robot.send)
    assert second.end() == 0, second.log
    robot.client.wait(robot.client.connected)


_BYTES = st.binary(max_size=400)
_UINTS = st.one_of(st.integers(0, 700), st.integers(0, 2**32 - 1))
_FLOATS = st.floats(width=64)
_ENCODINGS = st.sampled_from(
    ["rgb8", "bgr8", "mono8", "16UC1", "32FC1", "yuv422", "bayer_rggb8", "", "nv21", "8UC3"]
)


@st.composite
def _headers(draw: st.DrawFn) -> Header:
    stamp_ns = draw(st.integers(0, 2**31 * SECOND - 1))
    return Header(stamp=time_message(stamp_ns), frame_id=draw(st.text(_TEXT, max_size=20)))


# Characters that ROS 2 strings can hold.
_TEXT = st.characters(codec="utf-8", exclude_characters="\0")
_IMAGES = st.builds(
    lambda data, **fields: Image(**fields, data=array.array("B", data)),
    data=_BYTES, header=_headers(), height=_UINTS, width=_UINTS, step=_UINTS,
    encoding=_ENCODINGS, is_bigendian=st.integers(0, 1),
)  # fmt: skip
_COMPRESSED = st.builds(
    lambda data, **fields: CompressedImage(**fields, data=array.array("B", data)),
    data=_BYTES, header=_headers(), format=st.text(_TEXT, max_size=30),
)  # fmt: skip
_INFOS = st.builds(
    CameraInfo,
    header=_headers(), height=_UINTS, width=_UINTS, distortion_model=st.text(_TEXT, max_size=20),
    d=st.lists(_FLOATS, max_size=15), k=st.lists(_FLOATS, min_size=9, max_size=9),
    p=st.lists(_FLOATS, min_size=12, max_size=12),
)  # fmt: skip
_STRINGS = st.builds(String, data=st.text(_TEXT, max_size=300))


def fuzzed_messages(robot: Robot, scale: int) -> None:
    """Any value that the types allow, on every input."""
    client = robot.client
    inputs = (
        (client.image, _IMAGES),
        (client.compressed, _COMPRESSED),
        (client.depth, _IMAGES),
        (robot.depth_compressed, _COMPRESSED),
        (client.info, _INFOS),
        (robot.depth_info, _INFOS),
        (client.commands, _STRINGS),
    )
    each = 75 * scale  # 525 messages in all
    for publisher, messages in inputs:
        _publish(publisher, messages, each, client)
        client.spin(0.2)
    # The node keeps depth/camera_info until the next message.
    robot.depth_info.publish(CameraInfo(k=SAMPLE.K.ravel().tolist(), d=[0.0] * 5))


def _publish(publisher: Publisher, messages: st.SearchStrategy, n: int, client: Client) -> None:
    @settings(
        max_examples=n,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(message=messages)
    def send(message: object) -> None:
        publisher.publish(message)
        client.executor.spin_once(timeout_sec=0.002)

    send()


FAULTS: dict[str, Callable[[Robot, int], None]] = {
    each.__name__: each
    for each in (
        camera_stops,
        stamps_are_wrong,
        sizes_and_encodings_change,
        color_without_depth,
        depth_without_color,
        fields_are_absurd,
        intrinsics_are_wrong,
        transforms_are_missing,
        transforms_are_disconnected,
        transforms_are_late,
        the_model_raises,
        the_model_runs_out_of_memory,
        the_model_gives_nan,
        thousand_commands,
        parameters_storm,
        deactivated_and_activated,
        a_consumer_never_reads,
        a_second_node_of_the_same_name,
        fuzzed_messages,
        parameters_are_hostile,
        threads_die,
        a_client_of_goals_is_killed,
        the_clock_stands_still,
        a_transform_is_years_ahead,
    )
}
