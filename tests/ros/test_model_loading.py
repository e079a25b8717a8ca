# SPDX-License-Identifier: Apache-2.0
"""Errors when a GPU's memory runs out; CUDA's error is raised artificially."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import rclpy
import torch
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_harness import new_domain

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.loading import LoadingCancelled
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
    monkeypatch.setattr(integrity, "count_values", lambda folder: 8_110_000_000)
    with pytest.raises(ValueError, match="memory ran out") as caught:
        load_model(SegmenterParameters(device="cpu", dtype="float32"))
    text = str(caught.value)
    assert "in float32 on cpu (32.4 GB of weights)" in text
    assert "dtype to bfloat16 (16.2 GB), or model to MLLMSeg_InternVL2_5_4B_RES (15.0 GB)" in text
    assert "Tried to allocate 1.2 GiB" in text


def test_loading_is_given_up_after_a_signal_or_for_another_model() -> None:
    cancelled = threading.Event()
    parameters = SegmenterParameters(device="cpu", dtype="float32")
    load_model(parameters, cancelled)
    cancelled.set()
    with pytest.raises(LoadingCancelled, match="was given up"):
        load_model(parameters, cancelled)


def test_a_node_that_is_told_to_end_does_not_load(rclpy_domain: None) -> None:
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
