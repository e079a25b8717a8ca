# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.geometry.transforms`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {"inverse": "invert_transform", "matrix_of": "pose_to_matrix"}
__getattr__ = forward(__name__, "mllmseg_ros.geometry.transforms", **_RENAMED)
