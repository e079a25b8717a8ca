# SPDX-License-Identifier: Apache-2.0
"""Images and referring expressions in, masks and decisions out: the public face of MLLMSeg.

    segmenter = Segmenter.from_pretrained()
    context = segmenter.encode(image)
    red_mug, bowl = segmenter.segment(context, ["the red mug", "the bowl"])

Knows nothing of ROS, files or drawing.
"""

from __future__ import annotations

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
from mllmseg_ros.model.pixels import resized, to_image_size, to_pixel_values
from mllmseg_ros.model.precision import choose
from mllmseg_ros.model.prompt import Prompt, PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.segmentation import Segmentation, Status, segmentation_of

__all__ = ["ImageContext", "Segmentation", "Segmenter", "Status"]

FOREGROUND = 0.5  # a pixel belongs to the mask from this probability on (golden facts, section 8)


@dataclass(frozen=True, kw_only=True)
class ImageContext:
    """One encoded frame; ask it as often as you like."""

    features: ImageFeatures
    size_hw: tuple[int, int]  # of the image, px


class Segmenter:
    """MLLMSeg with its tokenizer, ready to answer.

    Attributes:
        can_reject: the checkpoint was trained to answer [REJ]; set it to override the
            checkpoint's own word.
        threshold: where ``can_reject``: found from this score on.
        min_mask_score: where not ``can_reject``: below this mask score a mask is
            LOW_CONFIDENCE. A heuristic: such a checkpoint always points at something.
    """

    def __init__(self, model: MLLMSeg, tokenizer: Tokenizer) -> None:
        self.model = model
        self.prompts = PromptBuilder(tokenizer, model.config.prompt, model.config.n_image_tokens)
        self._prefix = self.prompts.build(["image"])  # any expression: its prefix is everybody's
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
    ) -> Segmenter:
        """Load a checkpoint.

        Args:
            path_or_name: local folder or Hugging Face name; None is the embedded model.
            device: torch device or its name; None is the best there is.
            dtype: torch dtype or its name; None is bfloat16 on CUDA and on CPUs with native
                bfloat16, else float32.

        Raises:
            ValueError: naming what is wrong with the checkpoint, device or dtype.
        """
        folder = find_checkpoint(path_or_name)
        chosen_device, chosen_dtype = choose(device, dtype)
        name = checkpoint_name(path_or_name)
        model = load_model(folder, chosen_device, chosen_dtype, name)
        return cls(model, Tokenizer.from_folder(folder))

    @property
    def mask_score_limit(self) -> float:
        """Former name of ``min_mask_score``; deprecated."""
        warnings.warn(
            "Segmenter.mask_score_limit is min_mask_score now", DeprecationWarning, stacklevel=2
        )
        return self.min_mask_score

    @mask_score_limit.setter
    def mask_score_limit(self, value: float) -> None:
        warnings.warn(
            "Segmenter.mask_score_limit is min_mask_score now", DeprecationWarning, stacklevel=2
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
        """Words of an expression that the model was never taught.

        Empty for models that do not say which words they know, as all that began with a language
        model.
        """
        known = self.model.config.known_words
        return unknown_words(expression, known) if known else []

    @property
    def device(self) -> torch.device:
        """Device the model runs on."""
        return self.model.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.model.lm_head.weight.dtype

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> ImageContext:
        """Do everything that depends on the image alone.

        Args:
            image: RGB uint8 (H, W, 3).

        Raises:
            ValueError: if it is of another type or shape.
        """
        pixels = to_pixel_values(resized(image, self.model.config.image_size_px))
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
        """Answer expressions on an encoded frame.

        Args:
            context: from :meth:`encode`.
            expressions: N referring expressions; N = 0 gives an empty list.
            prompt_mode: "single" asks each on its own, so that one never changes another; "joint"
                is the paper's prompt, all in one with every answer [SEG].
            prompt: former name of ``prompt_mode``; deprecated.

        Returns:
            One segmentation per expression, in order. A mask is computed for each, found or not.

        Raises:
            ValueError: if an expression is empty or too long, or ``prompt_mode`` is another word.
            RuntimeError: if the model gives numbers that are not finite.
        """
        if prompt is not None:
            warnings.warn("argument prompt is prompt_mode now", DeprecationWarning, stacklevel=2)
            prompt_mode = prompt
        if prompt_mode not in ("single", "joint"):
            raise ValueError(f"unknown prompt_mode {prompt_mode!r}; accepted: 'single', 'joint'")
        if isinstance(expressions, str):
            raise ValueError("expressions is one string; give a list of strings")
        if not expressions:
            return []
        questions = (
            [self.prompts.build(expressions)]
            if prompt_mode == "joint"
            else [self.prompts.build([expression]) for expression in expressions]
        )
        states = self._states(context, questions)
        scores = self._scores(states)
        probabilities = self._probabilities(context, states)
        return [
            self._answer(*each) for each in zip(expressions, scores, probabilities, strict=True)
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

    def _states(self, context: ImageContext, questions: Sequence[Prompt]) -> torch.Tensor:
        return self.model.read_prompts(
            context.features,
            [question.suffix_ids for question in questions],
            [question.state_positions for question in questions],
        )

    def _scores(self, states: torch.Tensor) -> list[float]:
        logits = self.model.answer_logits(states, (self.prompts.seg_id, self.prompts.rej_id))
        self._check(logits)
        return torch.softmax(logits, dim=-1)[:, 0].tolist()

    def _probabilities(self, context: ImageContext, states: torch.Tensor) -> NDArray[np.float32]:
        logits = self.model.decode_masks(context.features, states).float()
        self._check(logits)
        square = torch.sigmoid(logits)
        return to_image_size(square, context.size_hw).cpu().numpy()

    def _check(self, logits: torch.Tensor) -> None:
        """Take no NaN for a "not there"."""
        if not torch.isfinite(logits).all():
            raise RuntimeError(
                f"model {self.name} gave numbers that are not finite in {self.dtype}; try another "
                "dtype, or check its weights"
            )

    def _answer(
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
            doubt = f"{self.name} was never taught {words}"
        if not found:
            status = Status.NO_TARGET
        elif unknown or not area or (not self.can_reject and mask_score < self.min_mask_score):
            status = Status.LOW_CONFIDENCE
        else:
            status = Status.FOUND
        shown_score = score if self.can_reject else float("nan")
        return segmentation_of(
            expression, status, shown_score, mask_score, probability, mask, doubt
        )
