# SPDX-License-Identifier: Apache-2.0
"""Start the speech node beside the segmenter.

    ros2 launch mllmseg_ros speech.launch.py source:=microphone speak:=true

Another launch file can include it with the same arguments (IncludeLaunchDescription).
"""

from launch import LaunchDescription
from mllmseg_ros.ros.speech.parameters import SpeechParameters
from mllmseg_ros.ros.support.launch_files import Topic, describe_node

TOPICS = {
    "audio": Topic("audio", "audio"),
    "text": Topic("text", "text of another recogniser"),
    "command": Topic("command", "commands"),
    "segmentations": Topic("segmentations", "results"),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the node and its arguments."""
    return describe_node(SpeechParameters, TOPICS, executable="speech", name="speech")
