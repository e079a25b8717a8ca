# SPDX-License-Identifier: Apache-2.0
"""The model in place, for the inference thread: encodes images, segments expressions, is timed."""

from __future__ import annotations

from collections.abc import Sequence

from mllmseg_ros.frame import Frame
from mllmseg_ros.ros.node.metrics import ModelMetrics
from mllmseg_ros.ros.node.model_loading import (
    EncodedImage,
    LoadedModel,
    free_memory,
    out_of_memory_advice,
)
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.support.parameter_fields import LiveParameters
from mllmseg_ros.segmentation import Segmentation

__all__ = ["InferenceBackend"]


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

    @property
    def name(self) -> str:
        """Name of the model in place."""
        return self.model.name

    @property
    def score_threshold(self) -> float:
        """Score (mask score, where the model cannot reject) from which on a target is found."""
        return self.model.score_threshold

    def replace(self, model: LoadedModel) -> None:
        """Use another model from the next image on; encoded images stay with theirs."""
        self.model = model
        self.apply_parameters()

    def apply_parameters(self) -> None:
        """Set what may change while the node runs."""
        self.model.apply(self._parameters.now)

    def encode(self, frame: Frame) -> EncodedImage:
        """Encode an image by the model in place.

        Raises:
            RuntimeError: if the model fails; where memory ran out it says what would fit.
        """
        model = self.model
        with out_of_memory_advice(model.parameters), self._metrics.encoding():
            return EncodedImage(model=model, context=model.segmenter.encode(frame.rgb))

    def segment(self, encoded: EncodedImage, expressions: Sequence[str]) -> Sequence[Segmentation]:
        """Segment expressions by the model that encoded the image.

        Raises:
            ValueError: if the model refuses an expression, as it would on every image.
            RuntimeError: if the model fails; where memory ran out it says what would fit.
        """
        with out_of_memory_advice(encoded.model.parameters), self._metrics.segmenting():
            return encoded.model.segmenter.segment(
                encoded.context, expressions, self._parameters.now.prompt_mode
            )

    def free_replaced(self) -> None:
        """Free the memory of a model that was replaced."""
        free_memory()
