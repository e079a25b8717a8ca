# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.geometry.localization`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {"transformed": "transform_position"}
__getattr__ = forward(__name__, "mllmseg_ros.geometry.localization", **_RENAMED)
