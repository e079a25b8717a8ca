# SPDX-License-Identifier: Apache-2.0
"""Declare, check and change a node's parameters as the fields of a frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.parameter import Parameter

from mllmseg_ros.error_text import one_line

__all__ = ["changed", "check_choices", "declare", "parameter"]

_MAX_CHARS = 4096  # of a text, as long as a path may be


class ParameterFields(Protocol):
    """A dataclass whose fields are made by :func:`parameter`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Parameters = TypeVar("Parameters", bound=ParameterFields)


class LiveParameters(Generic[Parameters]):
    """The current parameters, shared by everything that reads them while the node runs.

    Attributes:
        now: a snapshot, replaced as a whole when parameters change.
    """

    def __init__(self, now: Parameters) -> None:
        self.now = now


def parameter(
    default: str | bool | float | tuple[str, ...],
    description: str,
    *,
    choices: Sequence[str] = (),
    range_: tuple[float, float] | tuple[int, int] | None = None,
    live: bool = False,
    read_only: bool = False,
    formerly: str = "",
) -> Any:
    """Define a parameter as a dataclass field.

    Args:
        default: default value; its type is the parameter's type.
        description: sentences, shown by ``ros2 param describe`` and in ``config/``; the
            table in docs/parameters.md shows the first one.
        choices: accepted values, where there is a list.
        range_: accepted range, both ends included.
        live: a change takes effect while the node runs.
        read_only: can be set at start only.
        formerly: former name, still accepted with a warning for one release.
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
    """Check the parameters that have a list of accepted values.

    Raises:
        ValueError: naming the accepted values.
    """
    for field in dataclasses.fields(parameters):
        value, choices = getattr(parameters, field.name), field.metadata["choices"]
        if choices and value not in choices:
            raise ValueError(f"parameter {field.name} is {value!r}, accepted: {', '.join(choices)}")


def declare(node: Node, kind: type[Parameters]) -> Parameters:
    """Declare all parameters on a node and read them, and have it reply to every change of them.

    Args:
        node: node to declare them on.
        kind: dataclass with a field per parameter.

    Raises:
        ValueError: if a value is not accepted.
    """
    _reply_to_every_change(node)
    values = {}
    for field in dataclasses.fields(kind):
        values[field.name] = _declare(node, field.name, field.default, _descriptor(field))
        former = field.metadata["formerly"]
        if not former:
            continue
        descriptor = _descriptor(field)
        descriptor.description = f"Deprecated: use {field.name}."
        value = _declare(node, former, field.default, descriptor)
        if value != field.default:
            node.get_logger().warning(f"parameter {former} is called {field.name} now")
            values[field.name] = value
    return kind(**values)


def _declare(node: Node, name: str, default: Any, descriptor: ParameterDescriptor) -> Any:
    """Declare one parameter and read it. A whole number sets a fraction: `max_rate:=1`."""
    try:
        return _freeze(node.declare_parameter(name, default, descriptor).value)
    except InvalidParameterTypeException:
        given = node.declare_parameter(name, None, ParameterDescriptor(dynamic_typing=True)).value
        node.undeclare_parameter(name)
        if not (type(default) is float and type(given) is int):
            raise
        return node.declare_parameter(name, float(given), descriptor, ignore_override=True).value


def changed(current: Parameters, changes: Sequence[Parameter], *, configured: bool) -> Parameters:
    """Apply and check changes of parameters.

    Args:
        current: snapshot before the change.
        changes: from ROS; parameters that are not fields of the snapshot are ignored.
        configured: the node holds a model, so that only live parameters may change.

    Returns:
        The snapshot after the change.

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
        value = _freeze(parameter.value)
        if configured and not field.metadata["live"] and value != getattr(current, field.name):
            raise ValueError(
                f"parameter {field.name} takes effect at configure; clean up the node first"
            )
        values[field.name] = value
    _check_lengths(values)
    return dataclasses.replace(current, **values)


def _check_lengths(values: dict[str, Any]) -> None:
    for name, value in values.items():
        texts = value if isinstance(value, tuple) else (value,)
        n_chars = max((len(each) for each in texts if isinstance(each, str)), default=0)
        if n_chars > _MAX_CHARS:
            raise ValueError(
                f"parameter {name} has {n_chars} characters, accepted are up to {_MAX_CHARS}"
            )


def _reply_to_every_change(node: Node) -> None:
    """Let a change that rclpy raises on, as on a value of no known type, be refused as others are.

    rclpy replies to nothing then.
    """
    for service in node.services:
        if service.srv_type is SetParameters:
            service.callback = partial(_set_each, node, service.callback)
        elif service.srv_type is SetParametersAtomically:
            service.callback = partial(_set_atomically, node, service.callback)


def _set_each(node: Node, set_: Callable, request: Any, response: Any) -> Any:
    for parameter in request.parameters:
        _accept_integer(node, parameter)
        one = SetParameters.Request(parameters=[parameter])
        try:
            response.results += set_(one, SetParameters.Response()).results
        except Exception as error:
            response.results.append(_refusal(error))
    return response


def _set_atomically(node: Node, set_: Callable, request: Any, response: Any) -> Any:
    for parameter in request.parameters:
        _accept_integer(node, parameter)
    try:
        return set_(request, response)
    except Exception as error:
        return SetParametersAtomically.Response(result=_refusal(error))


def _accept_integer(node: Node, parameter: ParameterMessage) -> None:
    """Make the whole number that sets a fraction one: `ros2 param set /mllmseg max_rate 1`."""
    value = parameter.value
    if value.type != ParameterType.PARAMETER_INTEGER or not node.has_parameter(parameter.name):
        return
    if node.get_parameter(parameter.name).type_ is Parameter.Type.DOUBLE:
        value.type, value.double_value = ParameterType.PARAMETER_DOUBLE, float(value.integer_value)


def _refusal(error: Exception) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=one_line(error))


def _freeze(value: Any) -> Any:
    """Make lists immutable."""
    return tuple(value) if isinstance(value, list) else value


def _descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=field.metadata["description"])
    choices, range_ = field.metadata["choices"], field.metadata["range"]
    if choices:
        descriptor.additional_constraints = f"one of: {', '.join(choices)}"
    if range_ and type(field.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=range_[0], to_value=range_[1], step=1)]
    elif range_:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=range_[0], to_value=range_[1], step=0.0)
        ]
    descriptor.read_only = field.metadata["read_only"]
    return descriptor
