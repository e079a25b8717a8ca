# SPDX-License-Identifier: Apache-2.0
"""Start the simulated camera, the segmenter and the commander; end with the commander.

    ros2 launch mllmseg_ros demo.launch.py rviz:=true

With RViz it ends when RViz is closed, with ``live:=true`` when it is interrupted: the last command
stays in force, and others can be sent to ``command``.
"""

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, OrSubstitution, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from mllmseg_ros.ros.support import large_images


def generate_launch_description() -> LaunchDescription:
    """Describe the demo."""
    share = FindPackageShare("mllmseg_ros")
    stays = OrSubstitution(LaunchConfiguration("rviz"), LaunchConfiguration("live"))
    return LaunchDescription(
        [
            *(SetEnvironmentVariable(*item) for item in large_images.environment().items()),
            DeclareLaunchArgument("model", default_value="", description="Checkpoint."),
            DeclareLaunchArgument("device", default_value="cpu", description="Torch device."),
            DeclareLaunchArgument("seed", default_value="17", description="Number of the scene."),
            DeclareLaunchArgument(
                "out", default_value="demo_overlays", description="Folder for the overlays."
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", description="Start RViz, and exit when it is closed."
            ),
            DeclareLaunchArgument(
                "live", default_value="false", description="Keep running after the last command."
            ),
            Node(
                package="mllmseg_ros",
                executable="sim_camera",
                output="screen",
                parameters=[{"seed": LaunchConfiguration("seed")}],
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution([share, "launch", "mllmseg.launch.py"]),
                launch_arguments={
                    "model": LaunchConfiguration("model"),
                    "device": LaunchConfiguration("device"),
                }.items(),
            ),
            Node(
                package="mllmseg_ros",
                executable="demo_commander",
                output="screen",
                arguments=["--out", LaunchConfiguration("out"), "--keep", stays],
                on_exit=Shutdown(reason="the demo has finished", condition=UnlessCondition(stays)),
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", PathJoinSubstitution([share, "rviz", "mllmseg.rviz"])],
                condition=IfCondition(LaunchConfiguration("rviz")),
                on_exit=Shutdown(reason="RViz was closed"),
            ),
        ]
    )
