# SPDX-License-Identifier: Apache-2.0
"""Start the speech node beside the segmenter.

    ros2 launch mllmseg_ros speech.launch.py source:=microphone speak:=true

Usable inside a larger launch by IncludeLaunchDescription with the same arguments.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

# Parameters; what is left empty comes from params_file.
PARAMETERS = {
    "source": "topic or microphone",
    "microphone": "number, or part of the name, as python -m sounddevice lists them",
    "recogniser": "pocketsphinx, whisper, faster_whisper or none",
    "recogniser_model": "whisper: local folder, or name of a model that is on this machine",
    "language": "what is spoken: en, or de with whisper",
    "push_to_talk": "hear only what is said while push_to_talk is true",
    "wake_word": "what every command has to begin with",
    "speak": "say answers aloud",
}
BOOLEANS = ("push_to_talk", "speak")
# topic in the node: description
TOPICS = {
    "audio": "audio",
    "command": "commands",
    "segmentations": "answers",
}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments."""
    default_file = PathJoinSubstitution([FindPackageShare("mllmseg_ros"), "config", "speech.yaml"])

    def argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description)

    return LaunchDescription(
        [
            argument("namespace", "", "namespace of the node and of its topics"),
            argument("params_file", default_file, "parameters of the node"),
            *(
                argument(name, "", f"{description}; empty: as in params_file")
                for name, description in PARAMETERS.items()
            ),
            *(argument(name, name, f"topic: {text}") for name, text in TOPICS.items()),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    value = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *TOPICS)}
    parameters = {
        # A name that looks like a number stays text.
        name: value[name].lower() == "true"
        if name in BOOLEANS
        else ParameterValue(value[name], value_type=str)
        for name in PARAMETERS
        if value[name]
    }
    return [
        Node(
            package="mllmseg_ros",
            executable="speech",
            name="speech",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            parameters=[LaunchConfiguration("params_file"), parameters],
            remappings=[(topic, value[topic]) for topic in TOPICS],
        )
    ]
