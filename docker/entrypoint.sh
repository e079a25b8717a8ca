#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Source the workspace, then become what was asked for: its signals are then its own.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"
