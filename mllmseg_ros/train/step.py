# SPDX-License-Identifier: Apache-2.0
"""One training step's forward pass: batch in, losses out. No optimiser, no files.

Entry points: :class:`Learner`, :class:`Losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.sim.objects import COLORS, KINDS
from mllmseg_ros.train.batches import DENSE_CELLS, Batch
from mllmseg_ros.train.losses import answer_loss, mask_loss
from mllmseg_ros.train.packed import read_packed

_ANSWER_WEIGHT = 0.5
_DENSE_WEIGHT_IN_JOINT = 0.3


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Terms of one step; ``total`` is what is minimised."""

    total: Tensor
    terms: dict[str, float]


class Learner(nn.Module):
    """The network plus the dense head that only training uses.

    The dense head reads colour and kind of each cell off the vision tokens by one linear layer: it
    teaches the vision tower what there is to see before any word does.
    """

    def __init__(self, model: MLLMSeg, seg_id: int, rej_id: int) -> None:
        super().__init__()
        self.model = model
        self.answer_ids = (seg_id, rej_id)
        self.classes = (1 + len(COLORS), 1 + len(KINDS))
        # On a CPU the backward pass of plain matrix products is twice as fast as fused attention's.
        model.vision_tower.set_attn_implementation("eager")
        for module in model.modules():  # scenes and words are drawn afresh: nothing to overfit to
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        self.dense = nn.Linear(model.config.vision.hidden_size, DENSE_CELLS**2 * sum(self.classes))

    def _dense_logits(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Vision tokens (B, G*G, C) to class logits (B, K, 4G, 4G) of colour and of kind."""
        grid = self.model.config.grid
        maps = self.dense(tokens).transpose(1, 2).unflatten(2, (grid, grid))
        logits = functional.pixel_shuffle(maps, DENSE_CELLS).float()
        color, kind = logits.split(self.classes, dim=1)
        return color, kind

    def dense_losses(self, batch: Batch) -> Losses:
        """Colour and kind of every cell, vision tower only."""
        tokens = self.model.vision_tower(pixel_values=batch.pixel_values).last_hidden_state[:, 1:]
        loss, terms = self._dense(tokens, batch)
        return Losses(total=loss, terms=terms)

    def _dense(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        color, kind = self._dense_logits(tokens)
        loss = functional.cross_entropy(color, batch.color) + functional.cross_entropy(
            kind, batch.kind
        )
        there = batch.kind > 0
        with torch.no_grad():
            terms = {
                "dense": float(loss),
                "color_acc": float((color.argmax(1) == batch.color)[there].float().mean()),
                "kind_acc": float((kind.argmax(1) == batch.kind)[there].float().mean()),
            }
        return loss, terms

    def answers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Everything the network says about a batch.

        Returns:
            Vision tokens (B, G*G, C), answer logits (N, 2) and mask logits (M, S, S) of the
            expressions that have a target.
        """
        assert batch.prompts is not None
        tokens, image_embeds = self.model.see(batch.pixel_values)
        image_states, states = read_packed(self.model, image_embeds, batch.prompts)
        fused = self.model.mask_decoder.fuse(tokens, image_states)
        drawn = batch.has_target
        masks = self.model.mask_decoder.decode(fused[batch.prompts.rows[drawn]], states[drawn])
        answers = functional.linear(states, self.model.lm_head.weight[list(self.answer_ids)])
        return tokens, answers, masks

    def joint_losses(self, batch: Batch) -> Losses:
        """Masks and answers of every expression, the dense labels kept in view."""
        tokens, answers, masks = self.answers(batch)
        dense, terms = self._dense(tokens, batch)
        dice, focal = mask_loss(masks, batch.target)
        answer = answer_loss(answers, batch.has_target)
        total = dice + focal + _ANSWER_WEIGHT * answer + _DENSE_WEIGHT_IN_JOINT * dense
        with torch.no_grad():
            said_there = answers[:, 0] >= answers[:, 1]
            terms |= {
                "dice": float(dice),
                "focal": float(focal),
                "answer": float(answer),
                "answer_acc": float((said_there == batch.has_target).float().mean()),
            }
        return Losses(total=total, terms=terms)
