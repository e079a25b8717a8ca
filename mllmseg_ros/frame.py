# SPDX-License-Identifier: Apache-2.0
"""One camera image without ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame", "bare_frame_id"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """An image with its stamp and frame id."""

    rgb: NDArray[np.uint8]  # (H, W, 3) RGB
    stamp_ns: int  # ns, ROS time of exposure
    frame_id: str  # the camera's optical frame


def bare_frame_id(frame_id: str) -> str:
    """Return a frame id without the leading slash of ROS 1's tf, which tf2 does not know.

    Frame ids are compared and looked up by what this returns, and published as they came.
    """
    return frame_id.removeprefix("/")
