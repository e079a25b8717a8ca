# SPDX-License-Identifier: Apache-2.0
"""The segmenter's parameters: names, defaults, descriptions, ranges, and what they accept.

``make parameters`` writes ``config/mllmseg.yaml`` and the table of docs/parameters.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mllmseg_ros.geometry.splitting import Splitting
from mllmseg_ros.language.conversation import LANGUAGES
from mllmseg_ros.ros.support.parameter_fields import check_choices
from mllmseg_ros.ros.support.parameter_fields import parameter as _parameter
from mllmseg_ros.tracking.decisions import DecisionRule

__all__ = ["SegmenterParameters"]

MAX_REQUEST_S = 3600.0  # s of real time that a request takes, however long its caller would wait
_LEAST_RATE = 1e-3  # Hz
_MAX_THREADS = 1024
_CAMERA_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # one word of a topic name


@dataclass(frozen=True, kw_only=True)
class SegmenterParameters:
    """A checked snapshot of all parameters. Those not marked live take effect at configure."""

    autostart: bool = _parameter(
        True,
        "Configure and activate the node at start. Set it to false where a lifecycle manager "
        "does that.",
        read_only=True,
    )
    cameras: tuple[str, ...] = _parameter(
        ("",),
        "Names of the cameras that share the model. A camera's topics are prefixed with its "
        "name (front/image, front/segmentations); with an empty name there is no prefix.",
        read_only=True,
    )
    model: str = _parameter(
        "",
        "Checkpoint: a local folder or the name of a downloaded model; empty: the embedded "
        "model. A new model is loaded in the background while the current one stays in use.",
        live=True,
    )
    device: str = _parameter(
        "auto",
        "Torch device: auto, cpu, cuda or cuda:N; auto: CUDA if available, else the CPU.",
        live=True,
    )
    dtype: str = _parameter(
        "auto",
        "Number format of the model; auto: bfloat16 if the device supports it, else float16 on "
        "a GPU and float32 on a CPU.",
        choices=("auto", "float32", "bfloat16", "float16"),
        live=True,
    )
    quantize: str = _parameter(
        "auto",
        "Number format of the language model's linear layers; auto: as the checkpoint is stored. "
        "int8 on a CPU also quantises the vision tower. All but none need torchao.",
        choices=("auto", "none", "int8", "int4", "fp8"),
        live=True,
    )
    compile: str = _parameter(
        "auto",
        "graphs: record the model's passes as CUDA graphs when it is loaded, and launch each at "
        "once; auto: where the device is CUDA; off: never.",
        choices=("auto", "graphs", "off"),
        live=True,
    )
    backend: str = _parameter(
        "auto",
        "What runs the model; auto: onnxruntime for a folder written by `mllmseg export`, else "
        "torch. tensorrt: the engines that its build_engines.sh has built on this machine.",
        choices=("auto", "torch", "onnxruntime", "tensorrt"),
        live=True,
    )
    threads: int = _parameter(
        0,
        "CPU threads that the model computes with; 0: as many as the machine has cores, or as "
        "OMP_NUM_THREADS says. Fewer leave cores to a planner or a camera driver.",
        read_only=True,
    )
    image_transport: str = _parameter(
        "auto",
        "Image topic to use; auto: `image`, or `image/compressed` while `image` has no "
        "publisher. raw and compressed use only that topic.",
        choices=("auto", "raw", "compressed"),
    )
    mode: str = _parameter(
        "continuous",
        "continuous: a command is answered for every image until the next command; on_demand: "
        "once.",
        choices=("continuous", "on_demand"),
        live=True,
    )
    language: str = _parameter(
        "en",
        "Language of commands in words (docs/commands.md). Expressions are passed to the model "
        "in English.",
        choices=tuple(LANGUAGES),
        live=True,
    )
    tracking: bool = _parameter(
        True,
        "Carry the masks from one inference to the next by optical flow and publish them at the "
        "camera's rate, with a track_id. false: publish one result per inference, on the image "
        "of that inference.",
        live=True,
    )
    key_frame_age: float = _parameter(
        0.5,
        "Tracking: a moving image triggers an inference when the last one is this old, in "
        "seconds; 0: as often as possible. A still image triggers none.",
        range_=(0.0, 1e6),
        live=True,
    )
    prompt_mode: str = _parameter(
        "single",
        "single: one prompt per expression; joint: all expressions in one prompt, as in the paper.",
        choices=("single", "joint"),
        live=True,
        formerly="prompt",
    )
    decide_by: str = _parameter(
        "auto",
        "What decides whether a target is there: auto, score or mask. score: for checkpoints "
        "trained to reject; mask: for all others, a mask that is not empty; auto: what the "
        "checkpoint was trained for.",
        choices=("auto", "score", "mask"),
        live=True,
    )
    threshold: float = _parameter(
        -1.0,
        "Deciding by score: the minimum score of a target that is found; negative: the model's "
        "own.",
        range_=(-1.0, 1.0),
        live=True,
    )
    min_mask_score: float = _parameter(
        -1.0,
        "Deciding by mask: with a lower mean probability over the mask a result is "
        "LOW_CONFIDENCE; negative: the model's own.",
        range_=(-1.0, 1.0),
        live=True,
        formerly="mask_score_limit",
    )
    confirm_inferences: int = _parameter(
        2,
        "Number of inferences in a row that have to agree before the decision about a target, or "
        "the number of its instances, changes; 1: each inference decides by itself. One that is "
        "sure decides at once. For commands in force in mode continuous; calls of services and "
        "goals get each inference's own decision.",
        range_=(1, 20),
        live=True,
    )
    drop_threshold: float = _parameter(
        -1.0,
        "Deciding by score: a target that was found stays found until the mean score of the last "
        "`confirm_inferences` inferences is below this; negative: two thirds of the odds of "
        "`threshold` (0.4 for 0.5).",
        range_=(-1.0, 1.0),
        live=True,
    )
    split_touching: bool = _parameter(
        True,
        "Things that touch or overlap in the image are several instances, as far as their outline "
        "or their depth shows it. false: what is one piece in the image is one instance.",
        live=True,
    )
    max_instances: int = _parameter(
        0,
        "Most instances of an expression, the largest first; 0: no limit.",
        range_=(0, 254),
        live=True,
    )
    max_age: float = _parameter(
        1.0,
        "Maximum age of an image, in seconds of ROS time; 0: no limit. Older images are not "
        "segmented, and a command that gets no newer image for as long gets STALE_INPUT. Use 0 "
        "for a recording that is played without its clock.",
        range_=(0.0, 1e9),
        live=True,
    )
    max_rate: float = _parameter(
        0.0,
        "Maximum number of results per second for one command, 0.001 or more; 0: no limit.",
        range_=(0.0, 1000.0),
        live=True,
    )
    depth_tolerance: float = _parameter(
        0.02,
        "Maximum difference between the stamps of the colour image and of its depth image and "
        "camera_info, in seconds.",
        range_=(0.0, 1.0),
        live=True,
    )
    rectified: bool = _parameter(
        False,
        "The images are rectified: positions are computed with P of camera_info instead of K and "
        "D. Always the case for topics whose name says so (image_rect, rect/image).",
        live=True,
    )
    target_frame: str = _parameter(
        "",
        "Frame of all positions, boxes and points, from TF at the image's stamp; empty: the "
        "camera's optical frame.",
        live=True,
    )
    upright_boxes: bool = _parameter(
        False,
        "The z axis of boxes is that of target_frame, which has to be set: for a frame whose z "
        "axis points up, boxes stand upright. false: one axis is perpendicular to the visible "
        "surface.",
        live=True,
    )
    transform_timeout: float = _parameter(
        0.2,
        "Maximum time that a result waits for its transform, in seconds of real time. Then it "
        "is published without a position.",
        range_=(0.0, 10.0),
        live=True,
    )

    request_timeout: float = _parameter(
        60.0,
        "Maximum time that a call of a service or a goal of the action takes, in seconds of real "
        "time, independent of ROS time and camera. A goal whose own timeout is longer may take "
        "that long, up to an hour.",
        range_=(0.1, MAX_REQUEST_S),
        live=True,
    )

    @property
    def splitting(self) -> Splitting:
        """How masks are split into instances."""
        return Splitting(touching=self.split_touching, max_instances=self.max_instances or None)

    def decision_rule(self, model: str, score_threshold: float) -> DecisionRule:
        """When decisions about a command in force change.

        Args:
            model: its name.
            score_threshold: from which on it finds a target.
        """
        return DecisionRule(
            confirm_inferences=1 if self.mode == "on_demand" else self.confirm_inferences,
            threshold=score_threshold,
            drop_threshold=None if self.drop_threshold < 0 else self.drop_threshold,
            model=model,
        )

    @property
    def max_age_ns(self) -> int:
        """ns, older images are not segmented; 0 = no limit."""
        return int(self.max_age * 1e9)

    @property
    def period_s(self) -> float:
        """s, shortest time between two results of the same command."""
        return 1 / self.max_rate if self.max_rate else 0.0

    def request_life_s(self, wanted_s: float = 0.0) -> float:
        """How long a request may take, s of real time, where its caller wants so much."""
        return min(max(self.request_timeout, wanted_s), MAX_REQUEST_S)

    def is_stale(self, age_ns: int) -> bool:
        """Whether an image is too old, or stamped as far ahead of time."""
        return bool(self.max_age_ns) and abs(age_ns) > self.max_age_ns

    def __post_init__(self) -> None:
        check_choices(self)
        if not 0 <= self.threads <= _MAX_THREADS:
            raise ValueError(
                f"parameter threads is {self.threads}, accepted are 0 to {_MAX_THREADS}"
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
        if self.upright_boxes and not self.target_frame:
            raise ValueError(
                "parameter upright_boxes is true and target_frame empty; accepted: a frame whose z "
                "axis points up, set first"
            )
        if 0 <= self.threshold < self.drop_threshold:
            raise ValueError(
                f"parameter drop_threshold is {self.drop_threshold!r}, accepted: up to threshold, "
                f"{self.threshold!r}"
            )
        if 0 < self.max_rate < _LEAST_RATE:
            raise ValueError(
                f"parameter max_rate is {self.max_rate!r} Hz, accepted: 0 (no limit) or at least "
                f"{_LEAST_RATE}"
            )
