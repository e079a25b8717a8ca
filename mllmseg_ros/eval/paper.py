# SPDX-License-Identifier: Apache-2.0
"""The reference's own evaluation protocols, teacher forcing included.

They check that this code computes what the paper's code computes: the prompt holds the true answer
of every expression. What a robot would get is what a ``Segmenter`` returns.

Source: docs/reference.md, sections 6 and 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.prompt import REJ, SEG, Prompt, PromptBuilder

__all__ = ["run_paper_protocol"]


@dataclass(frozen=True, kw_only=True)
class PaperOutput:
    """Outputs of the reference's evaluation loop for one image."""

    prompt: Prompt
    hidden: Tensor  # (L, D) states of the pass that gave the masks
    decision_logits: Tensor  # (N, V), first pass, at the positions that predict the answers
    rejected: tuple[bool, ...]  # (N,) arg-max over the whole vocabulary is exactly [REJ]
    probability: Tensor  # (M, S, S); RES: one per [SEG] target, GRES: one per expression


@torch.inference_mode()
def run_paper_protocol(
    model: MLLMSeg,
    prompts: PromptBuilder,
    pixel_values: Tensor,
    expressions: Sequence[str],
    has_target: Sequence[bool],
    *,
    two_passes: bool,
) -> PaperOutput:
    """Run the RES protocol (one pass) or the GRES protocol (``reeval``: two passes).

    Args:
        model: the network.
        prompts: its prompt builder.
        pixel_values: (1, 3, S, S).
        expressions: N expressions of one image.
        has_target: N true answers, put into the prompt of the first pass.
        two_passes: decide in the first pass, then compute all masks with every answer [SEG].
    """
    device = pixel_values.device
    first = prompts.build(expressions, [SEG if there else REJ for there in has_target])
    target_positions = [
        position
        for position, present in zip(first.answer_positions, has_target, strict=True)
        if present
    ]
    output = model(
        pixel_values,
        torch.tensor(first.input_ids, device=device),
        first.image_start,
        target_positions,
    )
    before = torch.tensor(first.answer_positions, device=device) - 1
    decision_logits = output.logits[before]
    prompt = first
    if two_passes and not all(has_target):
        prompt = prompts.build(expressions)
        output = model(
            pixel_values,
            torch.tensor(prompt.input_ids, device=device),
            prompt.image_start,
            prompt.answer_positions,
        )
    return PaperOutput(
        prompt=prompt,
        hidden=output.hidden,
        decision_logits=decision_logits,
        rejected=tuple((decision_logits.argmax(dim=-1) == prompts.rej_id).tolist()),
        probability=torch.sigmoid(output.mask_logits),
    )
