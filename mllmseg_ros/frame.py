# SPDX-License-Identifier: Apache-2.0
"""One camera image without ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Frame"]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """An image with its stamp and frame id."""

    rgb: NDArray[np.uint8]  # (H, W, 3) RGB
    stamp_ns: int  # ns, ROS time of exposure
    frame_id: str  # the camera's optical frame
