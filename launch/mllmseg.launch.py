# SPDX-License-Identifier: Apache-2.0
"""Start the node on a camera.

    ros2 launch mllmseg_ros mllmseg.launch.py image:=/camera/color/image_raw \
        camera_info:=/camera/color/camera_info depth:=/camera/aligned_depth_to_color/image_raw

Usable inside a larger launch by IncludeLaunchDescription with the same arguments.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Parameters; what is left empty comes from params_file.
PARAMETERS = {
    "model": "checkpoint: local folder, or name that mllmseg models download has brought",
    "device": "torch device: auto, cpu, cuda or cuda:N",
    "dtype": "of the weights: auto, float32, bfloat16 or float16",
    "mode": "continuous, or on_demand: a command is answered once",
    "target_frame": "frame of everything in metres",
    "language": "of commands in words: en, de",
    "autostart": "configure and activate at start; false under a lifecycle manager",
    "use_sim_time": "take the time from /clock: true or false",
}
# argument: (topic in the node, description)
TOPICS = {
    "image": ("image", "colour images"),
    "image_compressed": ("image/compressed", "compressed colour images"),
    "camera_info": ("camera_info", "intrinsics of the camera"),
    "depth": ("depth/image", "depth images"),
    "depth_compressed": ("depth/image/compressedDepth", "compressed depth images"),
    "depth_camera_info": ("depth/camera_info", "intrinsics of depth that is not aligned"),
    "command": ("command", "commands"),
}
# As image_transport names it.
DEFAULTS = {
    "image_compressed": [LaunchConfiguration("image"), "/compressed"],
    "depth_compressed": [LaunchConfiguration("depth"), "/compressedDepth"],
}
BOOLEANS = ("autostart", "use_sim_time")


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments."""
    default_file = PathJoinSubstitution([FindPackageShare("mllmseg_ros"), "config", "mllmseg.yaml"])

    def argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument("namespace", "", "namespace of the node and of its topics"),
            argument("name", "mllmseg", "name of the node"),
            argument("params_file", default_file, "parameters of the node"),
            *(
                argument(name, "", f"{description}; empty: as in params_file")
                for name, description in PARAMETERS.items()
            ),
            *(
                argument(name, DEFAULTS.get(name, topic), f"topic: {description}")
                for name, (topic, description) in TOPICS.items()
            ),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    value = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *TOPICS)}
    given = {name: value[name] for name in PARAMETERS if value[name]}
    parameters = {
        # A name that looks like a number stays text.
        name: text.lower() == "true" if name in BOOLEANS else ParameterValue(text, value_type=str)
        for name, text in given.items()
    }
    return [
        LifecycleNode(
            package="mllmseg_ros",
            executable="mllmseg_node",
            name=LaunchConfiguration("name"),
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            parameters=[LaunchConfiguration("params_file"), parameters],
            remappings=[(topic, value[name]) for name, (topic, _) in TOPICS.items()],
        )
    ]
