# SPDX-License-Identifier: Apache-2.0
"""MLLMSeg for ROS 2: the pixels that a sentence names. Engine in ``segmenter``, node in ``ros``.

    from mllmseg_ros import Segmenter

Names of the engine are looked up when they are first used, so that importing the package, its
messages or its codecs does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mllmseg_ros.segmentation import Segmentation, Status
    from mllmseg_ros.segmenter import Segmenter

__all__ = ["Segmentation", "Segmenter", "Status"]

_MODULES = {"Segmentation": "segmentation", "Segmenter": "segmenter", "Status": "segmentation"}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
