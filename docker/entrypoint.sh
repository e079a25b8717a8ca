#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Source the workspace, then replace this shell by the command, so that it receives signals directly.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"
