# SPDX-License-Identifier: Apache-2.0
"""One forward pass for many expressions of many images: the training form of the two stages.

One row per image: [prefix | expression 1 | expression 2 | …]. A block mask keeps expressions blind
to each other and positions restart after the prefix, which equals one prompt for each (a test
compares it with the segmenter). Works on tensors and token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.prompt import Prompt

__all__ = ["pack", "read_packed"]


@dataclass(frozen=True, kw_only=True)
class PackedPrompts:
    """Token ids and attention layout of B rows; N expressions over all rows."""

    input_ids: Tensor  # (B, L) int64, padded with 0
    position_ids: Tensor  # (B, L)
    attention_mask: Tensor  # (B, 1, L, L) bool, True = may attend
    rows: Tensor  # (N,) row of each expression
    states: Tensor  # (N,) index in its row of the state that predicts its answer
    image_start: int

    def to(self, device: torch.device) -> PackedPrompts:
        """The same prompts on a device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            rows=self.rows.to(device),
            states=self.states.to(device),
        )


def pack(prompts: Sequence[Sequence[Prompt]]) -> PackedPrompts:
    """Lay out one row per image.

    Args:
        prompts: per image, one single-expression prompt per expression; all share the prefix.
    """
    first = prompts[0][0]
    prefix = first.prefix_length
    lengths = [prefix + sum(len(p.suffix_ids) for p in row) for row in prompts]
    batch, longest = len(prompts), max(lengths)
    ids = torch.zeros(batch, longest, dtype=torch.long)
    position = torch.zeros(batch, longest, dtype=torch.long)
    # Owner 0: the prefix; 1, 2, …: an expression; -1: padding, which no token attends to.
    owner = torch.full((batch, longest), -1)
    rows, states = [], []
    for number, row in enumerate(prompts):
        tokens, places, owners = list(first.prefix_ids), list(range(prefix)), [0] * prefix
        for count, prompt in enumerate(row, start=1):
            rows.append(number)
            states.append(len(tokens) + prompt.state_positions[0])
            tokens += prompt.suffix_ids
            places += range(prefix, prefix + len(prompt.suffix_ids))
            owners += [count] * len(prompt.suffix_ids)
        ids[number, : len(tokens)] = torch.tensor(tokens)
        position[number, : len(tokens)] = torch.tensor(places)
        owner[number, : len(tokens)] = torch.tensor(owners)
    place = torch.arange(longest)
    same = owner[:, :, None] == owner[:, None, :]
    mask = (same | (owner[:, None, :] == 0)) & (place[:, None] >= place)
    return PackedPrompts(
        input_ids=ids,
        position_ids=position,
        attention_mask=mask[:, None],
        rows=torch.tensor(rows),
        states=torch.tensor(states),
        image_start=first.image_start,
    )


def read_packed(
    model: MLLMSeg, image_embeds: Tensor, packed: PackedPrompts
) -> tuple[Tensor, Tensor]:
    """Run the language model over packed rows.

    Args:
        model: the network.
        image_embeds: (B, G*G/4, D) from ``MLLMSeg.encode_vision``.
        packed: the prompts.

    Returns:
        Image states (B, G*G/4, D) and expression states (N, D).
    """
    hidden = model.language_model(
        inputs_embeds=model.embed(packed.input_ids, image_embeds, packed.image_start),
        attention_mask=packed.attention_mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state
    return model.select_image_states(hidden, packed.image_start), hidden[packed.rows, packed.states]
