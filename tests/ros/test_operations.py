# SPDX-License-Identifier: Apache-2.0
"""Diagnostics, quality of service and change of the model of a running node."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from mllmseg_ros.msg import SegmentationArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import START_S, Client, NodeProcess, new_domain
from safetensors.numpy import load_file, save_file
from sensor_msgs.msg import CompressedImage, Image

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.sim.samples import load_sample

RGB = load_sample(0).rgb


class Watcher(Client):
    """A client that also subscribes to `/diagnostics`."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take, 10)
        self._change = self.node.create_client(ChangeState, "/mllmseg/change_state")

    def _take(self, message: DiagnosticArray) -> None:
        assert message.header.stamp.sec > 0
        self.statuses = {status.name: status for status in message.status}

    def message(self, name: str) -> str:
        return self.statuses[name].message if name in self.statuses else ""

    def level(self, name: str) -> int:
        return self.statuses[name].level[0] if name in self.statuses else -1

    def value(self, name: str, key: str) -> str:
        return {each.key: each.value for each in self.statuses[name].values}[key]

    def send(self) -> None:
        self.send_image(RGB)

    def change(self, transition: int) -> bool:
        assert self._change.wait_for_service(START_S)
        future = self._change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self.wait(future.done, START_S)
        return future.result().success


