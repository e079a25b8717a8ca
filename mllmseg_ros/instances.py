# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.geometry.instances`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {"Located": "InstanceSet", "OtherFrame": "TargetFrame"}
__getattr__ = forward(__name__, "mllmseg_ros.geometry.instances", **_RENAMED)
