# SPDX-License-Identifier: Apache-2.0
"""Load the model that the parameters name, and run it once.

torch is imported when a model is loaded, not before: a node without it can say what is missing.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings

import numpy as np

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.inference_backend import LoadedModel
from mllmseg_ros.ros.node.model_memory import check_free_memory, out_of_memory_advice
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.panics import panics_are_errors

__all__ = ["check_model", "load_model", "model_choice"]

_WARM_HW = (480, 640)


def model_choice(parameters: SegmenterParameters) -> dict[str, str]:
    """The parameters that say which model it is, by their names."""
    names = ("model", "device", "dtype", "quantize", "compile", "backend")
    return {name: getattr(parameters, name) for name in names}


def check_model(parameters: SegmenterParameters) -> None:
    """Check what is known about a model before it is loaded.

    Raises:
        ValueError: saying what is wrong and what to do about it.
    """
    from mllmseg_ros.export.exported_model import check_exported, choose_backend
    from mllmseg_ros.model.config import read_config
    from mllmseg_ros.model.precision import choose_device_and_dtype
    from mllmseg_ros.model.quantization import check_quantization, resolve_quantization

    try:
        folder = find_checkpoint(parameters.model or None)
        config = read_config(folder, checkpoint_name(parameters.model))
        backend = choose_backend(folder, parameters.backend)
        if backend != "torch":
            check_exported(folder, backend, parameters.device, parameters.dtype)
            return
        integrity.weight_files(folder)
        device, dtype = choose_device_and_dtype(parameters.device, parameters.dtype)
        kind = resolve_quantization(parameters.quantize, config.quantize)
        if kind:
            check_quantization(kind, device, dtype)
    except ValueError:
        raise
    except Exception as error:  # of the file system, of what is in a file, of PyTorch
        raise ValueError(
            f"model {parameters.model!r} on device {parameters.device!r} cannot be loaded: "
            f"{one_line(error)}"
        ) from error


def load_model(
    parameters: SegmenterParameters, cancelled: threading.Event | None = None
) -> LoadedModel:
    """Load the model that the parameters name and run it once.

    Args:
        parameters: of the node.
        cancelled: set by another thread, or by a signal, to give up.

    Raises:
        ValueError: saying what is wrong and what to do about it.
        LoadingCancelled: if ``cancelled`` was set.
    """
    try:
        import torch

        from mllmseg_ros.checkpoints.loading import LoadingCancelled
        from mllmseg_ros.segmenter import Segmenter
    except (ImportError, OSError) as error:  # OSError: a library that torch itself links to
        raise ValueError(
            f"{error}; install torch and transformers into {sys.prefix} (see requirements/)"
        ) from error
    began_s = time.monotonic()
    if parameters.threads:  # of this thread, and of those that begin to compute later
        torch.set_num_threads(parameters.threads)
    check_free_memory(parameters)
    try:
        with out_of_memory_advice(parameters), panics_are_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the node logs the segmenter's load_warning
            segmenter = Segmenter.from_pretrained(
                parameters.model or None,
                device=parameters.device,
                dtype=parameters.dtype,
                quantize=parameters.quantize,
                compile=parameters.compile,
                backend=parameters.backend,
                cancelled=cancelled,
            )
            if cancelled is not None and cancelled.is_set():
                raise LoadingCancelled(f"loading {segmenter.name} was cancelled")
            segmenter(np.zeros((*_WARM_HW, 3), dtype=np.uint8), ["the object"])
    except (RuntimeError, OSError) as error:
        raise ValueError(str(error)) from error
    return LoadedModel(segmenter, parameters, time.monotonic() - began_s)
