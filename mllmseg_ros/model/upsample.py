# SPDX-License-Identifier: Apache-2.0
"""Dynamic x2 upsampling: learned sampling positions instead of a fixed kernel.

Source: arXiv 2308.15085 ("DySample", static scope factor 0.25, "lp" order), as used by MLLMSeg's
fusion (arXiv 2508.04107) to upsample the LLM's image states to the vision grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 4
_SCALE = 2


class DynamicUpsample(nn.Module):
    """Upsample a feature map by two, at sampling positions predicted from the map itself."""

    init_pos: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 2 * _GROUPS * _SCALE**2, kernel_size=1)
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]
        quarter = torch.tensor([-0.25, 0.25])  # sub-cell centres, in input cells
        y, x = torch.meshgrid(quarter, quarter, indexing="ij")
        # Channel order: (x or y, group, sub-row, sub-column).
        start = torch.stack([x, y])[:, None].expand(2, _GROUPS, _SCALE, _SCALE)
        self.register_buffer("init_pos", start.reshape(1, -1, 1, 1).contiguous())

    def forward(self, features: Tensor) -> Tensor:
        """Upsample ``features`` (B, C, H, W) to (B, C, 2H, 2W)."""
        batch, channels, height, width = features.shape
        offset = self.offset(features) * 0.25 + self.init_pos
        offset = offset.view(batch, 2, _GROUPS, _SCALE, _SCALE, height, width)
        # (B, 2, G, sy, sx, H, W) -> (B*G, 2H, 2W, 2), x before y as grid_sample wants it
        offset = offset.permute(0, 2, 5, 3, 6, 4, 1).reshape(
            batch * _GROUPS, height * _SCALE, width * _SCALE, 2
        )
        rows = torch.arange(height, device=features.device, dtype=features.dtype) + 0.5
        columns = torch.arange(width, device=features.device, dtype=features.dtype) + 0.5
        y, x = torch.meshgrid(
            rows.repeat_interleave(_SCALE), columns.repeat_interleave(_SCALE), indexing="ij"
        )
        x, y = x + offset[..., 0], y + offset[..., 1]
        grouped = features.reshape(batch * _GROUPS, channels // _GROUPS, height, width)
        sampled = functional.grid_sample(
            # torch 2.13 on CPU gives wrong results for channels_last in bfloat16.
            grouped.contiguous(),
            torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return sampled.view(batch, channels, height * _SCALE, width * _SCALE)
