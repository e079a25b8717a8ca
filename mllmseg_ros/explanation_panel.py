# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.explain.panel`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {"reason": "describe_decision"}
__getattr__ = forward(__name__, "mllmseg_ros.explain.panel", **_RENAMED)
