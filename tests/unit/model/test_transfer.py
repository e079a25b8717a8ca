# SPDX-License-Identifier: Apache-2.0
"""Values survive the crossing as bytes; tests/cuda counts the copies."""

from __future__ import annotations

import numpy as np
import torch

from mllmseg_ros.model.transfer import (
    _join_arrays,
    _join_tensors,
    _split_array,
    _split_tensor,
    to_device,
    to_host,
)

ARRAYS = [
    np.arange(6).reshape(2, 3)[:, ::2],
    np.array([[0.5, -np.inf]], np.float32),
    np.array(True),
    np.arange(30, dtype=np.uint8).reshape(2, 5, 3)[:, ::-1],
    np.zeros((0, 4), np.uint8),
]


def test_arrays_to_tensors() -> None:
    cpu = to_device([np.ascontiguousarray(each) for each in ARRAYS], torch.device("cpu"))
    joined = _split_tensor(torch.from_numpy(_join_arrays(ARRAYS)), ARRAYS)
    for moved in (cpu, joined):
        for tensor, array in zip(moved, ARRAYS, strict=True):
            assert tensor.numpy().dtype == array.dtype
            np.testing.assert_array_equal(tensor.numpy(), array)


def test_tensors_to_arrays() -> None:
    tensors = [
        torch.tensor([[0.25, 0.75]])[:, 1],  # one element with stride 2
        torch.arange(24, dtype=torch.float32).view(2, 3, 4).transpose(1, 2),
        torch.tensor(False),
        torch.arange(7, dtype=torch.uint8),
    ]
    for arrays in (to_host(*tensors), _split_array(_join_tensors(tensors).numpy(), tensors)):
        for array, tensor in zip(arrays, tensors, strict=True):
            assert array.dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(array, tensor.numpy())
