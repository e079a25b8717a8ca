# SPDX-License-Identifier: Apache-2.0
"""Convert ROS messages to arrays and back."""
