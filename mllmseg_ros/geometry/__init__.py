# SPDX-License-Identifier: Apache-2.0
"""Instances, their positions in metres, grasps and transforms."""
