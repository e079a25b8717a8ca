# SPDX-License-Identifier: Apache-2.0
"""The vectorised weights against the rule as recorded/README.md has it, value by value."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from named_weights import make_tensor

MASK = (1 << 64) - 1


def splitmix64(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


@pytest.mark.parametrize(
    ("name", "shape", "offset", "scale"),
    [
        ("res_decoder.conv1.1.running_var", (196,), 1, 0.25),
        ("language_model.model.layers.0.input_layernorm.weight", (64,), 1, 0.2),
        ("mlp1.1.bias", (64,), 0, 0.1),
        ("language_model.model.tok_embeddings.weight", (633, 64), 0, 0.7),
        ("mlp1.1.weight", (64, 4096), 0, 1.15 / 64),
        ("mlp1.1.weight", (65, 4096), 0, 1.15 / 64),  # more values than are computed at once
    ],
)
def test_values_follow_the_rule(
    name: str, shape: tuple[int, ...], offset: float, scale: float
) -> None:
    values = make_tensor(name, shape).flatten()
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    for index in (0, 1, 63, len(values) - 2, len(values) - 1):
        bits = splitmix64((seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK)
        uniform = float(np.float32(((bits >> 40) / 2**23 - 1) * 3**0.5))
        assert float(values[index]) == float(np.float16(offset + scale * uniform)), index
