# SPDX-License-Identifier: Apache-2.0
"""Read, describe and set the segmenter's parameters through its services."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.service_calls import ServiceCalls, complete
from mllmseg_ros.web.console_routes import REPLY_TIMEOUT_S
from mllmseg_ros.web.state import Setting, SettingValue

__all__ = ["RemoteParameters"]

_LIVE = [each.name for each in dataclasses.fields(SegmenterParameters) if each.metadata["live"]]
_CHOICES = "one of: "  # as the segmenter writes them into additional_constraints


class RemoteParameters:
    """The live parameters of a segmenter and the names of its cameras."""

    def __init__(
        self,
        node: Node,
        segmenter: str,
        calls: ServiceCalls,
        on_read: Callable[[Sequence[Setting], Sequence[str]], None],
    ) -> None:
        """Create the clients.

        Args:
            node: node to create the clients with.
            segmenter: name of the segmenter node.
            calls: sends the requests.
            on_read: called with the parameters and the cameras' names after each :meth:`read`.
        """
        self._calls, self._on_read = calls, on_read
        self._reading_until_s = -math.inf  # monotonic; when a lost reply is given up
        self._is_outdated = False  # parameters have changed since they were requested
        self._descriptors: list[ParameterDescriptor] = []
        self._settings: dict[str, Setting] = {}
        self._describe: Client = node.create_client(
            DescribeParameters, f"{segmenter}/describe_parameters"
        )
        self._get: Client = node.create_client(GetParameters, f"{segmenter}/get_parameters")
        self._set: Client = node.create_client(SetParameters, f"{segmenter}/set_parameters")

    @property
    def is_available(self) -> bool:
        """Whether the segmenter's parameter services are available."""
        return all(each.service_is_ready() for each in (self._describe, self._get, self._set))

    def read(self) -> None:
        """Request all parameters; ``on_read`` is called when they arrive.

        While a reply is awaited, further calls are one.
        """
        now_s = time.monotonic()
        self._is_outdated = now_s < self._reading_until_s
        if self._is_outdated:
            return
        self._reading_until_s = now_s + REPLY_TIMEOUT_S
        request = DescribeParameters.Request(names=_LIVE)
        self._calls.send(self._describe, request, REPLY_TIMEOUT_S, self._on_described)

    def _on_described(self, response: DescribeParameters.Response) -> None:
        self._descriptors = response.descriptors
        names = [each.name for each in self._descriptors]
        request = GetParameters.Request(names=[*names, "cameras"])
        self._calls.send(self._get, request, REPLY_TIMEOUT_S, self._on_values)

    def _on_values(self, response: GetParameters.Response) -> None:
        self._reading_until_s = -math.inf
        if self._is_outdated:
            self.read()
        values: list[Any] = [parameter_value_to_python(each) for each in response.values]
        cameras = values.pop()
        settings = [
            _convert_setting(descriptor, value)
            for descriptor, value in zip(self._descriptors, values, strict=True)
            if isinstance(value, SettingValue)
        ]
        self._settings = {each.name: each for each in settings}
        # They become parts of topic names.
        names = [
            each for each in cameras or () if not each or (each.isascii() and each.isidentifier())
        ]
        self._on_read(settings, names or [""])

    def set(self, name: str, value: SettingValue, refusal: Future[str]) -> None:
        """Set a parameter; ``refusal`` gets "" or the reason of a refusal.

        Raises:
            ValueError: Too many requests wait for a reply.
        """
        known = self._settings.get(name)
        if known is None or not self._set.service_is_ready():
            refusal.set_result(f"{name[:64]!r} cannot be set now")
            return
        if isinstance(known.value, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(known.value):
            kind = type(known.value).__name__
            refusal.set_result(f"{name} is {value!r:.64}, accepted: a value of type {kind}")
            return
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )

        self._calls.send(
            self._set,
            request,
            REPLY_TIMEOUT_S,
            lambda response: complete(refusal, lambda: _describe_refusal(response)),
        )


def _describe_refusal(response: SetParameters.Response) -> str:
    (result,) = response.results
    return "" if result.successful else result.reason or "refused"


def _convert_setting(descriptor: ParameterDescriptor, value: SettingValue) -> Setting:
    range_, constraints = None, descriptor.additional_constraints
    for each in (*descriptor.floating_point_range, *descriptor.integer_range):
        range_ = (each.from_value, each.to_value)
    choices: list[str] = []
    if constraints.startswith(_CHOICES):
        choices = constraints.removeprefix(_CHOICES).split(", ")
    return Setting(
        name=descriptor.name,
        description=descriptor.description,
        value=value,
        choices=choices,
        range=range_,
    )
