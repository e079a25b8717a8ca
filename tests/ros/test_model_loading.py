# SPDX-License-Identifier: Apache-2.0
"""Errors when a GPU's memory runs out; CUDA's error is raised artificially."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

import torch

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.ros.node.model_loading import load_model
from mllmseg_ros.ros.node.model_memory import out_of_memory_advice
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.segmenter import Segmenter


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


def test_other_errors_are_not_changed() -> None:
    with (
        pytest.raises(RuntimeError, match=r"^something else$"),
        out_of_memory_advice(SegmenterParameters()),
    ):
        raise RuntimeError("something else")
