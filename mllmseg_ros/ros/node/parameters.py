# SPDX-License-Identifier: Apache-2.0
"""The segmenter's parameters: names, defaults, descriptions, ranges, and what they accept.

``config/mllmseg.yaml`` mirrors this file and a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.language.conversation import LANGUAGES
from mllmseg_ros.ros.support.parameter_fields import check_choices
from mllmseg_ros.ros.support.parameter_fields import parameter as _parameter

__all__ = ["SegmenterParameters"]

_LEAST_RATE = 1e-3  # Hz
_CAMERA_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # one word of a topic name


@dataclass(frozen=True, kw_only=True)
class SegmenterParameters:
    """A checked snapshot of all parameters. Those not marked live take effect at configure."""

    autostart: bool = _parameter(
        True,
        "configure and activate at start; false where a lifecycle manager does that",
        read_only=True,
    )
    cameras: tuple[str, ...] = _parameter(
        ("",),
        "names of the cameras that one model looks through; a camera's topics are under its name "
        "(front/image, front/segmentations), those of the empty name are image, segmentations",
        read_only=True,
    )
    model: str = _parameter(
        "",
        "checkpoint: local folder, or name that mllmseg models download has brought here; empty: "
        "the embedded model; a change is loaded in the background, that before answers meanwhile",
        live=True,
    )
    device: str = _parameter("auto", "torch device: auto, cpu, cuda or cuda:N", live=True)
    dtype: str = _parameter(
        "auto",
        "number format of the model; auto: bfloat16 where the device has it, else float32",
        choices=("auto", "float32", "bfloat16", "float16"),
        live=True,
    )
    image_transport: str = _parameter(
        "auto",
        "auto: `image`, or `image/compressed` while nobody publishes `image`; raw or compressed: "
        "that one only",
        choices=("auto", "raw", "compressed"),
    )
    mode: str = _parameter(
        "continuous",
        "continuous: a message on command is answered for every image until another comes; "
        "on_demand: once",
        choices=("continuous", "on_demand"),
        live=True,
    )
    language: str = _parameter(
        "en",
        "in which commands are said in words (docs/commands.md); what is named reaches the model "
        "in English",
        choices=tuple(LANGUAGES),
        live=True,
    )
    tracking: bool = _parameter(
        True,
        "between two looks of the model the masks follow the image by optical flow and go out at "
        "the camera's rate, with a track_id; false: an answer goes out per look, on the image "
        "looked at",
        live=True,
    )
    key_frame_age: float = _parameter(
        0.5,
        "s, tracking; a picture that moves is looked at again when the last look is this old, one "
        "that does not move is not; 0: as often as the model can",
        range_=(0.0, 1e6),
        live=True,
    )
    prompt_mode: str = _parameter(
        "single",
        "single: each expression is asked on its own; joint: all in one prompt, as in the paper",
        choices=("single", "joint"),
        live=True,
        formerly="prompt",
    )
    decide_by: str = _parameter(
        "auto",
        "what decides whether a target is there: score (a checkpoint trained to reject), mask (any "
        "other: a mask that is not empty), auto (what the checkpoint was trained for)",
        choices=("auto", "score", "mask"),
        live=True,
    )
    threshold: float = _parameter(
        -1.0,
        "deciding by score: found from this score on; negative: the model's own",
        range_=(-1.0, 1.0),
        live=True,
    )
    min_mask_score: float = _parameter(
        -1.0,
        "deciding by mask: below this mean probability the result is LOW_CONFIDENCE; negative: the "
        "model's own",
        range_=(-1.0, 1.0),
        live=True,
        formerly="mask_score_limit",
    )
    max_age: float = _parameter(
        1.0,
        "s, ROS time; older images are not answered on, and a command that sees no younger one for "
        "as long gets STALE_INPUT; 0: no limit",
        range_=(0.0, 1e9),
        live=True,
    )
    max_rate: float = _parameter(
        0.0,
        "Hz, most answers per second to one command, 0.001 or more; 0: no limit",
        range_=(0.0, 1000.0),
        live=True,
    )
    depth_tolerance: float = _parameter(
        0.02,
        "s, how far the stamps of depth image and camera_info may be from the colour image's",
        range_=(0.0, 1.0),
        live=True,
    )
    rectified: bool = _parameter(
        False,
        "the images are rectified (image_rect): positions use P of camera_info instead of K and D",
        live=True,
    )
    target_frame: str = _parameter(
        "",
        "frame that everything in metres is told in, by TF at the image's stamp; empty: the "
        "camera's optical frame",
        live=True,
    )
    transform_timeout: float = _parameter(
        0.2,
        "s, real time; how long an answer waits for its transform before it goes out without a "
        "position",
        range_=(0.0, 10.0),
        live=True,
    )

    @property
    def max_age_ns(self) -> int:
        """ns, older images are not segmented; 0 = no limit."""
        return int(self.max_age * 1e9)

    @property
    def period_s(self) -> float:
        """s, shortest time between two results of the same command."""
        return 1 / self.max_rate if self.max_rate else 0.0

    def is_stale(self, age_ns: int) -> bool:
        """Whether an image is too old, or stamped as far ahead of time."""
        return bool(self.max_age_ns) and abs(age_ns) > self.max_age_ns

    def __post_init__(self) -> None:
        check_choices(self)
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
