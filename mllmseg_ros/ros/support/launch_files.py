# SPDX-License-Identifier: Apache-2.0
"""Describe a node for a launch file, with an argument for each of its parameters and topics.

The arguments come from the dataclass of the node's parameters, so the launch files are complete.
Needs the packages launch and launch_ros.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitution import Substitution
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from mllmseg_ros.ros.support.camera_presets import PRESETS
from mllmseg_ros.ros.support.parameter_fields import ParameterFields

__all__ = ["Topic", "describe_node"]

RESPAWN_DELAY_S = 5.0
_END_TIMEOUT_S = 15.0  # launch's own 5 s cut off a node that ends on a busy computer


@dataclasses.dataclass(frozen=True)
class Topic:
    """A topic that can be remapped by an argument."""

    name: str  # the node's name for it
    description: str
    default: object = None  # text or substitutions; None: the node's name for it


class PresetTopic(Substitution):
    """Topic that the argument ``preset`` gives to another argument, else that one's default."""

    def __init__(self, argument: str, default: Any) -> None:
        """Set up.

        Args:
            argument: of the launch file.
            default: text or substitutions, where there is no preset or it has no such topic.
        """
        super().__init__()
        self._argument = argument
        self._default = normalize_to_list_of_substitutions(default)

    def describe(self) -> str:
        """Describe it for ``ros2 launch --show-args``."""
        return " + ".join(each.describe() for each in self._default)

    def perform(self, context: LaunchContext) -> str:
        """Return the topic."""
        preset = PRESETS.get(LaunchConfiguration("preset").perform(context), {})
        if self._argument in preset:
            return preset[self._argument]
        return str(perform_substitutions(context, self._default))


def describe_node(
    parameters: type[ParameterFields],
    topics: Mapping[str, Topic],
    *,
    executable: str,
    name: str,
    action: type[Node] = Node,
    has_presets: bool = False,
) -> LaunchDescription:
    """Describe a node and its arguments.

    Args:
        parameters: dataclass of the node's parameters; each is an argument. ``params_file`` sets
            those that are not given.
        topics: argument -> topic.
        executable: executable of this package.
        name: name of the node; its parameter file is ``config/<name>.yaml``.
        action: Node or LifecycleNode.
        has_presets: whether an argument ``preset`` chooses the topics of a usual camera.
    """
    file = PathJoinSubstitution([FindPackageShare("mllmseg_ros"), "config", f"{name}.yaml"])
    types = {**typing.get_type_hints(parameters), "use_sim_time": bool}
    texts = {field.name: _describe(field) for field in dataclasses.fields(parameters)}
    for field in dataclasses.fields(parameters):
        if former := field.metadata["formerly"]:
            types[former], texts[former] = types[field.name], f"Deprecated: use {field.name}."
    texts["use_sim_time"] = "Use the time from /clock."

    def start(context: LaunchContext) -> list[Node]:
        def value_of(argument: str) -> Any:
            return LaunchConfiguration(argument).perform(context)

        return [
            action(
                package="mllmseg_ros",
                executable=executable,
                name=value_of("name"),
                namespace=value_of("namespace"),
                output="screen",
                parameters=[
                    value_of("params_file"),
                    {
                        each: _convert(each, types[each], context)
                        for each in texts
                        if value_of(each)
                    },
                ],
                respawn=LaunchConfiguration("respawn"),
                respawn_delay=RESPAWN_DELAY_S,
                sigterm_timeout=LaunchConfiguration("sigterm_timeout", default=_END_TIMEOUT_S),
                remappings=[(topic.name, value_of(each)) for each, topic in topics.items()],
            )
        ]

    return LaunchDescription(
        [
            *([_preset_argument()] if has_presets else []),
            _argument("namespace", "", "namespace of the node and of its topics"),
            _argument("name", name, "name of the node"),
            _argument("params_file", file, "parameters of the node"),
            _argument("respawn", "false", f"restart the node {RESPAWN_DELAY_S:g} s after it exits"),
            *(
                _argument(each, "", f"{text} If not given: as in params_file.")
                for each, text in texts.items()
            ),
            *(
                _argument(
                    each,
                    PresetTopic(each, default) if has_presets else default,
                    f"topic: {topic.description}",
                )
                for each, topic in topics.items()
                for default in [topic.name if topic.default is None else topic.default]
            ),
            OpaqueFunction(function=start),
        ]
    )


def _preset_argument() -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        "preset",
        default_value="",
        choices=["", *PRESETS],
        description="topics of this camera's driver (docs/your_camera.md); those given as "
        "arguments take precedence",
    )


def _argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(name, default_value=default, description=description)


def _describe(field: dataclasses.Field[Any]) -> str:
    choices = field.metadata["choices"]
    description: str = field.metadata["description"]
    return f"{description} One of: {', '.join(choices)}." if choices else description


def _convert(argument: str, kind: Any, context: LaunchContext) -> Any:
    """Convert an argument to the parameter's type; a name that looks like a number stays text."""
    is_list = typing.get_origin(kind) is tuple
    value = ParameterValue(
        LaunchConfiguration(argument),
        value_type=typing.List[str] if is_list else kind,  # noqa: UP006
    )
    try:
        return value if kind is str else value.evaluate(context)
    except ValueError as error:
        raise RuntimeError(f"argument {argument}: {error}") from None
