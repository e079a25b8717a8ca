# SPDX-License-Identifier: Apache-2.0
"""A node's launch file: every parameter and topic of the node is an argument of it.

The parameters are those of the node's own dataclass, so none is forgotten and each is described
once. For ``launch/*.launch.py``, where ROS 2's launch is.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from mllmseg_ros.ros.support.parameter_fields import ParameterFields

__all__ = ["Topic", "describe_node"]


@dataclasses.dataclass(frozen=True)
class Topic:
    """A topic that may be remapped by an argument."""

    name: str  # in the node
    description: str
    default: object = None  # text or substitutions; None: as in the node


def describe_node(
    parameters: type[ParameterFields],
    topics: Mapping[str, Topic],
    *,
    executable: str,
    name: str,
    action: type[Node] = Node,
) -> LaunchDescription:
    """Describe a node and its arguments.

    Args:
        parameters: the node's; each is an argument, and what is not given comes from
            ``params_file``.
        topics: argument -> topic.
        executable: of this package.
        name: of the node; its parameters' file is ``config/<name>.yaml``.
        action: Node, or LifecycleNode.
    """
    file = PathJoinSubstitution([FindPackageShare("mllmseg_ros"), "config", f"{name}.yaml"])
    types = {**typing.get_type_hints(parameters), "use_sim_time": bool}
    texts = {field.name: _text(field) for field in dataclasses.fields(parameters)}
    for field in dataclasses.fields(parameters):
        if former := field.metadata["formerly"]:
            types[former], texts[former] = types[field.name], f"deprecated: use {field.name}"
    texts["use_sim_time"] = "take the time from /clock"

    def start(context: LaunchContext) -> list[Node]:
        def given(argument: str) -> Any:
            return LaunchConfiguration(argument).perform(context)

        return [
            action(
                package="mllmseg_ros",
                executable=executable,
                name=given("name"),
                namespace=given("namespace"),
                output="screen",
                parameters=[
                    given("params_file"),
                    {each: _value(each, types[each], context) for each in texts if given(each)},
                ],
                remappings=[(topic.name, given(each)) for each, topic in topics.items()],
            )
        ]

    return LaunchDescription(
        [
            _argument("namespace", "", "namespace of the node and of its topics"),
            _argument("name", name, "name of the node"),
            _argument("params_file", file, "parameters of the node"),
            *(
                _argument(each, "", f"{text}; not given: as in params_file")
                for each, text in texts.items()
            ),
            *(
                _argument(
                    each,
                    topic.name if topic.default is None else topic.default,
                    f"topic: {topic.description}",
                )
                for each, topic in topics.items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def _argument(name: str, default: object, description: str) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(name, default_value=default, description=description)


def _text(field: dataclasses.Field[Any]) -> str:
    choices = field.metadata["choices"]
    described: str = field.metadata["description"]
    return f"{described}; one of {', '.join(choices)}" if choices else described


def _value(argument: str, kind: Any, context: LaunchContext) -> Any:
    """Of the parameter's type: a name that looks like a number stays text."""
    is_list = typing.get_origin(kind) is tuple
    value = ParameterValue(
        LaunchConfiguration(argument),
        value_type=typing.List[str] if is_list else kind,  # noqa: UP006
    )
    try:
        return value if kind is str else value.evaluate(context)
    except ValueError as error:
        raise RuntimeError(f"argument {argument}: {error}") from None
