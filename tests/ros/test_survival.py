# SPDX-License-Identifier: Apache-2.0
"""No parameter, callback or thread ends the node, or leaves it dead while it says OK."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import failing_model
import mortal_node
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.srv import Explain, Segment
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from ros_harness import START_S, Client, NodeProcess, new_domain
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String

from mllmseg_ros.checkpoints.hub import find_checkpoint
from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.sim.samples import load_sample

pytestmark = pytest.mark.threat("N1", "N2")

SAMPLE = load_sample(0)
TARGET = "the red mug"


def hostile_models(folder: Path) -> dict[str, str]:
    """Values of parameter ``model``, by what is wrong with them."""
    deep, loop, no_file = folder / "deep", folder / "loop", folder / "no_file"
    for each in (deep, loop, no_file):
        each.mkdir()
    (deep / "config.json").write_text("[" * 100_000 + "]" * 100_000)
    (loop / "config.json").symlink_to(loop / "config.json")
    (no_file / "config.json").mkdir()
    return {
        "no such user": "~nosuch/x",
        "long path": "x" * 5000,
        "long name": "x" * 300,
        "long repository": f"{'x' * 300}/{'y' * 300}",
        "deep": str(deep),
        "loop of links": str(loop),
        "folder as a file": str(no_file),
        "control characters": "a\n\x1b[31mb",
    }


class Talker:
    """Calls the node's services, and reads its diagnostics."""

    def __init__(self, node: NodeProcess) -> None:
        self.node, self.client = node, Client(node.domain)
        create = self.client.node.create_client
        self.segment, self.explain = create(Segment, "segment"), create(Explain, "explain")
        self.kill = self.client.node.create_publisher(String, "kill", 10)
        self.statuses: list[DiagnosticStatus] = []
        self.client.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda each: self.statuses.extend(each.status), 10
        )
        assert self.segment.wait_for_service(START_S)
        assert self.explain.wait_for_service(START_S)

    def send_image(self) -> None:
        self.client.send_image(SAMPLE.rgb)

    def answer(self, expression: str = TARGET) -> SegmentationArray:
        image = image_from_array(SAMPLE.rgb, "rgb8", self.client.header())
        request = Segment.Request(expressions=[expression], image=image)
        future = self.segment.call_async(request)
        self.client.wait(future.done)
        return future.result().answer

    def check_good(self) -> None:
        assert self.node.process.poll() is None, f"the node ended:\n{self.node.log[-4000:]}"
        assert self.answer().status == SegmentationArray.STATUS_OK

    def wait_for_status(self, suits: Callable[[DiagnosticStatus], bool]) -> None:
        self.statuses.clear()
        self.client.wait(lambda: any(map(suits, self.statuses)), each=self.send_image)


@pytest.fixture(scope="module")
def talker() -> Iterator[Talker]:
    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu", script=mortal_node.__file__)
    node.wait_for("listening on")
    talker = Talker(node)
    yield talker
    talker.client.close()
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_no_value_of_a_parameter_ends_the_node(talker: Talker, tmp_path: Path) -> None:
    for name, value in hostile_models(tmp_path).items():
        (result,) = talker.client.set_parameters(model=value)
        assert not result.successful, name
        assert "model" in result.reason or value in result.reason, name
        assert len(result.reason) < 1500
        assert result.reason.isprintable(), name
    for value in ("x" * 5000, "cuda:" + "9" * 40, "cpu:x"):
        (result,) = talker.client.set_parameters(device=value)
        assert not result.successful
        assert "device" in result.reason
    (result,) = talker.client.set_parameters(target_frame="x" * 5000)
    assert not result.successful
    assert "parameter target_frame has 5000 characters, accepted are up to" in result.reason
    assert talker.client.get_parameters("mllmseg", "model", "device") == ["", "cpu"]
    talker.check_good()


def test_a_parameter_of_no_known_type_ends_neither_the_node_nor_the_call(talker: Talker) -> None:
    client = talker.client
    service = client.node.create_client(SetParameters, "/mllmseg/set_parameters")
    assert service.wait_for_service(START_S)
    odd = ParameterMessage(name="model", value=ParameterValue(type=99))
    future = service.call_async(SetParameters.Request(parameters=[odd]))
    client.wait(future.done)
    (result,) = future.result().results
    assert not result.successful
    assert result.reason
    talker.check_good()


