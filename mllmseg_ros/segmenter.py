# SPDX-License-Identifier: Apache-2.0
"""Segment images by referring expressions: the public API of MLLMSeg.

    segmenter = Segmenter.from_pretrained()
    context = segmenter.encode(image)
    red_mug, bowl = segmenter.segment(context, ["the red mug", "the bowl"])

Knows nothing of ROS, files or drawing.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mllmseg_ros.checkpoints.hub import checkpoint_name, find_checkpoint
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.model.known_words import unknown_words
from mllmseg_ros.model.mllmseg import ImageFeatures, MLLMSeg
from mllmseg_ros.model.pixels import resize_to_square, to_image_size, to_pixel_values
from mllmseg_ros.model.precision import choose_device_and_dtype
from mllmseg_ros.model.prompt import (
    MAX_TOKENS_AT_ONCE,
    Prompt,
    PromptBuilder,
    check_expressions,
    normalize_expression,
)
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation

__all__ = ["ImageContext", "Segmentation", "Segmenter", "Status"]

# A pixel belongs to the mask from this probability on (docs/reference.md, section 8).
FOREGROUND = 0.5


@dataclass(frozen=True, kw_only=True)
class ImageContext:
    """One encoded image, for any number of expressions."""

    features: ImageFeatures
    size_hw: tuple[int, int]  # of the image, px


class Segmenter:
    """MLLMSeg with its tokenizer.

    Attributes:
        can_reject: the checkpoint was trained to answer [REJ]; can be set to override its
            configuration.
        threshold: with ``can_reject``, targets are found from this score on.
        min_mask_score: without ``can_reject``, targets below this mask score have LOW_CONFIDENCE.
            A heuristic: such a checkpoint always segments something.
    """

    def __init__(self, model: MLLMSeg, tokenizer: Tokenizer) -> None:
        """Combine a network with its tokenizer.

        Raises:
            ValueError: if they do not fit together.
        """
        self.model = model
        self.prompts = PromptBuilder(tokenizer, model.config.prompt, model.config.n_image_tokens)
        self._prefix = self.prompts.build(["image"])  # the prefix does not depend on the expression
        largest = max(tokenizer.largest_id, self.prompts.rej_id, *self._prefix.input_ids)
        n_rows = model.lm_head.weight.shape[0]
        if largest >= n_rows:  # on a GPU, such a token would end all work of the process
            raise ValueError(
                f"the tokenizer has a token with id {largest}, the model's vocabulary has {n_rows}"
            )
        self.can_reject = model.config.can_reject
        self.threshold = 0.5
        self.min_mask_score = 0.7

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        cancelled: threading.Event | None = None,
    ) -> Segmenter:
        """Load a checkpoint.

        Args:
            path_or_name: local folder or Hugging Face name; None is the embedded model.
            device: torch device or its name; None is the best available.
            dtype: torch dtype or its name; None is bfloat16 on CUDA and on CPUs with native
                bfloat16, else float32.
            cancelled: set by another thread to give up.

        Raises:
            ValueError: if the checkpoint, device or dtype cannot be used.
            LoadingCancelled: if ``cancelled`` was set.
        """
        folder = find_checkpoint(path_or_name)
        chosen_device, chosen_dtype = choose_device_and_dtype(device, dtype)
        name = checkpoint_name(path_or_name)
        tokenizer = Tokenizer.from_folder(folder)  # before the weights: it is quickly refused
        model = load_model(folder, chosen_device, chosen_dtype, name, cancelled)
        return cls(model, tokenizer)

    @property
    def mask_score_limit(self) -> float:
        """Former name of ``min_mask_score``; deprecated."""
        warnings.warn(
            "Segmenter.mask_score_limit was renamed to min_mask_score",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.min_mask_score

    @mask_score_limit.setter
    def mask_score_limit(self, value: float) -> None:
        warnings.warn(
            "Segmenter.mask_score_limit was renamed to min_mask_score",
            DeprecationWarning,
            stacklevel=2,
        )
        self.min_mask_score = value

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.config.name

    @property
    def synthetic_only(self) -> bool:
        """Whether the model was trained on simulated scenes only."""
        return self.model.config.synthetic_only

    def unknown_words(self, expression: str) -> list[str]:
        """Return the words of an expression that the model was not trained on.

        Empty for models without a list of known words, such as all with a pretrained language
        model.

        Raises:
            ValueError: if the expression is empty or too long.
        """
        known = self.model.config.known_words
        normalize_expression(expression)  # checks its length
        return unknown_words(expression, known) if known else []

    @property
    def device(self) -> torch.device:
        """Device the model runs on."""
        return self.model.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return self.model.lm_head.weight.dtype

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> ImageContext:
        """Encode an image: everything that does not depend on the expression.

        Args:
            image: RGB uint8 (H, W, 3).

        Raises:
            ValueError: if its dtype or shape is wrong.
        """
        pixels = to_pixel_values(resize_to_square(image, self.model.config.image_size_px))
        features = self.model.encode_image(
            pixels[None].to(self.device, self.dtype),
            torch.tensor([self._prefix.prefix_ids], device=self.device),
            self._prefix.image_start,
        )
        return ImageContext(features=features, size_hw=(image.shape[0], image.shape[1]))

    @torch.inference_mode()
    def segment(
        self,
        context: ImageContext,
        expressions: Sequence[str],
        prompt_mode: str = "single",
        *,
        prompt: str | None = None,
    ) -> list[Segmentation]:
        """Segment an encoded image by expressions.

        Args:
            context: from :meth:`encode`.
            expressions: N referring expressions; N = 0 gives an empty list.
            prompt_mode: "single" has one prompt per expression, so that they do not influence each
                other; "joint" is the paper's prompt, all in one with every answer [SEG].
            prompt: former name of ``prompt_mode``; deprecated.

        Returns:
            One segmentation per expression, in order. Every one has a mask, found or not.

        Raises:
            ValueError: if an expression is empty or too long, there are too many, or
                ``prompt_mode`` is unknown.
            RuntimeError: if the model's output is not finite.
        """
        if prompt is not None:
            warnings.warn(
                "argument prompt was renamed to prompt_mode", DeprecationWarning, stacklevel=2
            )
            prompt_mode = prompt
        if prompt_mode not in ("single", "joint"):
            raise ValueError(f"unknown prompt_mode {prompt_mode!r}; accepted: 'single', 'joint'")
        check_expressions(expressions)
        if not expressions:
            return []
        prompts = (
            [self.prompts.build(expressions)]
            if prompt_mode == "joint"
            else [self.prompts.build([expression]) for expression in expressions]
        )
        n_tokens = sum(len(each.suffix_ids) for each in prompts)
        if n_tokens > MAX_TOKENS_AT_ONCE:
            raise ValueError(
                f"the expressions have {n_tokens} tokens in all, accepted at once are up to "
                f"{MAX_TOKENS_AT_ONCE}; ask for fewer or shorter expressions"
            )
        states = self._compute_states(context, prompts)
        scores = self._compute_scores(states)
        probabilities = self._compute_probabilities(context, states)
        return [
            self._decide(*each) for each in zip(expressions, scores, probabilities, strict=True)
        ]

    def __call__(
        self,
        image: NDArray[np.uint8],
        expressions: Sequence[str],
        prompt_mode: str = "single",
        *,
        prompt: str | None = None,
    ) -> list[Segmentation]:
        """Encode and segment in one call."""
        return self.segment(self.encode(image), expressions, prompt_mode, prompt=prompt)

    def _compute_states(self, context: ImageContext, prompts: Sequence[Prompt]) -> torch.Tensor:
        return self.model.read_prompts(context.features, prompts)

    def _compute_scores(self, states: torch.Tensor) -> list[float]:
        logits = self.model.answer_logits(states, (self.prompts.seg_id, self.prompts.rej_id))
        self._check_finite(logits)
        return torch.softmax(logits, dim=-1)[:, 0].tolist()

    def _compute_probabilities(
        self, context: ImageContext, states: torch.Tensor
    ) -> NDArray[np.float32]:
        logits = self.model.decode_masks(context.features, states).float()
        self._check_finite(logits)
        square = torch.sigmoid(logits)
        return to_image_size(square, context.size_hw).cpu().numpy()

    def _check_finite(self, logits: torch.Tensor) -> None:
        """Raise an error for NaN, which would be taken for "not there"."""
        if not torch.isfinite(logits).all():
            raise RuntimeError(
                f"the output of model {self.name} is not finite in {self.dtype}; try another "
                "dtype, or check its weights"
            )

    def _decide(
        self, expression: str, score: float, probability: NDArray[np.float32]
    ) -> Segmentation:
        mask = probability >= FOREGROUND
        area = int(mask.sum())
        mask_score = float(probability[mask].mean()) if area else 0.0
        found = score >= self.threshold if self.can_reject else area > 0
        unknown = self.unknown_words(expression) if found else []
        doubt = ""
        if unknown:
            words = ", ".join(repr(word) for word in unknown)
            doubt = f"{self.name} was not trained on {words}"
        if not found:
            status = Status.NO_TARGET
        elif unknown or not area or (not self.can_reject and mask_score < self.min_mask_score):
            status = Status.LOW_CONFIDENCE
        else:
            status = Status.FOUND
        reported_score = score if self.can_reject else float("nan")
        return build_segmentation(
            expression, status, reported_score, mask_score, probability, mask, doubt
        )
