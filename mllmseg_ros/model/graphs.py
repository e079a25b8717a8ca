# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: record all kernels of a function once, and launch them together from then on.

At the size of a robot's model a GPU computes faster than the host launches. The kernels are those
of eager execution: neither a compiler nor Triton is needed, which a Jetson often lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["CudaRecorder", "Graph", "Recorder"]

Function = Callable[..., list[Tensor]]
_N_WARM = 2  # calls before a recording, in which libraries choose kernels and allocate memory


class Graph:
    """A recorded function, for inputs of the shapes that it was recorded with."""

    def __init__(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], replay: Callable[[], None]
    ) -> None:
        """Keep a recording.

        Args:
            inputs: tensors that it reads.
            outputs: tensors that it writes.
            replay: does that.
        """
        self._inputs, self._outputs, self._replay = list(inputs), list(outputs), replay

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Run on other inputs; the outputs are copies, which the next call leaves as they are."""
        _copy(inputs, self._inputs)
        self._replay()
        copies = [
            torch.empty(each.shape, dtype=each.dtype, device=each.device) for each in self._outputs
        ]
        _copy(self._outputs, copies)
        return copies


def _copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy tensors by one launch for all of one type."""
    pairs = list(zip(sources, targets, strict=True))
    for dtype in {each.dtype for each in targets}:
        chosen = [pair for pair in pairs if pair[1].dtype == dtype]
        torch._foreach_copy_([target for _, target in chosen], [source for source, _ in chosen])


class Recorder(Protocol):
    """Records functions."""

    def __call__(self, function: Function, inputs: Sequence[Tensor]) -> Graph:
        """Record a function of tensors with inputs of the shapes that it will have."""
        ...


class CudaRecorder:
    """Records functions as CUDA graphs that share memory: they must not run at the same time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Sequence[Tensor]) -> Graph:
        """Record a function of CUDA tensors.

        Raises:
            RuntimeError: if it does what a graph cannot, such as waiting for a value.
        """
        static = [each.clone() for each in inputs]
        with torch.cuda.device(static[0].device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_N_WARM):
                    function(*static)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: another one may go on with the model that is in use.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = [each.contiguous() for each in function(*static)]
        return Graph(static, outputs, graph.replay)
