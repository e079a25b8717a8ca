# SPDX-License-Identifier: Apache-2.0
"""The order of calls to TensorRT, against a stand-in for it; TensorRT itself is not run here.

The stand-in has the functions that are called, with their meaning in TensorRT's documentation: it
reads and writes memory by the addresses that it is given, and refuses what was left out.
"""

from __future__ import annotations

import ctypes
import math
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mllmseg_ros.export.sessions import TensorRTSession, choose_device

MAX_TOKENS = 4  # of the engine's profile
N_OUTPUTS = 3


class IOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class Context:
    """Sums ``ids`` into each of three outputs, and adds ``scale``."""

    def __init__(self, dtypes: dict[str, Any]) -> None:
        self.dtypes = dtypes
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return max(shape) <= MAX_TOKENS

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert set(self.shapes) == {"ids", "scale"}, "asked before all shapes are known"
        return (N_OUTPUTS,)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 7, "another stream than torch's"
        ids, scale = (self._read(name) for name in ("ids", "scale"))
        result = np.full(N_OUTPUTS, ids.sum() + scale.sum(), np.float32)
        ctypes.memmove(self.addresses["sums"], result.ctypes.data, result.nbytes)
        return True

    def _read(self, name: str) -> np.ndarray:
        shape, dtype = self.shapes[name], self.dtypes[name]
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raw = (ctypes.c_char * size).from_address(self.addresses[name])
        return np.frombuffer(raw, dtype).reshape(shape)


def stand_in(ids_type: str) -> ModuleType:
    names = ["ids", "scale", "sums"]
    engine = SimpleNamespace(
        num_io_tensors=len(names),
        get_tensor_name=names.__getitem__,
        get_tensor_mode=lambda name: IOMode.OUTPUT if name == "sums" else IOMode.INPUT,
        get_tensor_dtype=lambda name: ids_type if name == "ids" else "FLOAT",
        create_execution_context=lambda: Context({"ids": ids_type.lower(), "scale": "float32"}),
    )
    module = ModuleType("tensorrt")
    module.__version__ = "10.3"
    module.__spec__ = SimpleNamespace(name="tensorrt")  # type: ignore[assignment]
    vars(module).update(
        Logger=type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None}),
        TensorIOMode=IOMode,
        DataType=SimpleNamespace(INT32="INT32"),
        Runtime=lambda logger: SimpleNamespace(
            deserialize_cuda_engine=lambda data: engine if data == b"plan" else None
        ),
    )
    return module


@pytest.fixture(params=["INT64", "INT32"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in(request.param))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(cuda_stream=7))
    path = tmp_path / "read.engine"
    path.write_bytes(b"plan")
    return path


def test_a_stage_reads_and_writes_the_tensors_memory(engine: Path) -> None:
    session = TensorRTSession(engine, torch.device("cpu"))
    scale = torch.tensor([0.5])
    for ids in ([[1, 2, 3]], [[7]], [[1, 1, 1, 1]]):
        outputs = session.run({"scale": scale, "ids": torch.tensor(ids)})
        assert outputs["sums"].tolist() == [sum(ids[0]) + 0.5] * N_OUTPUTS


def test_more_tokens_than_the_engine_was_built_for(engine: Path) -> None:
    session = TensorRTSession(engine, torch.device("cpu"))
    with pytest.raises(RuntimeError, match=r"not built for ids of shape \(1, 5\); ask for fewer"):
        session.run({"ids": torch.ones(1, 5, dtype=torch.long), "scale": torch.ones(1)})


def test_an_engine_of_another_machine(engine: Path) -> None:
    engine.write_bytes(b"another plan")
    with pytest.raises(ValueError, match=r"TensorRT 10\.3 cannot load it; .* build_engines\.sh"):
        TensorRTSession(engine, torch.device("cpu"))


def test_it_runs_on_a_gpu_only(engine: Path) -> None:
    with pytest.raises(ValueError, match="backend tensorrt runs on a GPU only"):
        choose_device("tensorrt", "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="backend tensorrt sees no CUDA GPU"):
            choose_device("tensorrt", None)