def panicking_tokenizer(folder: Path) -> str:
    """A model with a pattern that takes exponential time, on which its library panics."""
    path = folder / "panicking"
    path.mkdir()
    for file in find_checkpoint(None).iterdir():
        if file.name not in ("tokenizer.json", "SHA256SUMS"):
            (path / file.name).symlink_to(file)
    fields = json.loads((find_checkpoint(None) / "tokenizer.json").read_text())
    fields["normalizer"] = {
        "type": "Replace",
        "pattern": {"Regex": "^(([a-z])+.)+[A-Z]([a-z])+$"},
        "content": "x",
    }
    (path / "tokenizer.json").write_text(json.dumps(fields))
    return str(path)


@pytest.mark.parametrize(
    "fault", ["no such user", "long path", "deep", "loop of links", "panicking tokenizer"]
)
def test_no_value_at_start_ends_the_node(fault: str, tmp_path: Path) -> None:
    values = hostile_models(tmp_path) | {"panicking tokenizer": panicking_tokenizer(tmp_path)}
    value = values[fault]
    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu", "-p", f"model:={value}")
    try:
        node.wait_for("cannot configure: ")
        client = Client(node.domain)
        get_state = client.node.create_client(GetState, "/mllmseg/get_state")
        assert get_state.wait_for_service(START_S)
        future = get_state.call_async(GetState.Request())
        client.wait(future.done)
        assert future.result().current_state.id == State.PRIMARY_STATE_UNCONFIGURED
        (result,) = client.set_parameters(model="")
        assert result.successful
        client.close()
    finally:
        assert node.end() == 0, node.log
    assert "Traceback" not in node.log
    assert max(map(len, node.lines)) < 2000


def test_a_panic_of_a_library_ends_the_command_alone() -> None:
    node = NodeProcess(
        new_domain(), "--ros-args", "-p", "device:=cpu", script=failing_model.__file__
    )
    node.wait_for("listening on")
    talker = Talker(node)
    try:
        answer = talker.answer(failing_model.PANICS)
        assert answer.status == SegmentationArray.STATUS_ERROR
        assert "Panic: in the model" in answer.text
        talker.wait_for_status(
            lambda each: each.level == DiagnosticStatus.ERROR and "Panic" in each.message
        )
        client = talker.client
        client.wait(client.connected)
        client.results.clear()
        client.command(failing_model.PANICS)
        client.wait(lambda: client.to(failing_model.PANICS), each=talker.send_image)
        assert client.to(failing_model.PANICS)[0].status == SegmentationArray.STATUS_ERROR
        client.wait(lambda: client.node.count_publishers("/segmentations"))
        talker.check_good()
        talker.wait_for_status(lambda each: each.name.endswith("model") and each.level < b"\x02")
    finally:
        talker.client.close()
        assert node.end() == 0
    assert "Traceback" not in node.log


@pytest.mark.parametrize("thread", ["inference", "tracking", "diagnostics", "explain", "loading"])
def test_a_thread_that_dies_is_restarted_and_reported(talker: Talker, thread: str) -> None:
    client = talker.client
    client.wait(client.connected)
    client.command(TARGET)
    client.wait(lambda: client.to(TARGET), each=talker.send_image)
    if thread == "explain":
        explained = talker.explain.call_async(Explain.Request(expression=TARGET))
        client.wait(explained.done, each=talker.send_image)
    if thread == "loading":
        client.set_parameters(dtype="bfloat16")
    began_s = time.monotonic()
    talker.kill.publish(String(data=thread))
    if thread == "explain":  # it is asleep until there is something to explain
        explained = talker.explain.call_async(Explain.Request(expression=TARGET))
        client.wait(explained.done, each=talker.send_image)
    # A model that could not be loaded is WARN while the current one stays in use.
    level = DiagnosticStatus.WARN if thread == "loading" else DiagnosticStatus.ERROR
    talker.wait_for_status(lambda each: each.level >= level and "Panic" in each.message)
    print(f"{thread}: reported after {time.monotonic() - began_s:.2f} s")
    client.results.clear()
    client.wait(
        lambda: any(each.status == SegmentationArray.STATUS_OK for each in client.to(TARGET)),
        each=talker.send_image,
    )
    print(f"{thread}: right answer after {time.monotonic() - began_s:.2f} s")
    talker.check_good()
    explained = talker.explain.call_async(Explain.Request(expression=TARGET))
    client.wait(explained.done, each=talker.send_image)
    assert explained.result().success
    client.set_parameters(dtype="auto")


