# SPDX-License-Identifier: Apache-2.0
"""Copies between the host and the device of a model: one in and one out per call.

A small copy costs a GPU as much as a large one, and each copy out makes the host wait for all that
was computed before. So tensors cross together, as the bytes of one buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["to_device", "to_host"]


def to_device(arrays: Sequence[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """Copy arrays to a device in one transfer, which the host does not wait for.

    Args:
        arrays: those with the largest items first, so that all are aligned.
        device: to copy to. On a CPU the tensors may share memory with the arrays.

    Returns:
        One tensor per array, of the same shape and type.
    """
    if device.type == "cpu":
        return [torch.from_numpy(np.require(array, requirements="W")) for array in arrays]
    raw = _join_arrays(arrays)
    buffer = torch.empty(raw.shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    moved = buffer.copy_(torch.from_numpy(raw)).to(device, non_blocking=True)
    return _split_tensor(moved, arrays)


def to_host(*tensors: Tensor) -> list[NDArray[Any]]:
    """Copy tensors of one device to the host in one transfer, and wait for it.

    Args:
        tensors: of types that NumPy has by the same name, those with the largest items first.

    Returns:
        One array per tensor, of the same shape and type.
    """
    if tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    return _split_array(_join_tensors(tensors).cpu().numpy(), tensors)


def _join_arrays(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    return np.concatenate(
        [np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in arrays]
    )


def _split_tensor(raw: Tensor, arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
    parts = torch.split(raw, [array.nbytes for array in arrays])
    return [
        part.view(getattr(torch, array.dtype.name)).view(array.shape)
        for part, array in zip(parts, arrays, strict=True)
    ]


def _join_tensors(tensors: Sequence[Tensor]) -> Tensor:
    # One element counts as contiguous with any stride, but only stride 1 can be viewed as bytes.
    flat = [each.contiguous().as_strided((each.numel(),), (1,)) for each in tensors]
    return torch.cat([each.view(torch.uint8) for each in flat])


def _split_array(raw: NDArray[np.uint8], tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    parts = np.split(raw, np.cumsum([each.nbytes for each in tensors])[:-1])
    return [
        part.view(str(tensor.dtype).removeprefix("torch.")).reshape(tensor.shape)
        for part, tensor in zip(parts, tensors, strict=True)
    ]
