# SPDX-License-Identifier: Apache-2.0
"""Errors when a GPU's memory runs out; CUDA's error is raised artificially."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import rclpy
import torch
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import new_domain

from mllmseg_ros.checkpoints import loading
from mllmseg_ros.checkpoints.loading import LoadingCancelled
from mllmseg_ros.ros.node import model_memory
from mllmseg_ros.ros.node.model_loading import load_model
from mllmseg_ros.ros.node.model_memory import out_of_memory_advice
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.node.segmenter_node import SegmenterNode
from mllmseg_ros.ros.support.spin import signalled
from mllmseg_ros.segmenter import Segmenter


@pytest.fixture
def rclpy_domain() -> Iterator[None]:
    rclpy.init(domain_id=new_domain())
    yield
    rclpy.try_shutdown()


def test_an_out_of_memory_error_says_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(*_: object, **__: object) -> Segmenter:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.2 GiB")

    monkeypatch.setattr(Segmenter, "from_pretrained", from_pretrained)
    monkeypatch.setattr(loading, "count_values", lambda folder: (8_110_000_000, 6_900_000_000))
    monkeypatch.setattr(model_memory, "measure_free_memory", lambda need: 1e12)
    with pytest.raises(ValueError, match="memory ran out") as caught:
        load_model(SegmenterParameters(device="cpu", dtype="float32"))
    text = str(caught.value)
    assert "in float32 on cpu (32.4 GB of weights)" in text
    assert "dtype to bfloat16 (16.2 GB), or quantize to int8 (11.7 GB)" in text
    assert "or model to MLLMSeg_InternVL2_5_4B_RES (15.0 GB)" in text
    assert "Tried to allocate 1.2 GiB" in text


def test_a_model_that_the_system_could_not_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "count_values", lambda folder: (8_110_000_000, 6_900_000_000))
    monkeypatch.setattr(model_memory, "measure_free_memory", lambda need: 7.1e9)
    with pytest.raises(ValueError, match=r"^7.1 GB are free for the embedded model") as caught:
        load_model(SegmenterParameters(device="cpu", dtype="bfloat16"))
    assert "(16.2 GB of weights); set parameter quantize to int8 (9.3 GB)" in str(caught.value)


def test_loading_is_given_up_after_a_signal_or_for_another_model() -> None:
    cancelled = threading.Event()
    parameters = SegmenterParameters(device="cpu", dtype="float32")
    load_model(parameters, cancelled)
    cancelled.set()
    with pytest.raises(LoadingCancelled, match="was cancelled"):
        load_model(parameters, cancelled)


@pytest.mark.parametrize(("given", "used"), [(3, "3"), (0, "2")])
def test_a_model_computes_with_the_threads_that_the_parameter_says(given: int, used: str) -> None:
    """In a process of its own, and in a thread that begins later, as the node's inference does."""
    code = (
        "import threading, torch\n"
        "from mllmseg_ros.ros.node.model_loading import load_model\n"
        "from mllmseg_ros.ros.node.parameters import SegmenterParameters\n"
        f"load_model(SegmenterParameters(device='cpu', threads={given}))\n"
        "threading.Thread(target=lambda: print(torch.get_num_threads())).start()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
    )
    assert result.stdout.splitlines()[-1:] == [used], result.stderr


@pytest.mark.parametrize("threads", [-1, 1025])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}, accepted are 0 to 1024"):
        SegmenterParameters(threads=threads)


def test_a_node_that_is_shutting_down_does_not_load(rclpy_domain: None) -> None:
    node = SegmenterNode(parameter_overrides=[Parameter("autostart", value=False)])
    try:
        signalled.set()
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        signalled.clear()
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    finally:
        signalled.clear()
        node.stop()
        node.destroy_node()


def test_other_errors_are_not_changed() -> None:
    with (
        pytest.raises(RuntimeError, match=r"^something else$"),
        out_of_memory_advice(SegmenterParameters()),
    ):
        raise RuntimeError("something else")
