# SPDX-License-Identifier: Apache-2.0
"""Answer an agent from a running segmenter. Results are private: the command is not affected."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.client import Client
from rclpy.parameter import parameter_value_to_python

from mllmseg_ros.agent.answers import (
    CameraList,
    CommandAnswer,
    EncodedImage,
    Explanation,
    Findings,
    StatusAnswer,
    View,
    clean_text,
    format_stamp,
)
from mllmseg_ros.agent.encoded_images import MAX_PANEL_SIDE_PX, encode_image
from mllmseg_ros.msg import SegmentationArray
from mllmseg_ros.ros.agent.camera_images import CameraImages, decode
from mllmseg_ros.ros.agent.convert import findings_from_message
from mllmseg_ros.ros.messages.image_msgs import nanoseconds, rgb_from_compressed
from mllmseg_ros.ros.messages.overlay import draw_result
from mllmseg_ros.srv import Explain, Segment, SetExpressions

if TYPE_CHECKING:
    from mllmseg_ros.ros.agent.node import AgentNode

__all__ = ["NodeBackend"]

CALL_S = 120.0  # for a reply; the segmenter's own limit, request_timeout, is half of it
CONFIRM_S = 2.0  # for the confirmation of a stop
_SERVICE_S = 5.0  # for a service to be discovered
_IMAGE_S = 5.0  # for an image, which may have to be discovered first
_DRAWN_S = 0.5  # for the image of a result, which may arrive after it
_POLL_S = 0.02

_Value = TypeVar("_Value")


class NodeBackend:
    """Implements :class:`~mllmseg_ros.agent.answers.AgentBackend` over ROS."""

    def __init__(self, node: AgentNode) -> None:
        """Use a node that somebody else spins."""
        self._node = node
        self._names: tuple[str, ...] = ()  # of the cameras, as far as they are known

    async def find(self, sentence: str, camera: str) -> tuple[Findings, EncodedImage | None]:
        """Segment the first image that is taken from now on."""
        images = await self._subscribe(camera)
        # After the first image the stamp of any later one will be known.
        await _until(lambda: images.n_received > 0, _IMAGE_S)
        request = Segment.Request(expressions=[sentence], camera=camera)
        response = await self._call(self._node.segment, request)
        findings = findings_from_message(sentence, camera, response.answer)
        if not findings.targets:
            return findings, None
        encoded = await self._draw(response.answer, images)
        if encoded is None:
            note = f"{findings.note}; no overlay: the image was not received here"
            findings = dataclasses.replace(findings, note=note)
        return findings, encoded

    async def look(self, camera: str) -> tuple[View, EncodedImage]:
        """Get the first image that arrives from now on."""
        images = await self._subscribe(camera)
        n_before = images.n_received
        if not await _until(lambda: images.n_received > n_before, _IMAGE_S):
            raise ValueError(f"no image of camera {camera!r} within {_IMAGE_S:g} s")
        message = images.newest()
        assert message is not None
        rgb = await asyncio.to_thread(decode, message)
        stamp_ns = nanoseconds(message.header.stamp)
        view = View(
            camera=camera,
            frame_id=clean_text(message.header.frame_id),
            stamp=format_stamp(stamp_ns),
            age_s=round((self._node.get_clock().now().nanoseconds - stamp_ns) / 1e9, 3),
            image_wh=(rgb.shape[1], rgb.shape[0]),
        )
        return view, await asyncio.to_thread(encode_image, rgb)

    async def explain(self, sentence: str, camera: str) -> tuple[Explanation, EncodedImage]:
        """Request an explanation on the newest image."""
        request = Explain.Request(expression=sentence, camera=camera)
        response = await self._call(self._node.explain, request)
        if not response.success:
            raise ValueError(clean_text(response.text))
        answer = Explanation(
            sentence=clean_text(sentence), camera=camera, text=clean_text(response.text)
        )
        panel = rgb_from_compressed(response.panel)
        return answer, await asyncio.to_thread(encode_image, panel, MAX_PANEL_SIDE_PX)

    async def list_cameras(self) -> CameraList:
        """Read the segmenter's parameter ``cameras``."""
        names = await self._read_names()
        return CameraList(
            cameras=names, n_left_out=0, text='cameras of the segmenter; "" is the only one'
            if names == ("",) else "cameras of the segmenter",
        )  # fmt: skip

    async def status(self, *, commands_allowed: bool) -> StatusAnswer:
        """Summarise the segmenter's diagnostics."""
        await _until(lambda: bool(self._node.statuses()), CONFIRM_S)
        statuses = {self._node.short_name(each): each for each in self._node.statuses()}
        problems = [
            f"{name}: {each.message}"
            for name, each in statuses.items()
            if each.level != DiagnosticStatus.OK
        ]
        model = statuses.get("model")
        values = {each.key: each.value for each in model.values} if model else {}
        state = values.get("state", "")
        return StatusAnswer(
            is_ready=state == "active",
            text=f"the segmenter is {state}" if state else "the segmenter does not run",
            model=clean_text(values.get("model", "")),
            cameras=tuple(
                clean_text(f"{name}: {each.message}")
                for name, each in statuses.items()
                if name.startswith("camera")
            ),
            problems=tuple(map(clean_text, problems)),
            commands_allowed=commands_allowed,
        )

    async def set_command(self, sentence: str, camera: str) -> CommandAnswer:
        """Put a command in force."""
        request = SetExpressions.Request(expressions=[sentence], camera=camera)
        response = await self._call(self._node.set_expressions, request)
        if not response.success:
            raise ValueError(clean_text(response.message))
        return CommandAnswer(
            accepted=True,
            text=clean_text(response.message) or "in force",
            request_id=response.request_id,
        )

    async def stop(self) -> CommandAnswer:
        """Publish a stop at once, then ask the segmenter to confirm that it has stopped."""
        is_heard = self._node.publish_command("stop")
        request = SetExpressions.Request(expressions=[], camera="")
        try:
            response = await self._call(self._node.set_expressions, request, CONFIRM_S)
        except ValueError as error:
            who = "" if is_heard else f"; nobody subscribes to {self._node.command_topic}"
            raise ValueError(f"a stop was sent, and not confirmed: {error}{who}") from None
        return CommandAnswer(accepted=True, text="stopped", request_id=response.request_id)

    async def _draw(self, result: SegmentationArray, images: CameraImages) -> EncodedImage | None:
        """Draw a result over its image; None where that was not received."""
        stamp_ns = nanoseconds(result.header.stamp)
        await _until(lambda: images.with_stamp(stamp_ns) is not None, _DRAWN_S)
        message = images.with_stamp(stamp_ns)
        if message is None:
            return None
        return await asyncio.to_thread(lambda: encode_image(draw_result(decode(message), result)))

    async def _subscribe(self, camera: str) -> CameraImages:
        """Subscribe to a camera that the segmenter has; its name becomes part of a topic's."""
        if camera not in self._names:
            self._names = await self._read_names()
        if not camera and len(self._names) == 1:
            camera = self._names[0]
        if camera not in self._names:
            accepted = ", ".join(map(repr, self._names))
            raise ValueError(f"camera is {clean_text(camera, 80)!r}, accepted: {accepted}")
        return await _wait(self._node.images(camera), _SERVICE_S)

    async def _read_names(self) -> tuple[str, ...]:
        request = GetParameters.Request(names=["cameras"])
        response = await self._call(self._node.get_parameters, request, _SERVICE_S)
        names = [parameter_value_to_python(each) for each in response.values]
        # They become parts of topic names.
        valid = [
            each
            for each in (names[0] if names else None) or ()
            if not each or (each.isascii() and each.isidentifier())
        ]
        return tuple(valid) or ("",)

    async def _call(self, client: Client, request: Any, timeout_s: float = CALL_S) -> Any:
        """Call a service; one that has not been discovered yet is waited for."""
        await _until(client.service_is_ready, min(_SERVICE_S, timeout_s))
        return await _wait(self._node.call(client, request, timeout_s), timeout_s)


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until a condition holds; returns whether it does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def _wait(future: Future[_Value], timeout_s: float) -> _Value:
    """Wait for a reply; what has not been sent by then is withdrawn."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
    except asyncio.TimeoutError:
        raise ValueError(f"the segmenter has not replied within {timeout_s:g} s") from None
