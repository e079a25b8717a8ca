# SPDX-License-Identifier: Apache-2.0
"""The answers that an agent gets, as immutable values that become JSON.

Uses neither ROS nor the MCP SDK. Text from outside (sentences, file names, a node's texts) is
escaped here, since a model reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mllmseg_ros.error_text import escape_invisible
from mllmseg_ros.geometry.instances import Instance
from mllmseg_ros.language.command import MAX_EXPRESSION_CHARS, Command
from mllmseg_ros.language.result_sentences import ExpressionResult, describe_results
from mllmseg_ros.segmentation import Status

__all__ = [
    "AgentBackend",
    "CameraList",
    "CommandAnswer",
    "EncodedImage",
    "Explanation",
    "Findings",
    "StatusAnswer",
    "Target",
    "View",
    "clean_text",
    "combine_findings",
    "target_of_instance",
]

TargetStatus = Literal["found", "no_target", "low_confidence"]
FindStatus = Literal[
    "ok", "partial", "no_target", "low_confidence", "stale_input", "superseded", "stopped", "error"
]
_MAX_TEXT_CHARS = 1000


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An encoded image."""

    data: bytes
    mime_type: str  # such as image/jpeg


@dataclass(frozen=True, kw_only=True)
class Target:
    """One instance of an expression, or that there is none."""

    expression: str
    expression_index: int  # of the expression in the sentence, from 0
    role: str  # "pick", "place", ...; "" without one
    status: TargetStatus
    found: bool  # for certain
    not_there: bool  # for certain: the model found nothing in the image that matches
    score: float | None  # probability that it is there, 0 to 1; None if the model cannot reject
    mask_score: float | None  # mean probability over the mask, 0 to 1
    box_xyxy: tuple[int, int, int, int] | None  # px, half-open
    inside_uv: tuple[int, int] | None  # px, well inside the mask
    area_px: int  # of the mask; 0 without one
    position_m: tuple[float, float, float] | None  # in frame_id; None without depth
    frame_id: str  # "" without a position
    distance_m: float | None  # from the camera; None if it is not known


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The result for a sentence on one image, or why there is none."""

    sentence: str
    status: FindStatus
    found: bool  # everything that the sentence names, for certain
    not_there: bool  # something that it names is, for certain, not in the image
    text: str  # one line
    note: str  # how the sentence was understood, why there is no position; "" for nothing
    camera: str
    frame_id: str  # of the image
    stamp: str  # of the image, s; "" without an image
    image_wh: tuple[int, int]  # px; boxes are in pixels of this size, (0, 0) without an image
    model: str
    targets: tuple[Target, ...]  # at least one per expression; none where there is no result


@dataclass(frozen=True, kw_only=True)
class View:
    """The newest image of a camera."""

    camera: str
    frame_id: str
    stamp: str  # s
    age_s: float
    image_wh: tuple[int, int]  # px


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why the result for an expression is as it is; the panel is an image."""

    sentence: str
    camera: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CameraList:
    """What can be looked at."""

    cameras: tuple[str, ...]
    n_left_out: int  # that are not listed, because there are too many
    text: str  # what the names are


@dataclass(frozen=True, kw_only=True)
class CommandAnswer:
    """What became of a command or a stop."""

    accepted: bool
    text: str
    request_id: str  # of its results; "" without one


@dataclass(frozen=True, kw_only=True)
class StatusAnswer:
    """Whether anything can be found at the moment."""

    is_ready: bool
    text: str
    model: str
    cameras: tuple[str, ...]  # a line for each
    problems: tuple[str, ...]  # none: all is well
    commands_allowed: bool


