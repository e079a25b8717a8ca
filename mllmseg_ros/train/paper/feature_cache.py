# SPDX-License-Identifier: Apache-2.0
"""Outputs of the frozen vision side, computed once per picture and kept on disk.

One safetensors file a picture, memory-mapped when read, under a name made of what it depends on:
the weights of vision tower and projector, the number format, and the picture's pixels after
preprocessing. A file is written whole under another name and then renamed, so two processes may
write the same one. Entry point: :class:`FeatureCache`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.pixels import to_pixel_values

_VISION = ("vision_tower.", "projector.")


class FeatureCache:
    """What ``MLLMSeg.see`` gives for pictures, from disk where it was computed before."""

    def __init__(self, folder: Path, model: MLLMSeg, dtype: torch.dtype) -> None:
        """Open the cache of one model.

        Args:
            folder: of all models' features; created as it fills.
            model: its vision tower and projector must be frozen.
            dtype: that they compute in, and that is stored: bfloat16 or float32.

        Raises:
            ValueError: if something of the vision side is trained.
        """
        trained = [
            name
            for name, parameter in model.named_parameters()
            if name.startswith(_VISION) and parameter.requires_grad
        ]
        if trained:
            raise ValueError(f"features cannot be kept: {trained[0]} is trained")
        self._model, self._dtype = model, dtype
        self._folder = folder / _digest_of_vision(model, dtype)
        self.n_computed = 0  # by this process

    def see(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Vision tokens (B, G*G, C) and image embeddings (B, G*G/4, D), without gradients.

        Each picture is computed on its own, so that what it gives does not depend on its company.

        Args:
            squares: (B, S, S, 3) uint8 RGB.
        """
        pairs = [self._one(square) for square in squares]
        device = squares.device
        tokens, embeds = (torch.stack(each).to(device) for each in zip(*pairs, strict=True))
        return tokens, embeds

    def _one(self, square: Tensor) -> tuple[Tensor, Tensor]:
        key = hashlib.sha256(square.cpu().numpy().tobytes()).hexdigest()
        path = self._folder / key[:2] / f"{key}.safetensors"
        if path.is_file():
            with safe_open(path, framework="pt") as file:
                return file.get_tensor("tokens"), file.get_tensor("embeds")
        tokens, embeds = self._compute(square)
        self.n_computed += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"tokens": tokens, "embeds": embeds}, partial)
        partial.replace(path)
        return tokens, embeds

    @torch.no_grad()
    def _compute(self, square: Tensor) -> tuple[Tensor, Tensor]:
        half = self._dtype == torch.bfloat16
        with torch.autocast(square.device.type, torch.bfloat16, enabled=half):
            tokens, embeds = self._model.see(to_pixel_values(square)[None])
        return (
            tokens[0].to(self._dtype).cpu().contiguous(),
            embeds[0].to(self._dtype).cpu().contiguous(),
        )


def _digest_of_vision(model: MLLMSeg, dtype: torch.dtype) -> str:
    digest = hashlib.sha256(str(dtype).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(_VISION):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]
