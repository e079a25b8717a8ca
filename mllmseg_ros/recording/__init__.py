# SPDX-License-Identifier: Apache-2.0
"""Recordings without ROS: bags, videos and folders in, answers, bags, videos and tables out."""
