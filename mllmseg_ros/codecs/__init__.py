# SPDX-License-Identifier: Apache-2.0
"""Message fields to arrays and back, without ROS."""
