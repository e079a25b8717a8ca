# SPDX-License-Identifier: Apache-2.0
"""One training step's forward pass: batch in, losses out. No optimiser, no files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.train.mask_losses import answer_loss, mask_loss
from mllmseg_ros.train.tabletop.batches import Batch
from mllmseg_ros.train.tabletop.extra_heads import DenseHead, PointerHead, SketchHead

__all__ = ["Learner", "Losses"]

_DENSE_WEIGHT_IN_JOINT = 0.3
_POINTER_WEIGHT = 0.3


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Terms of one step; ``total`` is what is minimised."""

    total: Tensor
    terms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the network says about a batch: B pictures, N expressions, M of them with a target."""

    tokens: Tensor  # (B, G*G, C) vision tokens
    states: Tensor  # (M, D) of the expressions that have a target
    met: Tensor  # (M, G*G, C) the picture after it has met each of them
    answer_logits: Tensor  # (N, 2), [SEG] first


class Learner(nn.Module):
    """The network plus the heads that only training uses."""

    def __init__(self, model: MLLMSeg, seg_id: int, rej_id: int) -> None:
        super().__init__()
        self.model = model
        self.answer_ids = (seg_id, rej_id)
        # transformers' own plain attention is faster still than torch's math kernel.
        model.vision_tower.set_attn_implementation("eager")
        for module in model.modules():  # scenes and words are drawn afresh: nothing to overfit to
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        width, grid = model.config.vision.hidden_size, model.config.grid
        self.dense = DenseHead(width, grid)
        self.pointer = PointerHead(width, model.config.language.hidden_size)
        self.sketch = SketchHead(width, grid)

    def dense_losses(self, batch: Batch) -> Losses:
        """What every cell shows, vision tower only."""
        tokens = self.model.vision_tower(pixel_values=batch.pixel_values).last_hidden_state[:, 1:]
        loss, terms = self.dense(tokens, batch)
        return Losses(total=loss, terms=terms)

    def answers(self, batch: Batch) -> Answers:
        """Read every expression of a batch, and let those that have a target meet the picture."""
        assert batch.prompts is not None
        tokens, image_embeds = self.model.encode_vision(batch.pixel_values)
        image_states, states = self.model.read_packed(image_embeds, batch.prompts)
        fused = self.model.mask_decoder.fuse(tokens, image_states)
        named = states[batch.has_target]
        return Answers(
            tokens=tokens,
            states=named,
            met=self.model.mask_decoder.cross_attend(
                fused[batch.prompts.rows[batch.has_target]], named
            ),
            answer_logits=functional.linear(
                states, self.model.lm_head.weight[list(self.answer_ids)]
            ),
        )

    def joint_losses(self, batch: Batch) -> Losses:
        """Masks and answers of every expression, what there is to see kept in view."""
        assert batch.prompts is not None
        said = self.answers(batch)
        dense, terms = self.dense(said.tokens, batch)
        rows = batch.prompts.rows[batch.has_target]
        pointer = self.pointer(said.states, said.tokens, rows, batch.cell_target)
        sketch_dice, sketch_focal = mask_loss(self.sketch(said.met), batch.cell_target)
        dice, focal = mask_loss(
            self.model.mask_decoder.predict_logits(said.met[batch.drawn]), batch.target
        )
        answer = answer_loss(said.answer_logits, batch.has_target)
        total = (
            dice
            + focal
            + sketch_dice
            + sketch_focal
            + answer
            + _POINTER_WEIGHT * pointer
            + _DENSE_WEIGHT_IN_JOINT * dense
        )
        with torch.no_grad():
            said_there = said.answer_logits[:, 0] >= said.answer_logits[:, 1]
            terms |= {
                "dice": float(dice),
                "focal": float(focal),
                "sketch": float(sketch_dice),
                "pointer": float(pointer),
                "answer": float(answer),
                "answer_acc": float((said_there == batch.has_target).float().mean()),
            }
        return Losses(total=total, terms=terms)
