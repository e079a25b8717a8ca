# SPDX-License-Identifier: Apache-2.0
"""Start the web console beside the segmenter, in the same namespace and with the same remappings.

    ros2 launch mllmseg_ros console.launch.py preset:=realsense
    ros2 launch mllmseg_ros console.launch.py image:=/camera/color/image_raw

It logs its address, by default http://127.0.0.1:8642/.
"""

from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription
from mllmseg_ros.ros.console.parameters import ConsoleParameters
from mllmseg_ros.ros.support.launch_files import Topic, describe_node

TOPICS = {
    "image": Topic("image", "colour images"),
    "image_compressed": Topic(
        "image/compressed",
        "compressed colour images",
        [LaunchConfiguration("image"), "/compressed"],
    ),
    "command": Topic("command", "commands"),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments."""
    return describe_node(
        ConsoleParameters, TOPICS, executable="console", name="console", has_presets=True
    )
