# SPDX-License-Identifier: Apache-2.0
"""A node's parameters as the fields of a frozen dataclass.

Knows no parameter by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

__all__ = ["changed", "check_choices", "declare", "parameter"]


class ParameterFields(Protocol):
    """A dataclass whose fields are made by :func:`parameter`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Parameters = TypeVar("Parameters", bound=ParameterFields)


class LiveParameters(Generic[Parameters]):
    """The parameters that hold now, for everything that reads them while the node runs.

    Attributes:
        now: a snapshot; replaced whole when parameters change.
    """

    def __init__(self, now: Parameters) -> None:
        self.now = now


def parameter(
    default: str | bool | float | tuple[str, ...],
    description: str,
    *,
    choices: Sequence[str] = (),
    range_: tuple[float, float] | None = None,
    live: bool = False,
    read_only: bool = False,
    formerly: str = "",
) -> Any:
    """A parameter.

    Args:
        default: and with it the type.
        description: shown by ``ros2 param describe``.
        choices: accepted values, where there is a list.
        range_: accepted values, both ends included.
        live: a change takes effect while the node runs.
        read_only: set at start alone.
        formerly: a name that is accepted too, with a warning, for one release.
    """
    metadata = {
        "description": description,
        "choices": choices,
        "range": range_,
        "live": live,
        "read_only": read_only,
        "formerly": formerly,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_choices(parameters: Any) -> None:
    """Check those that have a list of values.

    Raises:
        ValueError: naming what is accepted.
    """
    for field in dataclasses.fields(parameters):
        value, choices = getattr(parameters, field.name), field.metadata["choices"]
        if choices and value not in choices:
            raise ValueError(f"parameter {field.name} is {value!r}, accepted: {', '.join(choices)}")


def declare(node: Node, kind: type[Parameters]) -> Parameters:
    """Declare all parameters on a node and read them.

    Args:
        node: whose parameters they are.
        kind: the dataclass that they are the fields of.

    Raises:
        ValueError: if one has a value that is not accepted.
    """
    values = {}
    for field in dataclasses.fields(kind):
        values[field.name] = _value(
            node.declare_parameter(field.name, field.default, _descriptor(field)).value
        )
        former = field.metadata["formerly"]
        if not former:
            continue
        descriptor = _descriptor(field)
        descriptor.description = f"deprecated: use {field.name}"
        value = _value(node.declare_parameter(former, field.default, descriptor).value)
        if value != field.default:
            node.get_logger().warning(f"parameter {former} is called {field.name} now")
            values[field.name] = value
    return kind(**values)


def changed(current: Parameters, changes: Sequence[Parameter], *, configured: bool) -> Parameters:
    """Check a change.

    Args:
        current: the snapshot before it.
        changes: as ROS hands them over; parameters that are not ours are ignored.
        configured: the node holds a model, so that only live parameters may change.

    Returns:
        The snapshot after it.

    Raises:
        ValueError: saying what is not accepted, and why.
    """
    fields = {field.name: field for field in dataclasses.fields(current)}
    fields |= {f.metadata["formerly"]: f for f in fields.values() if f.metadata["formerly"]}
    values = {}
    for parameter in changes:
        field = fields.get(parameter.name)
        if field is None:
            continue
        value = _value(parameter.value)
        if configured and not field.metadata["live"] and value != getattr(current, field.name):
            raise ValueError(
                f"parameter {field.name} takes effect at configure; clean up the node first"
            )
        values[field.name] = value
    return dataclasses.replace(current, **values)


def _value(value: Any) -> Any:
    """As a snapshot keeps it: what may not change is no list."""
    return tuple(value) if isinstance(value, list) else value


def _descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=field.metadata["description"])
    choices, range_ = field.metadata["choices"], field.metadata["range"]
    if choices:
        descriptor.additional_constraints = f"one of: {', '.join(choices)}"
    if range_:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=range_[0], to_value=range_[1], step=0.0)
        ]
    descriptor.read_only = field.metadata["read_only"]
    return descriptor
