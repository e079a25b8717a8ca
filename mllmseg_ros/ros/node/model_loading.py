# SPDX-License-Identifier: Apache-2.0
"""Load the model of the node and warm it, apply parameters to it, free it.

torch is imported when a model is loaded, not before: a node without it can say what is missing.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import PUBLISHED, checkpoint_name, find_checkpoint, smaller
from mllmseg_ros.error_text import one_line
from mllmseg_ros.ros.node.parameters import SegmenterParameters

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import ImageContext, Segmenter

__all__ = [
    "EncodedImage",
    "LoadedModel",
    "check_model",
    "free_memory",
    "load_model",
    "model_choice",
    "out_of_memory_advice",
]

_WARM_HW = (480, 640)
# How the system, the CPU and CUDA say that memory ran out, where the exception's type does not.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class LoadedModel:
    """A model in memory, and what it decides by where the parameters leave that to it.

    Attributes:
        segmenter: the model.
        parameters: that it was loaded by.
        load_s: s, how long loading took.
    """

    def __init__(
        self, segmenter: Segmenter, parameters: SegmenterParameters, load_s: float
    ) -> None:
        self.segmenter, self.parameters, self.load_s = segmenter, parameters, load_s
        self._can_reject = segmenter.can_reject
        self._threshold = segmenter.threshold
        self._min_mask_score = segmenter.min_mask_score

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.segmenter.name

    @property
    def score_threshold(self) -> float:
        """Score (mask score, where the model cannot reject) from which on a target is found."""
        segmenter = self.segmenter
        return segmenter.threshold if segmenter.can_reject else segmenter.min_mask_score

    def apply(self, parameters: SegmenterParameters) -> None:
        """Set what may change while the node runs."""
        segmenter = self.segmenter
        segmenter.can_reject = {
            "score": True, "mask": False, "auto": self._can_reject
        }[parameters.decide_by]  # fmt: skip
        segmenter.threshold = self._threshold if parameters.threshold < 0 else parameters.threshold
        segmenter.min_mask_score = (
            self._min_mask_score if parameters.min_mask_score < 0 else parameters.min_mask_score
        )


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An encoded image, with the model that alone can be asked about it."""

    model: LoadedModel
    context: ImageContext


def model_choice(parameters: SegmenterParameters) -> tuple[str, str, str]:
    """The part of the parameters that says which model it is."""
    return parameters.model, parameters.device, parameters.dtype


def check_model(parameters: SegmenterParameters) -> None:
    """Find out what can be known about a model before it is loaded.

    Raises:
        ValueError: saying what is wrong and what to do about it.
    """
    from mllmseg_ros.model.config import read_config
    from mllmseg_ros.model.precision import choose

    folder = find_checkpoint(parameters.model or None)
    read_config(folder, checkpoint_name(parameters.model))
    integrity.weight_files(folder)
    choose(parameters.device, parameters.dtype)


def load_model(parameters: SegmenterParameters) -> LoadedModel:
    """Load the model that the parameters name and run it once.

    Raises:
        ValueError: saying what is wrong and what to do about it.
    """
    try:
        from mllmseg_ros.segmenter import Segmenter
    except (ImportError, OSError) as error:  # OSError: a library that torch itself links to
        raise ValueError(
            f"{error}; install torch and transformers into {sys.prefix} (see requirements/)"
        ) from error
    began_s = time.monotonic()
    try:
        with out_of_memory_advice(parameters):
            segmenter = Segmenter.from_pretrained(
                parameters.model or None, device=parameters.device, dtype=parameters.dtype
            )
            segmenter(np.zeros((*_WARM_HW, 3), dtype=np.uint8), ["the object"])
    except (RuntimeError, OSError) as error:
        raise ValueError(str(error)) from error
    return LoadedModel(segmenter, parameters, time.monotonic() - began_s)


@contextmanager
def out_of_memory_advice(parameters: SegmenterParameters) -> Iterator[None]:
    """Turn running out of memory into an error that says what would fit.

    Raises:
        RuntimeError: where what stands inside ran out of memory, on the device or off it.
    """
    try:
        yield
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        reason = one_line(error, with_type=False) or type(error).__name__
        raise RuntimeError(f"{_advice(parameters)} ({reason})") from error


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or what it came from, means that."""
    if error is None:
        return False
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, of CUDA
        or any(each in str(error).lower() for each in _OUT_OF_MEMORY)
        or _is_out_of_memory(error.__cause__)
    )


def _advice(parameters: SegmenterParameters) -> str:
    import torch

    from mllmseg_ros.model.precision import choose

    device, dtype = choose(parameters.device, parameters.dtype)
    n_values = integrity.count_values(find_checkpoint(parameters.model or None))
    remedies = []
    if dtype == torch.float32:
        remedies.append(f"dtype to bfloat16 ({n_values * 2e-9:.1f} GB)")
    other = smaller(n_values)
    if other:
        n_bytes = next(each.n_bytes(dtype.itemsize) for each in PUBLISHED if each.name == other)
        remedies.append(f"model to {other} ({n_bytes / 1e9:.1f} GB)")
    if device.type != "cpu":
        remedies.append("device to cpu")
    remedy = f"set parameter {', or '.join(remedies)}" if remedies else "free some memory"
    return (
        f"memory ran out for {parameters.model or 'the embedded model'} in "
        f"{str(dtype).removeprefix('torch.')} on {device} "
        f"({n_values * dtype.itemsize / 1e9:.1f} GB of weights); {remedy}"
    )


def free_memory() -> None:
    """Hand memory of a model that nobody holds any more back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