CAMERA, MODEL = "mllmseg: camera", "mllmseg: model"
OK, WARN, ERROR = (
    level[0] for level in (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
)


def start(*parameters: str) -> tuple[NodeProcess, Watcher]:
    domain = new_domain()
    arguments = [part for each in ("device:=cpu", *parameters) for part in ("-p", each)]
    return NodeProcess(domain, "--ros-args", *arguments), Watcher(domain)


@pytest.fixture
def unconfigured() -> Iterator[tuple[NodeProcess, Watcher]]:
    node, client = start("autostart:=false")
    yield node, client
    client.close()
    assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_diagnostics_in_every_state(
    unconfigured: tuple[NodeProcess, Watcher], tmp_path: Path
) -> None:
    _, client = unconfigured
    client.wait(lambda: MODEL in client.statuses, START_S)
    assert set(client.statuses) == {CAMERA, MODEL}
    assert client.value(MODEL, "state") == "unconfigured"
    assert (client.level(MODEL), client.level(CAMERA)) == (OK, OK)

    # A configuration that fails is an error until one succeeds.
    (result,) = client.set_parameters(model=str(tmp_path / "nothing_here"))
    assert result.successful
    assert not client.change(Transition.TRANSITION_CONFIGURE)
    client.wait(lambda: client.level(MODEL) == ERROR)
    assert "nothing_here" in client.message(MODEL)
    client.set_parameters(model="")

    assert client.change(Transition.TRANSITION_CONFIGURE)
    client.wait(lambda: client.value(MODEL, "state") == "inactive")
    assert client.value(MODEL, "model") == "mllmseg-tabletop"
    assert client.change(Transition.TRANSITION_ACTIVATE)
    client.wait(lambda: client.level(CAMERA) == DiagnosticStatus.STALE[0])
    assert client.message(CAMERA) == "no image has arrived"

    client.wait(client.connected)
    client.command("the red mug; the zebra")

    def answering() -> bool:
        return client.level(CAMERA) == OK and client.value(CAMERA, "no-target share") != ""

    client.wait(answering, each=client.send)
    client.spin(2.0, each=client.send)
    assert client.statuses[CAMERA].hardware_id == "/image"
    assert client.statuses[MODEL].hardware_id == "cpu"
    assert (client.value(MODEL, "device"), client.value(MODEL, "state")) == ("cpu", "active")
    assert client.value(MODEL, "dtype") in ("float32", "bfloat16")
    assert client.value(MODEL, "path") == "eager"
    assert client.value(MODEL, "segment (ms) p95") == ""  # the command is read with the image
    for name, key in (
        (CAMERA, "image rate in (Hz)"),
        (CAMERA, "answer rate out (Hz)"),
        (CAMERA, "image age on arrival (ms) p50"),
        (CAMERA, "answer age, now - stamp (ms) p95"),
        (CAMERA, "convert (ms) p50"),
        (CAMERA, "locate and publish (ms) p95"),
        (CAMERA, "images received"),
        (MODEL, "encode (ms) p50"),
        (MODEL, "memory, RSS (MB)"),
    ):
        assert float(client.value(name, key)) > 0, key
    assert 2 < float(client.value(CAMERA, "image rate in (Hz)")) < 12  # sent at 10 Hz
    assert 0 <= float(client.value(CAMERA, "no-target share")) <= 1
    assert float(client.value(CAMERA, "seconds since last answer")) < 2

    # The camera stops.
    client.wait(lambda: client.level(CAMERA) == WARN)
    assert "no image for" in client.message(CAMERA)
    assert client.change(Transition.TRANSITION_DEACTIVATE)
    client.wait(lambda: client.level(CAMERA) == OK)
    assert client.message(CAMERA) == "not active"


def test_a_mismatch_of_quality_of_service_or_type_is_named() -> None:
    node, client = start(
        "qos_overrides./image.subscription.reliability:=reliable",
        "qos_overrides./mask.publisher.durability:=transient_local",
    )
    try:
        node.wait_for("listening on")
        client.wait(lambda: client.node.count_subscribers("/image") > 0)
        (own,) = client.node.get_subscriptions_info_by_topic("/image")
        assert own.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        (own,) = client.node.get_publishers_info_by_topic("/mask")
        assert own.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        client.wait(client.connected)  # the client's own publisher is reliable

        best_effort = client.node.create_publisher(
            Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        )
        client.node.create_subscription(
            SegmentationArray,
            "segmentations",
            lambda message: None,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
        )
        wanted = (
            "/image: /client offers best_effort and this node requests reliable",
            "qos_overrides./image.subscription.reliability:=best_effort",
            "/segmentations: /client requests transient_local and this node offers volatile",
            "qos_overrides./segmentations.publisher.durability:=transient_local",
        )
        client.wait(lambda: all(each in client.message(CAMERA) for each in wanted))
        for each in wanted:
            node.wait_for(each)  # the log may be read later than the message
            assert node.log.count(each) == 1, node.log
        assert client.level(CAMERA) in (WARN, DiagnosticStatus.STALE[0])
        client.node.destroy_publisher(best_effort)
        client.wait(lambda: "best_effort" not in client.message(CAMERA))

        # A publisher of another type, of which the middleware says nothing.
        client.node.destroy_publisher(client.image)
        other = Client(client.context.get_domain_id(), image="image_of_the_other")
        other.node.create_publisher(CompressedImage, "image", 1)
        wrong = "/image is sensor_msgs/msg/CompressedImage from /client, expected"
        client.wait(lambda: f"{wrong} sensor_msgs/msg/Image" in client.message(CAMERA))
        client.wait(
            lambda: client.results and client.results[-1].text.startswith(wrong),
            each=lambda: client.command("the red mug"),
            every_s=1.5,
        )
        assert client.results[-1].status == SegmentationArray.STATUS_STALE_INPUT
        other.close()
    finally:
        client.close()
        assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def enlarged_copy(folder: Path, name: str) -> Path:
    """Write the embedded model with rows of zeros for unused words: 0.3 GB in float32."""
    shutil.copytree(EMBEDDED, folder)
    config = json.loads((folder / "config.json").read_text())
    config["mllmseg"]["name"] = name
    n_rows = config["llm_config"]["vocab_size"] = 200_000
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    for key in ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"):
        rows = tensors[key]
        tensors[key] = np.vstack([rows, np.zeros((n_rows - len(rows), rows.shape[1]), rows.dtype)])
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_model_is_replaced_between_two_inferences(tmp_path: Path) -> None:
    other = enlarged_copy(tmp_path / "other", "the-other-one")
    damaged = shutil.copytree(EMBEDDED, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])

    node, client = start("key_frame_age:=0.0", "tracking:=false")
    try:
        node.wait_for("listening on")
        client.wait(client.connected)
        client.command("the red mug")
        client.wait(lambda: len(client.results) > 3, each=client.send)
        assert {result.model for result in client.results} == {"mllmseg-tabletop"}

        # Errors that can be detected at once are reported at once.
        (result,) = client.set_parameters(model=str(tmp_path / "nowhere"))
        assert not result.successful
        assert "no checkpoint folder" in result.reason
        # Others are reported in the log and in the diagnostics; the current model stays in use.
        (result,) = client.set_parameters(model=str(damaged))
        assert result.successful
        client.wait(lambda: "the current one stays in use" in node.log, each=client.send)
        assert "not a complete safetensors file" in node.log
        client.wait(lambda: "not a complete safetensors" in client.message(MODEL), each=client.send)
        assert client.level(MODEL) == WARN
        client.wait(lambda: client.get_parameters("mllmseg", "model") == [""], each=client.send)

        client.results.clear()
        (result,) = client.set_parameters(model=str(other), dtype="float32")[:1]
        assert result.successful
        client.wait(lambda: client.results[-1:] and client.results[-1].model == "the-other-one",
                    START_S, each=client.send)  # fmt: skip
        client.spin(1.0, each=client.send)
        models = [result.model for result in client.results]
        first = models.index("the-other-one")
        assert models[:first] == ["mllmseg-tabletop"] * first
        assert first > 1  # the previous model gave results meanwhile
        assert set(models[first:]) == {"the-other-one"}
        assert {result.status for result in client.results} == {client.results[0].status}
        client.wait(lambda: client.value(MODEL, "model") == "the-other-one", each=client.send)
        client.wait(lambda: client.level(MODEL) == OK, each=client.send)
    finally:
        client.close()
        assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_the_process_ends_while_a_model_is_loaded(tmp_path: Path) -> None:
    other = shutil.copytree(EMBEDDED, tmp_path / "other")
    node, client = start()
    try:
        node.wait_for("listening on")
        (result,) = client.set_parameters(model=str(other))
        assert result.successful
    finally:
        client.close()
        assert node.end() == 0, node.log
    assert "Traceback" not in node.log


