# SPDX-License-Identifier: Apache-2.0
"""Holds the current model; runs and times it for the inference thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.metrics import ModelMetrics
from mllmseg_ros.ros.node.model_memory import free_memory, out_of_memory_advice
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.panics import panics_are_errors
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.segmentation import Segmentation

if TYPE_CHECKING:
    from mllmseg_ros.segmenter import ImageContext, Segmenter

__all__ = ["EncodedImage", "InferenceBackend", "LoadedModel"]


class LoadedModel:
    """A model in memory, and what it decides by where the parameters leave that to it.

    Attributes:
        segmenter: the model.
        parameters: that it was loaded by.
        load_s: s, how long loading took.
    """

    def __init__(
        self, segmenter: Segmenter, parameters: SegmenterParameters, load_s: float
    ) -> None:
        self.segmenter, self.parameters, self.load_s = segmenter, parameters, load_s
        self._can_reject = segmenter.can_reject
        self._threshold = segmenter.threshold
        self._min_mask_score = segmenter.min_mask_score

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.segmenter.name

    @property
    def score_threshold(self) -> float:
        """Score (mask score, where the model cannot reject) from which on a target is found."""
        segmenter = self.segmenter
        return segmenter.threshold if segmenter.can_reject else segmenter.min_mask_score

    def apply(self, parameters: SegmenterParameters) -> None:
        """Set what may change while the node runs."""
        segmenter = self.segmenter
        segmenter.can_reject = {
            "score": True, "mask": False, "auto": self._can_reject
        }[parameters.decide_by]  # fmt: skip
        segmenter.threshold = self._threshold if parameters.threshold < 0 else parameters.threshold
        segmenter.min_mask_score = (
            self._min_mask_score if parameters.min_mask_score < 0 else parameters.min_mask_score
        )


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """An encoded image, and the model that encoded it."""

    model: LoadedModel
    context: ImageContext


class InferenceBackend:
    """Holds a loaded model, which another one can replace between two inferences."""

    def __init__(
        self,
        model: LoadedModel,
        parameters: LiveParameters[SegmenterParameters],
        metrics: ModelMetrics,
    ) -> None:
        """Set up.

        Args:
            model: the first one.
            parameters: of the node.
            metrics: take the times of encoding and segmenting.
        """
        self._parameters, self._metrics = parameters, metrics
        self.model = model
        self.apply_parameters()

    def replace(self, model: LoadedModel) -> None:
        """Use another model from the next image on; encoded images stay with theirs."""
        self.model = model
        self.apply_parameters()

    def apply_parameters(self) -> None:
        """Set what may change while the node runs."""
        self.model.apply(self._parameters.now)

    def encode(self, frame: Frame) -> EncodedImage:
        """Encode an image by the current model.

        Raises:
            ValueError: if a library panics.
            RuntimeError: if the model fails; where memory ran out it says what would fit.
        """
        model = self.model
        advice = out_of_memory_advice(model.parameters)
        with advice, panics_are_errors(), self._metrics.encoding():
            return EncodedImage(model=model, context=model.segmenter.encode(frame.rgb))

    def encode_and_segment(
        self, frame: Frame, expressions: Sequence[str]
    ) -> tuple[EncodedImage, Sequence[Segmentation]]:
        """Encode an image and segment expressions on it, in one pass of the language model.

        Raises:
            ValueError: as :meth:`segment`.
            RuntimeError: as :meth:`encode`.
        """
        model = self.model
        advice = out_of_memory_advice(model.parameters)
        with advice, panics_are_errors(), self._metrics.segmenting(encoded=False):
            context, segmentations = model.segmenter.encode_and_segment(
                frame.rgb, expressions, self._parameters.now.prompt_mode
            )
        return EncodedImage(model=model, context=context), segmentations

    def segment(self, encoded: EncodedImage, expressions: Sequence[str]) -> Sequence[Segmentation]:
        """Segment expressions by the model that encoded the image.

        Raises:
            ValueError: if the model refuses an expression, or a library panics on it, as it would
                on every image.
            RuntimeError: if the model fails; where memory ran out it says what would fit.
        """
        advice = out_of_memory_advice(encoded.model.parameters)
        with advice, panics_are_errors(), self._metrics.segmenting():
            return encoded.model.segmenter.segment(
                encoded.context, expressions, self._parameters.now.prompt_mode
            )

    def free_replaced(self) -> None:
        """Free the memory of a model that was replaced."""
        free_memory()
