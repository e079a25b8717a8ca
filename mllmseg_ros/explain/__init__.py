# SPDX-License-Identifier: Apache-2.0
"""Explain why an expression gets its result: attention, contributions, words, as one image."""

from __future__ import annotations

import warnings
from typing import Any

# Importing them from here is deprecated; imported lazily, because they need torch.
_MOVED = {
    "SEEN": "SEEN",
    "Explanation": "Explanation",
    "Region": "Region",
    "explain": "explain",
    "regions": "find_regions",
    "shortened": "leave_out_words",
}


def __getattr__(name: str) -> Any:
    """Forward the names of the former module ``explain``."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mllmseg_ros.explain import explanation

    warnings.warn(
        f"{__name__}.{name} has moved to {explanation.__name__}", DeprecationWarning, stacklevel=2
    )
    return getattr(explanation, _MOVED[name])
