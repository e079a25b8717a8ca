# SPDX-License-Identifier: Apache-2.0
"""``mllmseg view`` with camera and node as processes, and the contents of its recording."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("rerun", reason="needs rerun-sdk: requirements/view.txt")
pytest.importorskip("mujoco", reason="needs MuJoCo")

import rerun.chunk
from ros_harness import Client, NodeProcess, new_domain

from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.sim.camera import TabletopCamera

COMMAND = "the mug; the red banana"


@pytest.fixture(scope="module", autouse=True)
def gl() -> None:
    try:
        TabletopCamera(64, 48).close()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def domain() -> int:
    return new_domain()


@pytest.fixture(scope="module")
def processes(domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The simulated camera, the node and the view as processes."""
    path = tmp_path_factory.mktemp("view") / "what we saw.rrd"
    started = {
        "node": NodeProcess(domain, "--ros-args", "-p", "device:=cpu"),
        "camera": NodeProcess(
            domain, "--ros-args", "-p", "rate:=4.0", executable="sim_camera"
        ),
        "view": NodeProcess(
            domain, "view", "--save", str(path), "--ros-args", "-r", "target_cloud:=target_cloud",
            executable="mllmseg",
        ),
    }  # fmt: skip
    yield {**started, "path": path}
    for process in started.values():
        process.end()


def test_a_recording_has_the_published_data_with_its_stamps(
    processes: dict[str, Any], domain: int
) -> None:
    processes["node"].wait_for("listening on")
    processes["view"].wait_for("listening to /image")
    client = Client(domain)
    try:
        client.wait(lambda: client.node.count_subscribers("segmentations") >= 2)
        client.wait(lambda: len(client.to(COMMAND)) >= 3, 30, each=lambda: say(client), every_s=2)
        client.spin(0.5)
        results = client.to(COMMAND)
    finally:
        client.close()
    assert processes["view"].end(signal.SIGINT) == 0, processes["view"].log
    assert "Traceback" not in processes["view"].log
    held = read(processes["path"])
    assert {
        "/camera/image", "/camera/lens", "/camera/answer", "/scores/the\\ mug",
        "/scores/the\\ red\\ banana", "/answers", "/commands",
    } <= set(held)  # fmt: skip
    stamps = {nanoseconds(result.header.stamp) for result in results}
    assert stamps & held["/camera/answer"]
    assert held["/camera/answer"] <= held["/camera/image"] | stamps
    found = [each.status == each.STATUS_FOUND for each in results[-1].segmentations]
    if found[0]:
        assert {"/scene/boxes", "/scene/target"} <= set(held)


def say(client: Client) -> None:
    if not client.to(COMMAND):
        client.command(COMMAND)


def read(path: Path) -> dict[str, set[int]]:
    """Return the stamps, ns, of each entity."""
    held: dict[str, set[int]] = {}
    for chunk in rerun.chunk.RrdReader(path).stream():
        batch = chunk.to_record_batch()
        stamps = held.setdefault(chunk.entity_path, set())
        if "stamp" in batch.schema.names:
            stamps |= set(np.asarray(batch.column("stamp")).astype("datetime64[ns]").astype(int))
    return held
