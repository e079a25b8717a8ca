# SPDX-License-Identifier: Apache-2.0
"""The node's parameters: names, defaults, descriptions, ranges, and the check of a change.

``config/mllmseg.yaml`` mirrors this file and a test compares the two. Entry points:
:class:`SegmenterParameters`, :func:`declare`, :func:`changed`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from mllmseg_ros.language.conversation import LANGUAGES

_LEAST_RATE = 1e-3  # Hz
_CAMERA_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # one word of a topic name
_Snapshot = TypeVar("_Snapshot")


def parameter(
    default: str | bool | int | float | tuple[str, ...],
    description: str,
    *,
    choices: Sequence[str] = (),
    range_: tuple[float, float] | None = None,
    live: bool = False,
    read_only: bool = False,
) -> Any:
    """A field of a snapshot: what the parameter is, and what is accepted."""
    metadata = {
        "description": description,
        "choices": choices,
        "range": range_,
        "live": live,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SegmenterParameters:
    """A checked snapshot of all parameters. Those not marked live take effect at configure."""

    autostart: bool = parameter(
        True,
        "configure and activate at start; false where a lifecycle manager does that",
        read_only=True,
    )
    cameras: tuple[str, ...] = parameter(
        ("",),
        "names of the cameras that one model looks through; a camera's topics are under its name "
        "(front/image, front/segmentations), those of the empty name are image, segmentations",
        read_only=True,
    )
    model: str = parameter(
        "",
        "checkpoint: local folder, or name that mllmseg models download has brought here; empty: "
        "the embedded model; a change is loaded in the background, that before answers meanwhile",
        live=True,
    )
    device: str = parameter("auto", "torch device: auto, cpu, cuda or cuda:N", live=True)
    dtype: str = parameter(
        "auto",
        "number format of the model; auto: bfloat16 where the device has it, else float32",
        choices=("auto", "float32", "bfloat16", "float16"),
        live=True,
    )
    image_transport: str = parameter(
        "auto",
        "auto: `image`, or `image/compressed` while nobody publishes `image`; raw or compressed: "
        "that one only",
        choices=("auto", "raw", "compressed"),
    )
    mode: str = parameter(
        "continuous",
        "continuous: a message on command is answered for every image until another comes; "
        "on_demand: once",
        choices=("continuous", "on_demand"),
        live=True,
    )
    language: str = parameter(
        "en",
        "in which commands are said in words (docs/commands.md); what is named reaches the model "
        "in English",
        choices=tuple(LANGUAGES),
        live=True,
    )
    tracking: bool = parameter(
        True,
        "between two looks of the model the masks follow the image by optical flow and go out at "
        "the camera's rate, with a track_id; false: an answer goes out per look, on the image "
        "looked at",
        live=True,
    )
    key_frame_age: float = parameter(
        0.5,
        "s, tracking; a picture that moves is looked at again when the last look is this old, one "
        "that does not move is not; 0: as often as the model can",
        range_=(0.0, 1e6),
        live=True,
    )
    prompt: str = parameter(
        "single",
        "single: each expression is asked on its own; joint: all in one prompt, as in the paper",
        choices=("single", "joint"),
        live=True,
    )
    decide_by: str = parameter(
        "auto",
        "what decides whether a target is there: score (a checkpoint trained to reject), mask (any "
        "other: a mask that is not empty), auto (what the checkpoint was trained for)",
        choices=("auto", "score", "mask"),
        live=True,
    )
    threshold: float = parameter(
        -1.0,
        "deciding by score: found from this score on; negative: the model's own",
        range_=(-1.0, 1.0),
        live=True,
    )
    mask_score_limit: float = parameter(
        -1.0,
        "deciding by mask: below this mean probability the answer is LOW_CONFIDENCE; negative: the "
        "model's own",
        range_=(-1.0, 1.0),
        live=True,
    )
    max_age: float = parameter(
        1.0,
        "s, ROS time; older images are not answered on, and a command that sees no younger one for "
        "as long gets STALE_INPUT; 0: no limit",
        range_=(0.0, 1e9),
        live=True,
    )
    max_rate: float = parameter(
        0.0,
        "Hz, most answers per second to one command, 0.001 or more; 0: no limit",
        range_=(0.0, 1000.0),
        live=True,
    )
    depth_tolerance: float = parameter(
        0.02,
        "s, how far the stamps of depth image and camera_info may be from the colour image's",
        range_=(0.0, 1.0),
        live=True,
    )
    rectified: bool = parameter(
        False,
        "the images are rectified (image_rect): positions use P of camera_info instead of K and D",
        live=True,
    )
    target_frame: str = parameter(
        "",
        "frame that everything in metres is told in, by TF at the image's stamp; empty: the "
        "camera's optical frame",
        live=True,
    )
    transform_timeout: float = parameter(
        0.2,
        "s, real time; how long an answer waits for its transform before it goes out without a "
        "position",
        range_=(0.0, 10.0),
        live=True,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value not in choices:
                raise ValueError(
                    f"parameter {field.name} is {value!r}, accepted: {', '.join(choices)}"
                )
        for name in self.cameras:
            if name and not _CAMERA_NAME.fullmatch(name):
                raise ValueError(
                    f"parameter cameras has {name!r}; accepted: letters, digits and _, a letter "
                    "first"
                )
        if len(set(self.cameras)) != len(self.cameras) or not self.cameras:
            raise ValueError(
                f"parameter cameras is {list(self.cameras)}; accepted: at least one name, each once"
            )
        if 0 < self.max_rate < _LEAST_RATE:
            raise ValueError(
                f"parameter max_rate is {self.max_rate!r} Hz, accepted: 0 (no limit) or at least "
                f"{_LEAST_RATE}"
            )


def declare(node: Node, snapshot: type[_Snapshot]) -> _Snapshot:
    """Declare all parameters of a kind of snapshot on a node and read them.

    Raises:
        ValueError: if one has a value that is not accepted.
    """
    values = {}
    for field in dataclasses.fields(snapshot):  # type: ignore[arg-type]
        values[field.name] = _value(
            node.declare_parameter(field.name, field.default, _descriptor(field)).value
        )
    return snapshot(**values)


def changed(
    current: SegmenterParameters, changes: Sequence[Parameter], *, configured: bool
) -> SegmenterParameters:
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
    fields = {field.name: field for field in dataclasses.fields(SegmenterParameters)}
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
    if range_ and isinstance(field.default, int):
        descriptor.integer_range = [
            IntegerRange(from_value=int(range_[0]), to_value=int(range_[1]), step=1)
        ]
    elif range_:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=range_[0], to_value=range_[1], step=0.0)
        ]
    descriptor.read_only = field.metadata["read_only"]
    return descriptor
