# SPDX-License-Identifier: Apache-2.0
"""Segment recordings without ROS: bags, videos and folders of images."""
