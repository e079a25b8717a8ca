# SPDX-License-Identifier: Apache-2.0
"""The parameter services of another node; Humble's rclpy has no parameter client."""

from __future__ import annotations

from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future


class ParameterServices:
    """The calls return futures of the services' responses."""

    def __init__(self, node: Node, node_name: str) -> None:
        self._get = node.create_client(GetParameters, f"{node_name}/get_parameters")
        self._set = node.create_client(SetParameters, f"{node_name}/set_parameters")

    def wait(self, timeout_s: float) -> bool:
        """Return whether the node's services are there in time."""
        return all(
            client.wait_for_service(timeout_sec=timeout_s) for client in (self._get, self._set)
        )

    def get(self, *names: str) -> Future:
        return self._get.call_async(GetParameters.Request(names=names))

    def set(self, **values: object) -> Future:
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        return self._set.call_async(
            SetParameters.Request(parameters=[each.to_parameter_msg() for each in parameters])
        )
