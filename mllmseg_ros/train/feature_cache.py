# SPDX-License-Identifier: Apache-2.0
"""Outputs of the frozen parts of a model, computed once and kept on disk.

Safetensors files, memory-mapped when read. Their names are hashes of what they depend on: the
weights of the frozen parts, the number format, the image's pixels after preprocessing, and for an
expression its token ids. A file is written under another name and then renamed, so two processes
may write the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mllmseg_ros.files import make_folder, replaced_file
from mllmseg_ros.model.mllmseg import ImageFeatures, MLLMSeg
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.pixels import to_pixel_values
from mllmseg_ros.model.prompt import Prompt

_VISION = ("vision_tower.", "projector.")
_ALL_BUT_DECODER = (*_VISION, "language_model.")


class FeatureCache:
    """Caches the outputs of ``MLLMSeg.encode_vision``."""

    def __init__(self, folder: Path, model: MLLMSeg, dtype: torch.dtype) -> None:
        """Open the cache of one model.

        Args:
            folder: of all models' features; created when needed.
            model: its vision tower and projector must be frozen.
            dtype: of the computation and the stored tensors: bfloat16 or float32.

        Raises:
            ValueError: if a part of the vision side is trained.
        """
        self._model, self._dtype = model, dtype
        self.folder = folder / _digest(model, _VISION, dtype)
        self.n_computed = 0  # images, by this process

    def encode_vision(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Return vision tokens (B, G*G, C) and image embeddings (B, G*G/4, D), without gradients.

        Each image is computed on its own, so that its features do not depend on its batch.

        Args:
            squares: (B, S, S, 3) uint8 RGB.
        """
        stored = [self._encode(square) for square in squares]
        tokens, embeds = (
            torch.stack([tensors[name] for tensors in stored]).to(squares.device)
            for name in ("tokens", "embeds")
        )
        return tokens, embeds

    def _encode(self, square: Tensor) -> dict[str, Tensor]:
        def compute() -> dict[str, Tensor]:
            self.n_computed += 1
            with _inference(square.device, self._dtype):
                tokens, embeds = self._model.encode_vision(to_pixel_values(square)[None])
            return {"tokens": tokens[0], "embeds": embeds[0]}

        return _load_or_compute(_path(self.folder, _key(square)), self._dtype, compute)


class StateCache:
    """Caches vision tokens and language model states of images and single expressions."""

    def __init__(self, folder: Path, model: MLLMSeg, dtype: torch.dtype) -> None:
        """Open the cache of one model.

        Args:
            folder: of all models' states; created when needed.
            model: everything but its mask decoder and head must be frozen.
            dtype: of the computation and the stored tensors: bfloat16 or float32.

        Raises:
            ValueError: if another part is trained.
        """
        self._model, self._dtype = model, dtype
        self.folder = folder / _digest(model, _ALL_BUT_DECODER, dtype)
        self.n_computed = 0  # images and expressions, by this process

    def read(
        self, squares: Tensor, prompts: Sequence[Sequence[Prompt]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states of images and prompts, without gradients.

        Each is computed on its own, so that its states do not depend on its batch.

        Args:
            squares: (B, S, S, 3) uint8 RGB.
            prompts: per image, single-expression prompts; N in all.

        Returns:
            Vision tokens (B, G*G, C), image states (B, G*G/4, D), expression states (N, D).
        """
        images, states = [], []
        for square, row in zip(squares, prompts, strict=True):
            image = _CachedImage(self, square, row[0])
            images.append(image.tensors)
            states += [image.state(prompt) for prompt in row]
        tokens, image_states = (
            torch.stack([tensors[name] for tensors in images]).to(squares.device)
            for name in ("tokens", "image_states")
        )
        return tokens, image_states, torch.stack(states).to(squares.device)


class _CachedImage:
    """One image in a state cache; the language model runs only where a file is missing."""

    def __init__(self, cache: StateCache, square: Tensor, prompt: Prompt) -> None:
        self._cache, self._square, self._prompt = cache, square, prompt
        ids = ",".join(map(str, prompt.prefix_ids))
        self._key = hashlib.sha256(f"{_key(square)} {ids}".encode()).hexdigest()
        self._features: ImageFeatures | None = None
        path = _path(cache.folder, self._key)
        self.tensors = _load_or_compute(path, cache._dtype, self._read_image)

    def state(self, prompt: Prompt) -> Tensor:
        """Return the expression state (D,)."""
        ids = ",".join(map(str, prompt.suffix_ids))
        key = hashlib.sha256(f"{self._key} {ids}".encode()).hexdigest()

        def compute() -> dict[str, Tensor]:
            if self._features is None:
                self._read_image()
            assert self._features is not None
            self._cache.n_computed += 1
            device = self._square.device
            packed = pack([[prompt]], prefix_is_cached=True).to(device)
            with _inference(device, self._cache._dtype):
                states = self._cache._model.read_prompts(self._features.prefix_cache, packed)
            return {"state": states[0]}

        return _load_or_compute(_path(self._cache.folder, key), self._cache._dtype, compute)[
            "state"
        ]

    def _read_image(self) -> dict[str, Tensor]:
        cache, device, prompt = self._cache, self._square.device, self._prompt
        model = cache._model
        cache.n_computed += 1
        with _inference(device, cache._dtype):
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
def _inference(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute without gradients, and in bfloat16 where that is stored."""
    half = dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        yield


def _load_or_compute(
    path: Path, dtype: torch.dtype, compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Read a file; compute and write it first where it is missing or broken."""
    if path.is_file():
        with suppress(SafetensorError), safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors = {
        name: tensor.detach().to(dtype).cpu().clone().contiguous()
        for name, tensor in compute().items()
    }
    make_folder(path.parent.parent)
    make_folder(path.parent)
    with replaced_file(path) as partial:
        save_file(tensors, partial)
    return tensors


def _key(square: Tensor) -> str:
    return hashlib.sha256(square.cpu().numpy().tobytes()).hexdigest()


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def _digest(model: MLLMSeg, parts: tuple[str, ...], dtype: torch.dtype) -> str:
    """Hash the frozen weights.

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
