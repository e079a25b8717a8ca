# SPDX-License-Identifier: Apache-2.0
"""Many prompts in one pass of the language model, independent of each other.

One row per image: [prefix | suffix of prompt 1 | suffix of prompt 2 | …]. A block mask lets a token
attend to the prefix and to earlier tokens of its own suffix, and positions restart after the
prefix. The result equals one pass per prompt. Knows tensors and token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mllmseg_ros.model.prompt import Prompt

__all__ = ["pack"]


@dataclass(frozen=True, kw_only=True)
class PackedPrompts:
    """Token ids and attention layout of B rows; N expressions over all rows.

    A row is L tokens long. Q of them are read: all, or those after a cached prefix.
    """

    input_ids: Tensor  # (B, Q) int64, padded with 0
    position_ids: Tensor  # (B, Q)
    attention_mask: Tensor  # (B, 1, Q, L) bool, True = may attend
    rows: Tensor  # (N,) row of each expression
    states: Tensor  # (N,) index among the Q of the state that predicts its answer
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


def pack(prompts: Sequence[Sequence[Prompt]], *, prefix_is_cached: bool = False) -> PackedPrompts:
    """Lay out one row per image.

    Args:
        prompts: per image; all share the prefix.
        prefix_is_cached: leave out the prefix, whose keys and values the language model has.
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
            states += [len(tokens) + position for position in prompt.state_positions]
            rows += [number] * len(prompt.state_positions)
            tokens += prompt.suffix_ids
            places += range(prefix, prefix + len(prompt.suffix_ids))
            owners += [count] * len(prompt.suffix_ids)
        ids[number, : len(tokens)] = torch.tensor(tokens)
        position[number, : len(tokens)] = torch.tensor(places)
        owner[number, : len(tokens)] = torch.tensor(owners)
    place = torch.arange(longest)
    same = owner[:, :, None] == owner[:, None, :]
    mask = (same | (owner[:, None, :] == 0)) & (place[:, None] >= place)
    begin = prefix if prefix_is_cached else 0
    return PackedPrompts(
        input_ids=ids[:, begin:],
        position_ids=position[:, begin:],
        attention_mask=mask[:, None, begin:],
        rows=torch.tensor(rows),
        states=torch.tensor(states) - begin,
        image_start=first.image_start,
    )
