# SPDX-License-Identifier: Apache-2.0
"""Start the segmenter on the topics of a camera.

    ros2 launch mllmseg_ros mllmseg.launch.py preset:=realsense
    ros2 launch mllmseg_ros mllmseg.launch.py image:=/camera/color/image_raw \
        camera_info:=/camera/color/camera_info depth:=/camera/aligned_depth_to_color/image_raw

Another launch file can include it with the same arguments (IncludeLaunchDescription).
"""

from launch.actions import SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

from launch import LaunchDescription
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support import large_images
from mllmseg_ros.ros.support.launch_files import Topic, describe_node

# The defaults are the names that image_transport uses.
TOPICS = {
    "image": Topic("image", "colour images"),
    "image_compressed": Topic(
        "image/compressed",
        "compressed colour images",
        [LaunchConfiguration("image"), "/compressed"],
    ),
    "camera_info": Topic("camera_info", "intrinsics of the camera"),
    "depth": Topic("depth/image", "depth images"),
    "depth_compressed": Topic(
        "depth/image/compressedDepth",
        "compressed depth images",
        [LaunchConfiguration("depth"), "/compressedDepth"],
    ),
    "depth_camera_info": Topic("depth/camera_info", "intrinsics of unaligned depth images"),
    "command": Topic("command", "commands"),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments.

    Fast DDS's profile for large images is set for the node, and for what is launched after it.
    """
    node = describe_node(
        SegmenterParameters,
        TOPICS,
        executable="mllmseg_node",
        name="mllmseg",
        action=LifecycleNode,
        has_presets=True,
    )
    variables = large_images.environment().items()
    return LaunchDescription(
        [*(SetEnvironmentVariable(*each) for each in variables), *node.entities]
    )
