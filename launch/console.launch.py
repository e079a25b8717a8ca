# SPDX-License-Identifier: Apache-2.0
"""Start the web console beside the segmenter, in the same namespace and with the same remappings.

    ros2 launch mllmseg_ros console.launch.py image:=/camera/color/image_raw

It says its address: http://127.0.0.1:8642/ unless told otherwise.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Parameters with their type; what is left empty comes from params_file.
PARAMETERS = {
    "address": (str, "IP address to serve the page at; any but this machine's needs token_file"),
    "port": (int, "TCP port of the page; 0: any that is free"),
    "token_file": (str, "file that holds the token that the page is opened with"),
    "origins": (str, "further addresses under which the page may be opened"),
    "segmenter": (str, "name of the segmenter node"),
}
# argument: (topic in the node, default, description)
TOPICS = {
    "image": ("image", "image", "colour images"),
    "image_compressed": (
        "image/compressed",
        [LaunchConfiguration("image"), "/compressed"],
        "compressed colour images",
    ),
    "command": ("command", "command", "commands"),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments."""
    file = PathJoinSubstitution([FindPackageShare("mllmseg_ros"), "config", "console.yaml"])

    def argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument("namespace", "", "namespace of the segmenter"),
            argument("params_file", file, "parameters of the node"),
            *(
                argument(name, "", f"{description}; empty: as in params_file")
                for name, (_, description) in PARAMETERS.items()
            ),
            *(
                argument(name, default, f"topic: {description}")
                for name, (_, default, description) in TOPICS.items()
            ),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    value = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *TOPICS)}
    parameters = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (kind, _) in PARAMETERS.items()
        if value[name]
    }
    return [
        Node(
            package="mllmseg_ros",
            executable="console",
            name="console",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            parameters=[LaunchConfiguration("params_file"), parameters],
            remappings=[(topic, value[name]) for name, (topic, _, _) in TOPICS.items()],
        )
    ]
