# SPDX-License-Identifier: Apache-2.0
"""Run one exported stage on torch tensors: by ONNX Runtime, or as a TensorRT engine.

Both read and write the tensors' own memory, on the CPU or the GPU. Neither is imported before it is
needed. Run here: ONNX Runtime on the CPU. Not run here: ONNX Runtime on CUDA, and TensorRT.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import check_regular_file, read_bytes

__all__ = ["OnnxSession", "Session", "TensorRTSession", "choose_device"]

_MAX_ENGINE_BYTES = 64 << 30
_NUMPY_TYPES = {
    torch.float32: np.float32,
    torch.int64: np.int64,
}


class Session(Protocol):
    """A stage that is ready to run."""

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the stage on contiguous tensors; returns its outputs, on the same device."""
        ...


class OnnxSession:
    """A stage in ONNX Runtime."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load a stage.

        Args:
            path: of its ONNX file, with its weights beside it.
            device: from :func:`choose_device`.

        Raises:
            ValueError: if the file is missing or cannot be loaded.
        """
        import onnxruntime

        for each in (path, path.with_name(f"{path.name}.data")):
            check_regular_file(each)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings name nodes that the user cannot change
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads wait in busy loops, as OpenMP's would (tools/executable.in).
        spinning = os.environ.get("OMP_WAIT_POLICY", "").lower() == "active"
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        provider: Any = "CPUExecutionProvider"
        if device.type == "cuda":
            provider = ("CUDAExecutionProvider", {"device_id": device.index or 0})
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # ONNX Runtime's own classes, which have no common one
            raise ValueError(
                f"{path}: ONNX Runtime cannot load it ({one_line(error, max_chars=300)})"
            ) from error
        self._device = device
        self._outputs = [(each.name, each.shape) for each in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`Session.run`.

        Raises:
            RuntimeError: if ONNX Runtime fails, for example without memory.
        """
        binding = self._session.io_binding()
        index = self._device.index or 0
        sizes: dict[str, int] = {}
        for each in self._session.get_inputs():
            tensor = inputs[each.name]
            sizes |= {
                name: size
                for name, size in zip(each.shape, tensor.shape, strict=True)
                if isinstance(name, str)
            }
            binding.bind_input(
                each.name,
                self._device.type,
                index,
                _NUMPY_TYPES[tensor.dtype],
                tuple(tensor.shape),
                tensor.data_ptr(),
            )
        outputs = {}
        for name, shape in self._outputs:
            numbers = [sizes[side] if isinstance(side, str) else side for side in shape]
            outputs[name] = torch.empty(numbers, dtype=torch.float32, device=self._device)
            binding.bind_output(
                name, self._device.type, index, np.float32, numbers, outputs[name].data_ptr()
            )
        if self._device.type == "cuda":  # torch's stream is not ONNX Runtime's
            torch.cuda.current_stream(self._device).synchronize()
        binding.synchronize_inputs()
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise RuntimeError(f"ONNX Runtime failed: {one_line(error, max_chars=300)}") from error
        binding.synchronize_outputs()
        return outputs


class TensorRTSession:
    """A stage as a TensorRT engine, which was built on this machine."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Load a stage.

        Args:
            path: of its engine.
            device: a CUDA device.

        Raises:
            ValueError: if the file is missing or cannot be loaded.
        """
        import tensorrt

        n_bytes = check_regular_file(path, max_bytes=_MAX_ENGINE_BYTES)
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._runtime = runtime  # must live as long as its engine
        self._engine = runtime.deserialize_cuda_engine(read_bytes(path, max_bytes=n_bytes))
        if self._engine is None:
            raise ValueError(
                f"{path}: TensorRT {tensorrt.__version__} cannot load it; engines are for one GPU "
                "and one version: run build_engines.sh again on this machine"
            )
        self._context = self._engine.create_execution_context()
        self._lock = threading.Lock()  # one context has one set of addresses
        self._device = device
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_input = {
            name: self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
            for name in names
        }
        # TensorRT before 10 has no int64: it reads int32 where the ONNX file says int64.
        self._inputs = {
            name: self._engine.get_tensor_dtype(name) == tensorrt.DataType.INT32
            for name in names
            if is_input[name]
        }
        self._outputs = [name for name in names if not is_input[name]]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`Session.run`.

        Raises:
            RuntimeError: if there are more tokens or expressions than the engine was built for.
        """
        with self._lock:
            return self._run(inputs)

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        given = {
            name: inputs[name].int() if is_int32 else inputs[name]
            for name, is_int32 in self._inputs.items()
        }
        for name, tensor in given.items():
            if not self._context.set_input_shape(name, tuple(tensor.shape)):
                raise RuntimeError(
                    f"the engine was not built for {name} of shape {tuple(tensor.shape)}; ask for "
                    "fewer expressions"
                )
            self._context.set_tensor_address(name, tensor.data_ptr())
        outputs = {}
        for name in self._outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            outputs[name] = torch.empty(shape, dtype=torch.float32, device=self._device)
            self._context.set_tensor_address(name, outputs[name].data_ptr())
        # torch's own stream: what torch does next waits for the results.
        if not self._context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
            raise RuntimeError("TensorRT could not run the engine")
        return outputs


def choose_device(backend: str, device: torch.device | str | None) -> torch.device:
    """Resolve the device of a backend; None or "auto" is the best that it can use.

    Args:
        backend: "onnxruntime" or "tensorrt".
        device: as of the node.

    Raises:
        ValueError: if the backend is not installed, or cannot use the device.
    """
    module = importlib.util.find_spec(backend)
    if module is None:
        remedy = {
            "onnxruntime": "pip install onnxruntime (onnxruntime-gpu for CUDA)",
            "tensorrt": "it comes with JetPack (python3-libnvinfer), else pip install tensorrt",
        }[backend]
        raise ValueError(f"backend {backend} is not installed; {remedy}")
    has_gpu = torch.cuda.is_available()
    if backend == "onnxruntime":
        import onnxruntime

        has_gpu = has_gpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device is None or device == "auto":
        device = "cuda" if has_gpu or backend == "tensorrt" else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; accepted: auto, cpu, cuda, cuda:N") from error
    if chosen.type == "cpu" and backend == "tensorrt":
        raise ValueError("backend tensorrt runs on a GPU only; set device to auto or cuda")
    if chosen.type == "cuda" and not has_gpu:
        raise ValueError(
            f"device {str(device)!r} requested, but backend {backend} sees no CUDA GPU here"
            + ("; it needs onnxruntime-gpu" if backend == "onnxruntime" else "")
        )
    return chosen
