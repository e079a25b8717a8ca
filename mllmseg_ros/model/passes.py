# SPDX-License-Identifier: Apache-2.0
"""The passes of inference: from pixels and prompts on the host to logits on the device.

Each is a function of tensors whose shapes depend on the lengths of the prompts alone, on a GPU in
steps of 32 tokens. So it can be recorded as CUDA graphs (:meth:`Passes.record`): a replay launches
at once what takes hundreds of launches. Images are resized before it. Knows no texts.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.model.graphs import Function, Graph, Recorder
from mllmseg_ros.model.mllmseg import ImageFeatures, MLLMSeg
from mllmseg_ros.model.packing import PackedPrompts, pack
from mllmseg_ros.model.pixels import DeviceResize, to_pixel_values
from mllmseg_ros.model.prompt import Prompt
from mllmseg_ros.model.transfer import to_device

__all__ = ["Logits", "Passes", "group_prompts"]

# On a GPU rows are padded to a multiple of this many tokens: few shapes, and aligned for its
# kernels. A CPU takes any length, and padding costs it time.
_BUCKET = 32
# The attention mask grows with the square. At once are 30 expressions of the published prompt.
_MAX_TOKENS_PER_PASS = 1024
_RECORDED_EXPRESSIONS = (1, 2, 4, 8)
_CLOSE = 0.02  # of the largest logit: recorded and eager passes may choose other kernels


@dataclass(frozen=True, kw_only=True)
class Logits:
    """The output of a pass for N expressions."""

    answers: Tensor  # (N, 2) float32 of [SEG] and [REJ]
    masks: Tensor  # (N, G*P, G*P), before the sigmoid


class Passes:
    """One model's passes. May be used from several threads.

    Attributes:
        path: how the last one ran, "eager" or "graphs".
    """

    def __init__(self, model: MLLMSeg, answer_ids: tuple[int, int], prefix: Prompt) -> None:
        """Set up.

        Args:
            model: in evaluation mode.
            answer_ids: token ids of [SEG] and [REJ].
            prefix: any prompt of the model; its prefix is that of all.
        """
        self._model, self._answer_ids, self._prefix = model, answer_ids, prefix
        self._resize = DeviceResize(model.config.image_size_px)
        self._graphs: dict[tuple[Any, ...], Graph] = {}
        self._plans: list[tuple[int, int]] = []  # recorded numbers of expressions and of tokens
        self._recorder: Recorder | None = None  # while passes are recorded
        self._lock = threading.Lock()  # graphs share memory
        self.path = "eager"

    def encode(self, image: NDArray[np.uint8]) -> ImageFeatures:
        """Encode an image, RGB (H, W, 3), which the device resizes if it is not S x S."""
        arrays = [np.array([self._prefix.prefix_ids]), image]
        prefix_ids, pixels = to_device(arrays, self._device)
        return self._features(self._run(self._encode, [prefix_ids, self._resize(pixels)]))

    def read(self, features: ImageFeatures, prompts: Sequence[Prompt]) -> Logits:
        """Answer prompts on an encoded image; N >= 1 expressions in all."""
        logits = []
        for group in group_prompts(prompts):
            packed, n = self._pack(group, prefix_is_cached=True)
            tensors = [*to_device(_arrays(packed), self._device), features.fused]
            for keys, values in features.prefix_cache:
                tensors += (keys, values)
            logits.append([each[:n] for each in self._run(self._read, tensors)])
        answers, masks = (torch.cat(each) for each in zip(*logits, strict=True))
        return Logits(answers=answers, masks=masks)

    def encode_and_read(
        self, image: NDArray[np.uint8], prompts: Sequence[Prompt]
    ) -> tuple[ImageFeatures, Logits]:
        """Encode an image and answer the first prompts on it, in one pass if they are few."""
        if len(group_prompts(prompts)) > 1:
            features = self.encode(image)
            return features, self.read(features, prompts)
        packed, n = self._pack(prompts, prefix_is_cached=False)
        *tensors, pixels = to_device([*_arrays(packed), image], self._device)
        tensors.append(self._resize(pixels))
        answers, masks, *encoded = self._run(self._encode_and_read, tensors)
        return self._features(encoded), Logits(answers=answers[:n], masks=masks[:n])

    def read_images(
        self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[Prompt]
    ) -> list[Logits]:
        """Answer the same prompts on each of several images, in one pass that is not recorded."""
        if len(group_prompts(prompts)) > 1:
            return [self.encode_and_read(image, prompts)[1] for image in images]
        self.path = "eager"
        packed = pack([prompts] * len(images)).to(self._device)
        pixels = [self._resize(each) for each in to_device(list(images), self._device)]
        pixel_values = to_pixel_values(torch.stack(pixels)).to(self._model.dtype)
        fused, states = self._model.read_images(pixel_values, packed)
        n = len(states) // len(images)
        return [
            Logits(
                answers=self._model.answer_logits(each, self._answer_ids),
                masks=self._model.mask_decoder.decode(tokens[None], each),
            )
            for tokens, each in zip(fused, torch.split(states, n), strict=True)
        ]

    def record(self, recorder: Recorder, example: Prompt) -> None:
        """Record all passes for 1, 2, 4 and 8 expressions, and compare them with the eager ones.

        Other numbers of expressions are padded to the next of these; longer ones run eagerly.

        Args:
            recorder: records a function.
            example: the longest prompt of one expression that is to be recorded.

        Raises:
            RuntimeError: if they cannot be recorded, or differ. Then none is.
        """
        side = self._model.config.image_size_px
        square = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        try:
            for n in _RECORDED_EXPRESSIONS:
                row = [example] * n
                self._recorder = recorder
                self.encode_and_read(np.zeros_like(square), row)
                self.read(self.encode(np.zeros_like(square)), row)
                self._recorder = None
                tokens = len(example.prefix_ids) + n * len(example.suffix_ids)
                self._plans.append((n, self._padded(tokens)))
            for n in _RECORDED_EXPRESSIONS:
                self._compare(square, [example] * n)
        except BaseException:
            self._graphs, self._plans = {}, []
            raise
        finally:
            self._recorder = None

    def _compare(self, square: NDArray[np.uint8], row: Sequence[Prompt]) -> None:
        features, together = self.encode_and_read(square, row)
        outputs = [together, self.read(features, row), self.read(self.encode(square), row)]
        graphs, self._graphs = self._graphs, {}
        try:
            _, expected = self.encode_and_read(square, row)
        finally:
            self._graphs = graphs
        for ours in outputs:
            for name in ("answers", "masks"):
                theirs = getattr(expected, name).float()
                limit = _CLOSE * float(theirs.abs().max())
                if not float((getattr(ours, name).float() - theirs).abs().max()) <= limit:
                    raise RuntimeError(f"the recorded passes differ from the eager ones in {name}")

    @property
    def _device(self) -> torch.device:
        return self._model.device

    def _pack(
        self, prompts: Sequence[Prompt], *, prefix_is_cached: bool
    ) -> tuple[PackedPrompts, int]:
        """Pack one row as it was recorded, if it fits, and count its expressions."""
        n = sum(len(each.answer_positions) for each in prompts)
        tokens = prompts[0].prefix_length + sum(len(each.suffix_ids) for each in prompts)
        plans = [plan for plan in self._plans if plan[0] >= n and plan[1] >= tokens]
        n_states, length = min(plans, default=(n, self._padded(tokens)))
        return pack(
            [prompts],
            prefix_is_cached=prefix_is_cached,
            length=length,
            n_states=n_states,
        ), n

    def _padded(self, n_tokens: int) -> int:
        if self._device.type == "cpu":
            return n_tokens
        return -(-n_tokens // _BUCKET) * _BUCKET

    def _run(self, function: Function, tensors: list[Tensor]) -> list[Tensor]:
        key = (function.__name__, *(tuple(each.shape) for each in tensors[:4]))
        if self._recorder is not None and key not in self._graphs:
            self._graphs[key] = self._recorder(function, tensors)
        graph = self._graphs.get(key)
        self.path = "eager" if graph is None else "graphs"
        if graph is None:
            return function(*tensors)
        with self._lock:
            return graph(tensors)

    # Functions of tensors alone; those of prompts are token ids, positions, owners, states.

    def _encode(self, prefix_ids: Tensor, pixels: Tensor) -> list[Tensor]:
        features = self._model.encode_image(
            self._pixel_values(pixels), prefix_ids, self._prefix.image_start
        )
        return _feature_tensors(features)

    def _read(self, *tensors: Tensor) -> list[Tensor]:
        fused, *cache = tensors[4:]
        key_values = tuple(zip(cache[::2], cache[1::2], strict=True))
        states = self._model.read_prompts(key_values, self._packed(tensors[:4]))
        return self._logits(fused, states)

    def _encode_and_read(self, *tensors: Tensor) -> list[Tensor]:
        features, states = self._model.encode_and_read(
            self._pixel_values(tensors[4]), self._packed(tensors[:4])
        )
        return [*self._logits(features.fused, states), *_feature_tensors(features)]

    def _pixel_values(self, pixels: Tensor) -> Tensor:
        return to_pixel_values(pixels)[None].to(self._model.dtype)

    def _packed(self, tensors: Sequence[Tensor]) -> PackedPrompts:
        ids, positions, owners, states = tensors
        return PackedPrompts(
            input_ids=ids,
            position_ids=positions,
            owners=owners,
            rows=torch.zeros_like(states),
            states=states,
            image_start=self._prefix.image_start,
        )

    def _logits(self, fused: Tensor, states: Tensor) -> list[Tensor]:
        answers = self._model.answer_logits(states, self._answer_ids)
        return [answers, self._model.mask_decoder.decode(fused, states)]

    def _features(self, tensors: Sequence[Tensor]) -> ImageFeatures:
        fused, vision_tokens, image_states, *cache = tensors
        return ImageFeatures(
            fused=fused,
            prefix_cache=tuple(zip(cache[::2], cache[1::2], strict=True)),
            prefix_length=self._prefix.prefix_length,
            vision_tokens=vision_tokens,
            image_states=image_states,
        )


def _feature_tensors(features: ImageFeatures) -> list[Tensor]:
    cache = [tensor for key_values in features.prefix_cache for tensor in key_values]
    return [features.fused, features.vision_tokens, features.image_states, *cache]


def _arrays(packed: PackedPrompts) -> list[NDArray[Any]]:
    tensors = (packed.input_ids, packed.position_ids, packed.owners, packed.states)
    return [each.numpy() for each in tensors]


def group_prompts(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Group prompts, in order, for passes that a GPU has the memory for."""
    groups: list[list[Prompt]] = []
    n_tokens = 0
    for prompt in prompts:
        n_tokens += len(prompt.suffix_ids)
        if not groups or n_tokens > _MAX_TOKENS_PER_PASS:
            groups.append([])
            n_tokens = len(prompt.suffix_ids)
        groups[-1].append(prompt)
    return groups
