# SPDX-License-Identifier: Apache-2.0
"""After each fault the node gives a correct result on the next good image."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("hypothesis", reason="hypothesis is not installed")

import safetensors.torch
import torch
from faults import FAULTS, Robot
from ros_harness import Client, NodeProcess, new_domain

from mllmseg_ros.checkpoints.hub import find_checkpoint


@pytest.fixture(scope="module")
def robot() -> Iterator[Robot]:
    robot = Robot()
    robot.check_good()
    yield robot
    robot.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.threat("N1", "N6")
def test_the_next_good_image_gets_a_correct_result(robot: Robot, fault: str) -> None:
    n_threads = robot.n_threads
    try:
        FAULTS[fault](robot, 1)
        robot.check_good()
    except AssertionError:
        robot.node.process.send_signal(signal.SIGUSR1)  # writes the stacks of all threads
        robot.client.spin(1.0)
        print(robot.node.log[-10_000:])
        raise
    assert robot.n_threads <= n_threads + 1  # a library may keep one


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.4, 1.5, 3.0])
def test_a_signal_at_any_moment_ends_it_cleanly(after_s: float, number: signal.Signals) -> None:
    node = NodeProcess(new_domain(), "--ros-args", "-p", "device:=cpu")
    time.sleep(after_s)
    assert node.end(number) == 0, node.log
    assert "Traceback" not in node.log


def test_a_model_that_gives_nan_is_not_used(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(find_checkpoint(None), broken)
    (weights,) = broken.glob("*.safetensors")
    tensors = safetensors.torch.load_file(weights)
    name = next(key for key in tensors if key.endswith("lm_head.weight"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    domain = new_domain()
    node = NodeProcess(domain, "--ros-args", "-p", "device:=cpu", "-p", f"model:={broken}")
    client = Client(domain)
    try:
        node.wait_for("cannot configure")
        assert "is not finite" in node.log
    finally:
        client.close()
        assert node.end() == 0
