# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.ros.support.tf`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {"OwnTree": "OwnBuffer", "Tf2Tree": "Tf2Buffer"}
__getattr__ = forward(__name__, "mllmseg_ros.ros.support.tf", **_RENAMED)
