# SPDX-License-Identifier: Apache-2.0
"""A CUDA GPU that has no memory and computes nothing: tensors with shape, type and device alone.

Operations on them fail where they would fail on a GPU because they mix devices, or need a value on
the host: indexing by a mask, ``float()``, ``tolist()``. Copies between host and GPU are counted.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode

from mllmseg_ros.checkpoints.hub import EMBEDDED
from mllmseg_ros.model.config import read_config
from mllmseg_ros.model.mllmseg import MLLMSeg

RECORDED = Path(__file__).parents[1] / "parity" / "recorded"
MODELS = {
    "embedded": EMBEDDED,
    "qwen2": RECORDED / "tiny-qwen2",
    "internlm2": RECORDED / "tiny-internlm2",
}

# A torch without CUDA cannot even name the current GPU: this is an answer, "there is nothing to
# do", that its functions accept.
_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace {
struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {};
}
C10_REGISTER_GUARD_IMPL(CUDA, Guard)
"""


def install_guard(folder: Path) -> None:
    """Make a torch without CUDA accept tensors of a fake GPU, in this process."""
    if torch.version.cuda is not None:
        return
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++, which a torch without CUDA needs for a fake GPU")
    source, library = folder / "guard.cpp", folder / "guard.so"
    source.write_text(_GUARD, encoding="utf-8")
    root = Path(torch.__file__).parent
    flags = ["-shared", "-fPIC", "-std=c++20", f"-I{root / 'include'}", f"-L{root / 'lib'}"]
    subprocess.run(
        [compiler, *flags, str(source), "-lc10", "-o", str(library)],
        check=True,
    )
    ctypes.CDLL(str(library))


class FakeCuda(FakeTensorMode):
    """Makes every new tensor a fake one, and counts what crosses between host and GPU."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.copies_in, self.copies_out = 0, 0
        self.waits = 0  # for copies to the GPU

    @property
    def copies(self) -> tuple[int, int]:
        """Copies to the GPU and from it since the last time."""
        copies = (self.copies_in, self.copies_out)
        self.copies_in = self.copies_out = 0
        return copies

    def dispatch(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = super().dispatch(func, types, args, kwargs)
        if func is torch.ops.aten._to_copy.default:
            self._count(args[0], result, bool((kwargs or {}).get("non_blocking", False)))
        elif func is torch.ops.aten.copy_.default:
            self._count(args[1], args[0], len(args) > 2 and args[2])
        return result

    def _count(self, source: torch.Tensor, target: torch.Tensor, non_blocking: bool) -> None:
        if source.device == target.device:
            return
        if target.device.type == "cuda":
            self.copies_in += 1
            self.waits += not non_blocking
        else:
            self.copies_out += 1


class _HostReads(TorchFunctionMode):
    """Gives ones for the values of a fake tensor on the host, which are unknown."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.numpy and not isinstance(args[0], FakeTensor):
            with unset_fake_temporarily():
                return args[0].numpy()
        if func is torch.Tensor.numpy:
            assert args[0].device.type == "cpu", "the host reads a tensor of the GPU"
            name = str(args[0].dtype).removeprefix("torch.")
            return np.ones(tuple(args[0].shape), name)
        return func(*args, **(kwargs or {}))


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Work on a fake GPU."""
    with FakeCuda() as gpu, _HostReads():
        yield gpu


def make_model(
    folder: Path, dtype: torch.dtype, prepare: Callable[[MLLMSeg], None] = lambda model: None
) -> MLLMSeg:
    """The model of a checkpoint folder on the fake GPU, without its weights' values.

    Args:
        folder: of the checkpoint.
        dtype: of the weights.
        prepare: changes the model before it is moved to the GPU.
    """
    with unset_fake_temporarily(), torch.device("meta"):
        model = MLLMSeg(read_config(folder)).eval().requires_grad_(False).to(dtype)
        prepare(model)
    move_to_gpu(model)
    return model


def move_to_gpu(network: nn.Module) -> None:
    """Give a network fake tensors on the GPU, in place."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")

    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                moved = nn.Parameter(move(parameter), requires_grad=parameter.requires_grad)
                module._parameters[name] = moved
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = move(buffer)


@contextmanager
def cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """CUDA's rules of autocast; ``torch.autocast`` refuses them where there is no GPU."""
    torch.set_autocast_dtype("cuda", dtype)
    torch.set_autocast_enabled("cuda", True)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)


def run_backward(loss: torch.Tensor) -> None:
    """``loss.backward()`` by the same functions, without its engine, which needs a real GPU."""
    assert loss.grad_fn is not None
    pending: dict[Any, dict[int, torch.Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in _in_order(loss.grad_fn):
        given = pending.pop(node, {})
        if not given:
            continue
        if hasattr(node, "variable"):
            assert given[0].shape == node.variable.shape
            node.variable.grad = given[0]
            continue
        gradients = node(*(given.get(index) for index in range(len(node._input_metadata))))
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for (following, index), gradient in zip(node.next_functions, gradients, strict=True):
            if following is None or gradient is None:
                continue
            expected = following._input_metadata[index]  # functions leave this step to the engine
            gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
            sums = pending.setdefault(following, {})
            sums[index] = sums[index] + gradient if index in sums else gradient


def _in_order(root: Any) -> list[Any]:
    """The functions of a graph, each after all that give it a gradient."""
    finished: dict[Any, None] = {}
    stack = [(root, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            finished[node] = None
        elif node not in finished:
            stack.append((node, True))
            stack += [(each, False) for each, _ in node.next_functions if each is not None]
    return list(reversed(finished))
