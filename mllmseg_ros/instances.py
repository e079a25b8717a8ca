# SPDX-License-Identifier: Apache-2.0
"""Deprecated: moved to :mod:`mllmseg_ros.geometry.instances`."""

from mllmseg_ros.deprecation import forward

_RENAMED = {
    "Located": "InstanceSet",
    "OtherFrame": "TargetFrame",
    "instances_of": "locate_instances",
    "part_of": "restrict_to_part",
    "parts_of": "split_into_instances",
    "split_instances": "split_mask",
}
__getattr__ = forward(__name__, "mllmseg_ros.geometry.instances", **_RENAMED)
