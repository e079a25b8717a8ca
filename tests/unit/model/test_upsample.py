# SPDX-License-Identifier: Apache-2.0
"""The upsampler at the published width, whatever the memory layout of what it is given."""

from __future__ import annotations

import pytest
import torch

from mllmseg_ros.model.upsample import DynamicUpsample


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_channels_that_lie_last_are_the_same_map(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    upsample = DynamicUpsample(1024)
    last = torch.randn(1, 16, 16, 1024).permute(0, 3, 1, 2)
    expected = upsample(last.contiguous())
    upsampled = upsample.to(dtype)(last.to(dtype)).float()
    limit = 1e-4 if dtype is torch.float32 else 0.25  # positions in bfloat16 are coarse
    assert (upsampled - expected).abs().max() < limit