class AgentBackend(Protocol):
    """Answers what an agent asks; raises ValueError, in one line, where it cannot."""

    async def find(self, sentence: str, camera: str) -> tuple[Findings, EncodedImage | None]:
        """Look once for what a sentence names. The image is the overlay."""

    async def look(self, camera: str) -> tuple[View, EncodedImage]:
        """Get the newest image."""

    async def explain(self, sentence: str, camera: str) -> tuple[Explanation, EncodedImage]:
        """Explain the result on the newest image."""

    async def list_cameras(self) -> CameraList:
        """List what can be looked at."""

    async def status(self, *, commands_allowed: bool) -> StatusAnswer:
        """Say whether anything can be found."""

    async def set_command(self, sentence: str, camera: str) -> CommandAnswer:
        """Put a command in force."""

    async def stop(self) -> CommandAnswer:
        """End the command in force; sent before anything is waited for."""


def clean_text(text: str, max_chars: int = _MAX_TEXT_CHARS) -> str:
    """Make one line of a text from outside, without anything that cannot be seen."""
    return " ".join(escape_invisible(text[:max_chars]).split())


def target_of_instance(instance: Instance, command: Command) -> Target:
    """Convert an instance without a position, as image files have none."""
    one = instance.segmentation
    is_marked = one.status is not Status.NO_TARGET
    return Target(
        expression=one.expression,
        expression_index=instance.expression_index,
        role=command.targets[instance.expression_index].role,
        **status_fields(one.status),
        score=rounded(one.score),
        mask_score=rounded(one.mask_score),
        box_xyxy=one.box_xyxy if is_marked else None,
        inside_uv=one.inside_uv if is_marked else None,
        area_px=one.area_px if is_marked else 0,
        position_m=None,
        frame_id="",
        distance_m=None,
    )


def status_fields(status: Status) -> dict:
    """The three fields of a target that say whether it is there."""
    return {
        "status": status.value.lower(),
        "found": status is Status.FOUND,
        "not_there": status is Status.NO_TARGET,
    }


def rounded(value: float, digits: int = 4) -> float | None:
    """Round a number for a reader; None for NaN, which JSON does not have."""
    return round(value, digits) if math.isfinite(value) else None


def combine_findings(
    sentence: str,
    targets: Sequence[Target],
    *,
    note: str,
    camera: str,
    frame_id: str,
    stamp: str,
    image_wh: tuple[int, int],
    model: str,
) -> Findings:
    """Combine the targets on an image, at least one, to the result for a sentence."""
    results = _expression_results(targets)
    statuses = [each.status for each in results]
    if all(each is Status.FOUND for each in statuses):
        status: FindStatus = "ok"
    elif Status.FOUND in statuses:
        status = "partial"
    else:
        status = "low_confidence" if Status.LOW_CONFIDENCE in statuses else "no_target"
    return Findings(
        sentence=clean_text(sentence, MAX_EXPRESSION_CHARS),
        status=status,
        found=status == "ok",
        not_there=Status.NO_TARGET in statuses,
        text=clean_text(describe_results(results)),
        note=clean_text(note),
        camera=camera,
        frame_id=clean_text(frame_id),
        stamp=stamp,
        image_wh=image_wh,
        model=clean_text(model),
        targets=tuple(targets),
    )


def no_findings(sentence: str, status: FindStatus, text: str, camera: str) -> Findings:
    """The end of a request without a result. It is neither "found" nor "not there"."""
    return Findings(
        sentence=clean_text(sentence, MAX_EXPRESSION_CHARS),
        status=status,
        found=False,
        not_there=False,
        text=clean_text(text),
        note="",
        camera=clean_text(camera, 80),
        frame_id="",
        stamp="",
        image_wh=(0, 0),
        model="",
        targets=(),
    )


def format_stamp(stamp_ns: int) -> str:
    """Format a stamp as seconds; a number of JSON has too few digits for it."""
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"


def _expression_results(targets: Sequence[Target]) -> list[ExpressionResult]:
    """Join the instances of each expression."""
    results = {}
    for each in targets:
        of_it = [other for other in targets if other.expression_index == each.expression_index]
        n_found = sum(other.found for other in of_it)
        status = Status.FOUND if n_found else Status(of_it[0].status.upper())
        results[each.expression_index] = ExpressionResult(
            expression=each.expression, status=status, count=max(1, n_found)
        )
    return list(results.values())
