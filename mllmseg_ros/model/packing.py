# SPDX-License-Identifier: Apache-2.0
"""Many prompts in one pass of the language model, independent of each other.

One row per image: [prefix | suffix of prompt 1 | suffix of prompt 2 | …]. A block mask lets a token
attend to the prefix and to earlier tokens of its own suffix, and positions restart after the
prefix. The result equals one pass per prompt. Knows tensors and token ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mllmseg_ros.model.prompt import Prompt
from mllmseg_ros.model.transfer import to_device

__all__ = ["pack"]

_PADDING = -1  # the owner of padding


@dataclass(frozen=True, kw_only=True)
class PackedPrompts:
    """Token ids and attention layout of B rows; N expressions over all rows.

    A row is L tokens long. Q of them are read: all, or those after a cached prefix.
    """

    input_ids: Tensor  # (B, Q) int64, padded with 0
    position_ids: Tensor  # (B, Q)
    owners: Tensor  # (B, L): 0 the prefix; 1, 2, … a prompt of the row; -1 padding
    rows: Tensor  # (N,) row of each expression
    states: Tensor  # (N,) index among the Q of the state that predicts its answer
    image_start: int

    @property
    def attention_mask(self) -> Tensor:
        """Which token (of Q) may attend to which (of L), (B, 1, Q, L) bool.

        No prompt attends to padding. Padding attends to the prefix, so that no row is empty.
        """
        n_read = self.input_ids.shape[1]
        places = torch.arange(self.owners.shape[1], device=self.owners.device)
        readers = self.owners[:, -n_read:, None]
        others = self.owners[:, None, :]
        return (((readers == others) | (others == 0)) & (places[-n_read:, None] >= places))[:, None]

    def to(self, device: torch.device) -> PackedPrompts:
        """The same prompts on a device, by one copy."""
        here = (self.input_ids, self.position_ids, self.owners, self.rows, self.states)
        ids, positions, owners, rows, states = to_device([each.numpy() for each in here], device)
        return replace(
            self, input_ids=ids, position_ids=positions, owners=owners, rows=rows, states=states
        )


def pack(
    prompts: Sequence[Sequence[Prompt]],
    *,
    prefix_is_cached: bool = False,
    length: int = 0,
    n_states: int = 0,
) -> PackedPrompts:
    """Lay out one row per image.

    Args:
        prompts: per image; all share the prefix.
        prefix_is_cached: leave out the prefix, whose keys and values the language model has.
        length: pad rows, prefix included, to at least this many tokens.
        n_states: pad the expressions to at least this many, by repeating the last one.
    """
    first = prompts[0][0]
    prefix = first.prefix_length
    lengths = [prefix + sum(len(p.suffix_ids) for p in row) for row in prompts]
    batch, longest = len(prompts), max(length, *lengths)
    ids = np.zeros((batch, longest), np.int64)
    places = np.zeros((batch, longest), np.int64)
    owners = np.full((batch, longest), _PADDING, np.int64)
    rows, states = [], []
    for number, row in enumerate(prompts):
        ids[number, :prefix] = first.prefix_ids
        places[number, :prefix] = np.arange(prefix)
        owners[number, :prefix] = 0
        begin = prefix
        for count, prompt in enumerate(row, start=1):
            end = begin + len(prompt.suffix_ids)
            ids[number, begin:end] = prompt.suffix_ids
            places[number, begin:end] = np.arange(prefix, prefix + end - begin)
            owners[number, begin:end] = count
            states += [begin + position for position in prompt.state_positions]
            rows += [number] * len(prompt.state_positions)
            begin = end
    n_missing = max(0, n_states - len(states))
    states, rows = states + states[-1:] * n_missing, rows + rows[-1:] * n_missing
    first_read = prefix if prefix_is_cached else 0
    return PackedPrompts(
        input_ids=torch.from_numpy(ids[:, first_read:]),
        position_ids=torch.from_numpy(places[:, first_read:]),
        owners=torch.from_numpy(owners),
        rows=torch.from_numpy(np.array(rows, np.int64)),
        states=torch.from_numpy(np.array(states, np.int64) - first_read),
        image_start=first.image_start,
    )
