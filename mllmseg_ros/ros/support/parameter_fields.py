# SPDX-License-Identifier: Apache-2.0
"""Declare, check and change a node's parameters as the fields of a frozen dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
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
    range_: tuple[float, float] | None = None,
    live: bool = False,
    read_only: bool = False,
    formerly: str = "",
) -> Any:
    """Define a parameter as a dataclass field.

    Args:
        default: default value; its type is the parameter's type.
        description: sentences, shown by ``ros2 param describe`` and in ``config/``; the README
            shows the first one.
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
        values[field.name] = _freeze(
            node.declare_parameter(field.name, field.default, _descriptor(field)).value
        )
        former = field.metadata["formerly"]
        if not former:
            continue
        descriptor = _descriptor(field)
        descriptor.description = f"Deprecated: use {field.name}."
        value = _freeze(node.declare_parameter(former, field.default, descriptor).value)
        if value != field.default:
            node.get_logger().warning(f"parameter {former} is called {field.name} now")
            values[field.name] = value
    return kind(**values)


def changed(current: Parameters, changes: Sequence[Parameter], *, configured: bool) -> Parameters:
    """Apply and check changes of parameters.

    Args:
        current: snapshot before the change.
        changes: from ROS; parameters that are no fields of the snapshot are ignored.
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
            service.callback = partial(_set_each, service.callback)
        elif service.srv_type is SetParametersAtomically:
            service.callback = partial(_set_atomically, service.callback)


def _set_each(set_: Callable, request: Any, response: Any) -> Any:
    for parameter in request.parameters:
        one = SetParameters.Request(parameters=[parameter])
        try:
            response.results += set_(one, SetParameters.Response()).results
        except Exception as error:
            response.results.append(_refusal(error))
    return response


def _set_atomically(set_: Callable, request: Any, response: Any) -> Any:
    try:
        return set_(request, response)
    except Exception as error:
        return SetParametersAtomically.Response(result=_refusal(error))


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
    if range_:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=range_[0], to_value=range_[1], step=0.0)
        ]
    descriptor.read_only = field.metadata["read_only"]
    return descriptor