def test_out_of_memory_names_what_would_fit_and_leaves_the_node_unconfigured(
    unconfigured: tuple[NodeProcess, Watcher], tmp_path: Path
) -> None:
    node, client = unconfigured
    large = enlarged_copy(tmp_path / "large", "large")
    assert client.change(Transition.TRANSITION_CONFIGURE)  # torch is imported now
    assert client.change(Transition.TRANSITION_CLEANUP)
    client.set_parameters(model=str(large), dtype="float32")
    pid = node.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    in_use = next(int(line.split()[1]) for line in status.splitlines() if "VmSize" in line) << 10
    unlimited = resource.prlimit(pid, resource.RLIMIT_AS, (in_use + 250_000_000, -1))
    # The file has 0.3 GB; of lm_head two rows are loaded.
    assert not client.change(Transition.TRANSITION_CONFIGURE)
    (error,) = [line for line in node.lines if "[ERROR]" in line]
    assert f"memory ran out for {large} in float32 on cpu (0.2 GB of weights)" in error
    assert "set parameter dtype to bfloat16 (0.1 GB)" in error
    client.wait(lambda: client.level(MODEL) == ERROR)
    assert client.value(MODEL, "state") == "unconfigured"

    resource.prlimit(pid, resource.RLIMIT_AS, unlimited)
    assert client.change(Transition.TRANSITION_CONFIGURE)
    assert client.change(Transition.TRANSITION_ACTIVATE)
    client.wait(client.connected)
    client.command("the red mug")
    client.wait(lambda: client.results, each=client.send)
    assert client.results[0].segmentations
