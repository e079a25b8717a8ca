# SPDX-License-Identifier: Apache-2.0
"""The model behind the node: load and warm it, apply live parameters, free it.

Torch is imported when a model is loaded, not before: a node without it can say what is missing.
Entry points: :func:`load`, :func:`apply`, :func:`score_limit`, :func:`free_memory`.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import numpy as np

from mllmseg_ros.ros.parameters import SegmenterParameters

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import Segmenter

_WARM_HW = (480, 640)


def load(parameters: SegmenterParameters) -> tuple[Segmenter, ModelDefaults]:
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
    try:
        segmenter = Segmenter.from_pretrained(
            parameters.model or None, device=parameters.device, dtype=parameters.dtype
        )
        segmenter(np.zeros((*_WARM_HW, 3), dtype=np.uint8), ["the object"])
    except (RuntimeError, OSError, MemoryError) as error:
        raise ValueError(
            f"{error}; if memory ran out, set parameter dtype to bfloat16, device to cpu, or take "
            "a smaller model"
        ) from error
    return segmenter, ModelDefaults(segmenter)


class ModelDefaults:
    """What a model decides by where the parameters leave it to the model."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.can_reject = segmenter.can_reject
        self.threshold = segmenter.threshold
        self.mask_score_limit = segmenter.mask_score_limit


def apply(segmenter: Segmenter, defaults: ModelDefaults, parameters: SegmenterParameters) -> None:
    """Set on the model what may change live."""
    segmenter.can_reject = {
        "score": True, "mask": False, "auto": defaults.can_reject
    }[parameters.decide_by]  # fmt: skip
    own_threshold, own_limit = parameters.threshold < 0, parameters.mask_score_limit < 0
    segmenter.threshold = defaults.threshold if own_threshold else parameters.threshold
    segmenter.mask_score_limit = (
        defaults.mask_score_limit if own_limit else parameters.mask_score_limit
    )


def score_limit(segmenter: Segmenter) -> float:
    """The score (of a model that cannot reject: the mask's) from which on a target is found."""
    return segmenter.threshold if segmenter.can_reject else segmenter.mask_score_limit


def free_memory() -> None:
    """Hand memory of a model that nobody holds any more back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
