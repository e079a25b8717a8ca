# SPDX-License-Identifier: Apache-2.0
"""Outputs of frozen parts, computed once and kept on disk.

Safetensors files, memory-mapped when read, under names made of what they depend on: the weights of
the frozen parts, the number format, the picture's pixels after preprocessing, and for a question
its token ids. A file is written whole under another name and then renamed, so two processes may
write the same one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.model.mllmseg import ImageFeatures, MLLMSeg
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import Prompt

_VISION = ("vision_tower.", "projector.")
_ALL_BUT_DECODER = (*_VISION, "language_model.")


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
        self._model, self._dtype = model, dtype
        self.folder = folder / _digest(model, _VISION, dtype)
        self.n_computed = 0  # pictures, by this process

    def encode_vision(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Vision tokens (B, G*G, C) and image embeddings (B, G*G/4, D), without gradients.

        Each picture is computed on its own, so that what it gives does not depend on its company.

        Args:
            squares: (B, S, S, 3) uint8 RGB.
        """
        stored = [self._one(square) for square in squares]
        tokens, embeds = (
            torch.stack([each[name] for each in stored]).to(squares.device)
            for name in ("tokens", "embeds")
        )
        return tokens, embeds

    def _one(self, square: Tensor) -> dict[str, Tensor]:
        def compute() -> dict[str, Tensor]:
            self.n_computed += 1
            with _computing(square.device, self._dtype):
                tokens, embeds = self._model.encode_vision(to_pixel_values(square)[None])
            return {"tokens": tokens[0], "embeds": embeds[0]}

        return _stored(_path(self.folder, _key(square)), self._dtype, compute)


class StateCache:
    """Vision tokens and language model states of pictures and single questions about them."""

    def __init__(self, folder: Path, model: MLLMSeg, dtype: torch.dtype) -> None:
        """Open the cache of one model.

        Args:
            folder: of all models' states; created as it fills.
            model: everything but its mask decoder and head must be frozen.
            dtype: that they compute in, and that is stored: bfloat16 or float32.

        Raises:
            ValueError: if something else is trained.
        """
        self._model, self._dtype = model, dtype
        self.folder = folder / _digest(model, _ALL_BUT_DECODER, dtype)
        self.n_computed = 0  # pictures and questions, by this process

    def read(
        self, squares: Tensor, prompts: Sequence[Sequence[Prompt]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read pictures and questions, without gradients.

        Each is computed on its own, so that what it gives does not depend on its company.

        Args:
            squares: (B, S, S, 3) uint8 RGB.
            prompts: per picture, single-expression prompts; N in all.

        Returns:
            Vision tokens (B, G*G, C), image states (B, G*G/4, D), expression states (N, D).
        """
        pictures, states = [], []
        for square, row in zip(squares, prompts, strict=True):
            one = _Picture(self, square, row[0])
            pictures.append(one.picture)
            states += [one.state(prompt) for prompt in row]
        tokens, image_states = (
            torch.stack([each[name] for each in pictures]).to(squares.device)
            for name in ("tokens", "image_states")
        )
        return tokens, image_states, torch.stack(states).to(squares.device)


class _Picture:
    """One picture in a state cache; the language model runs only where a file is missing."""

    def __init__(self, cache: StateCache, square: Tensor, prompt: Prompt) -> None:
        self._cache, self._square, self._prompt = cache, square, prompt
        ids = ",".join(map(str, prompt.prefix_ids))
        self._key = hashlib.sha256(f"{_key(square)} {ids}".encode()).hexdigest()
        self._features: ImageFeatures | None = None
        path = _path(cache.folder, self._key)
        self.picture = _stored(path, cache._dtype, self._read_image)

    def state(self, prompt: Prompt) -> Tensor:
        """Expression state (D,)."""
        ids = ",".join(map(str, prompt.suffix_ids))
        key = hashlib.sha256(f"{self._key} {ids}".encode()).hexdigest()

        def compute() -> dict[str, Tensor]:
            if self._features is None:
                self._read_image()
            assert self._features is not None
            self._cache.n_computed += 1
            with _computing(self._square.device, self._cache._dtype):
                states = self._cache._model.read_prompts(self._features, [prompt])
            return {"state": states[0]}

        return _stored(_path(self._cache.folder, key), self._cache._dtype, compute)["state"]

    def _read_image(self) -> dict[str, Tensor]:
        cache, device, prompt = self._cache, self._square.device, self._prompt
        model = cache._model
        cache.n_computed += 1
        with _computing(device, cache._dtype):
            tokens, embeds = model.encode_vision(to_pixel_values(self._square)[None])
            states, prefix_cache = model.read_prefix(
                embeds, torch.tensor([prompt.prefix_ids], device=device), prompt.image_start
            )
            self._features = ImageFeatures(
                fused=model.mask_decoder.fuse(tokens, states),
                prefix_cache=prefix_cache,
                prefix_length=prompt.prefix_length,
                vision_tokens=tokens,
                image_states=states,
            )
        return {"tokens": tokens[0], "image_states": states[0]}


@contextmanager
def _computing(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """No gradients, matrix products in bfloat16 where that is stored."""
    half = dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        yield


def _stored(
    path: Path, dtype: torch.dtype, compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What a file holds, computed and written first where there is none."""
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors = {
        name: tensor.detach().to(dtype).cpu().clone().contiguous()
        for name, tensor in compute().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file(tensors, partial)
    partial.replace(path)
    return tensors


def _key(square: Tensor) -> str:
    return hashlib.sha256(square.cpu().numpy().tobytes()).hexdigest()


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def _digest(model: MLLMSeg, parts: tuple[str, ...], dtype: torch.dtype) -> str:
    """Name of the frozen weights.

    Raises:
        ValueError: if one of them is trained.
    """
    for name, parameter in model.named_parameters():
        if name.startswith(parts) and parameter.requires_grad:
            raise ValueError(f"outputs cannot be kept: {name} is trained")
    digest = hashlib.sha256(str(dtype).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(parts):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]
