# SPDX-License-Identifier: Apache-2.0
"""Forward pass of one training step: batch in, losses out. No optimiser, no files."""

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
    terms: dict[str, Tensor]  # scalars without gradients


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The network's outputs for a batch: B images, N expressions, M of them with a target."""

    tokens: Tensor  # (B, G*G, C) vision tokens
    states: Tensor  # (M, D) of the expressions that have a target
    attended: Tensor  # (M, G*G, C) vision tokens after cross-attention to each of them
    answer_logits: Tensor  # (N, 2), [SEG] first


class Learner(nn.Module):
    """The network plus the heads that only training uses."""

    def __init__(self, model: MLLMSeg, seg_id: int, rej_id: int) -> None:
        super().__init__()
        self.model = model
        self.answer_ids = (seg_id, rej_id)
        # transformers' own plain attention is faster still than torch's math kernel.
        model.vision_tower.set_attn_implementation("eager")
        for module in model.modules():  # scenes and words are drawn anew: nothing to overfit to
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
        width, grid = model.config.vision.hidden_size, model.config.grid
        self.dense = DenseHead(width, grid)
        self.pointer = PointerHead(width, model.config.language.hidden_size)
        self.sketch = SketchHead(width, grid)

    def dense_losses(self, batch: Batch) -> Losses:
        """Compute the losses of the vision tower alone: what every cell shows."""
        tokens = self.model.vision_tower(pixel_values=batch.pixel_values).last_hidden_state[:, 1:]
        loss, terms = self.dense(tokens, batch)
        return Losses(total=loss, terms=terms)

    def predict(self, batch: Batch) -> Predictions:
        """Run the network on a batch, up to the masks of the expressions with a target."""
        assert batch.prompts is not None
        tokens, image_embeds = self.model.encode_vision(batch.pixel_values)
        image_states, states = self.model.read_packed(image_embeds, batch.prompts)
        fused = self.model.mask_decoder.fuse(tokens, image_states)
        present = _present(batch)
        target_states = states[present]
        return Predictions(
            tokens=tokens,
            states=target_states,
            attended=self.model.mask_decoder.cross_attend(
                fused[batch.prompts.rows[present]], target_states
            ),
            answer_logits=functional.linear(
                states, torch.stack([self.model.lm_head.weight[each] for each in self.answer_ids])
            ),
        )

    def head_losses(self, batch: Batch) -> Losses:
        """Compute the losses of the auxiliary heads alone; the network stays as it is."""
        assert batch.prompts is not None
        with torch.no_grad():
            predictions = self.predict(batch)
        dense, terms = self.dense(predictions.tokens, batch)
        rows = batch.prompts.rows[_present(batch)]
        pointer = self.pointer(predictions.states, predictions.tokens, rows, batch.cell_target)
        dice, focal = mask_loss(self.sketch(predictions.attended), batch.cell_target)
        terms |= {"sketch": dice.detach(), "pointer": pointer.detach()}
        return Losses(total=dense + pointer + dice + focal, terms=terms)

    def joint_losses(self, batch: Batch) -> Losses:
        """Compute the losses of masks and decisions, and those of the vision tower again."""
        assert batch.prompts is not None
        predictions = self.predict(batch)
        dense, terms = self.dense(predictions.tokens, batch)
        rows = batch.prompts.rows[_present(batch)]
        pointer = self.pointer(predictions.states, predictions.tokens, rows, batch.cell_target)
        sketch_dice, sketch_focal = mask_loss(self.sketch(predictions.attended), batch.cell_target)
        dice, focal = mask_loss(
            self.model.mask_decoder.predict_logits(predictions.attended[batch.drawn]), batch.target
        )
        answer = answer_loss(predictions.answer_logits, batch.has_target)
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
            accepts = predictions.answer_logits[:, 0] >= predictions.answer_logits[:, 1]
            terms |= {
                "dice": dice.detach(),
                "focal": focal.detach(),
                "sketch": sketch_dice.detach(),
                "pointer": pointer.detach(),
                "answer": answer.detach(),
                "answer_acc": (accepts == batch.has_target).float().mean(),
            }
        return Losses(total=total, terms=terms)


def _present(batch: Batch) -> Tensor:
    """Indices (M,) of the expressions with a target; M is known from the shape of the targets."""
    order = batch.has_target.int().argsort(descending=True, stable=True)
    return order[: len(batch.cell_target)]