def test_the_exception_of_these_tests_leaves_no_lock_held() -> None:
    awake, ended = threading.Event(), threading.Event()

    def loop() -> None:
        try:
            while True:
                awake.set()
        except mortal_node.Panic:
            ended.set()

    thread = threading.Thread(target=loop, daemon=True)
    lock = awake._cond  # type: ignore[attr-defined]
    lock.acquire()
    thread.start()
    assert thread.ident is not None
    time.sleep(0.1)  # until the thread waits for the lock
    threading.Timer(0.3, lock.release).start()
    mortal_node.raise_in_thread(thread.ident)
    assert ended.wait(10.0)
    assert lock.acquire(timeout=10.0), "the lock is held for ever"


def test_a_callback_that_raises_ends_nothing(talker: Talker) -> None:
    talker.client.wait(talker.kill.get_subscription_count)
    for _ in range(3):
        talker.kill.publish(String(data=mortal_node.CALLBACK))
        talker.client.spin(0.3)
        talker.check_good()
    talker.wait_for_status(lambda each: "Panic: in a callback" in each.message)
    lines = [line for line in talker.node.lines if "in a callback" in line]
    assert len(lines) == 1, "rate-limited"


def hostile_folders(folder: Path) -> dict[str, dict[str, str]]:
    """Parameters of the image folder node, by what is wrong with them."""
    images = folder / "images"
    images.mkdir()
    cv2.imwrite(str(images / "0.png"), SAMPLE.rgb)
    (folder / "deep.yaml").write_text("[" * 100_000)
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo.yaml")
    paths = {"no user": "~nosuch/x", "long": "x" * 5000, "loop": str(folder / "loop"),
             "through a file": str(images / "0.png" / "x")}  # fmt: skip
    infos = {"deep": "deep.yaml", "no text": "bytes.yaml", "fifo": "fifo.yaml", "folder": "images"}
    return {
        **{f"path, {fault}": {"path": path} for fault, path in paths.items()},
        **{
            f"camera_info, {fault}": {"path": str(images), "camera_info": str(folder / name)}
            for fault, name in infos.items()
        },
    }


def test_an_image_folder_that_cannot_be_read_is_one_line_and_an_exit_status(
    tmp_path: Path,
) -> None:
    for fault, parameters in hostile_folders(tmp_path).items():
        given = [text for name, value in parameters.items() for text in ("-p", f"{name}:={value}")]
        node = NodeProcess(new_domain(), "--ros-args", *given, executable="image_folder")
        assert node.process.wait(START_S) == 1, f"{fault}:\n{node.log}"
        node.end()
        (line,) = [line for line in node.lines if "cannot start: " in line]
        assert len(line) < 1200, fault
        assert "Traceback" not in node.log, fault


def test_a_malformed_cloud_does_not_end_the_view(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs rerun-sdk: requirements/view.txt")
    domain = new_domain()
    arguments = ("view", "--save", str(tmp_path / "seen.rrd"))
    view = NodeProcess(domain, *arguments, executable="mllmseg")
    view.wait_for("listening to /image")
    client = Client(domain)
    try:
        clouds = client.node.create_publisher(PointCloud2, "target_cloud", 10)
        client.wait(clouds.get_subscription_count, START_S)
        for _ in range(3):
            clouds.publish(PointCloud2(width=7, height=1, point_step=12, data=bytes(5)))
            client.spin(0.3)
        view.wait_for("a callback failed: ", 10.0)
    finally:
        client.close()
        assert view.end() == 0, view.log
    assert "Traceback" not in view.log
    assert view.log.count("a callback failed") == 1, "rate-limited"
