# SPDX-License-Identifier: Apache-2.0
"""An exported model: the stages of MLLMSeg without its modules.

:class:`ExportedModel` runs the passes that :class:`mllmseg_ros.model.passes.Passes` runs by torch:
:class:`mllmseg_ros.segmenter.Segmenter` calls either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mllmseg_ros.export import MANIFEST
from mllmseg_ros.export.sessions import OnnxSession, Session, TensorRTSession, choose_device
from mllmseg_ros.export.stages import STAGES, Stage, read_inputs
from mllmseg_ros.files import is_missing, read_json
from mllmseg_ros.model.config import MLLMSegConfig, read_config
from mllmseg_ros.model.packing import pack
from mllmseg_ros.model.passes import Logits, group_prompts
from mllmseg_ros.model.pixels import DeviceResize, to_pixel_values
from mllmseg_ros.model.prompt import Prompt, PromptBuilder
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.model.transfer import to_device

__all__ = [
    "BACKENDS",
    "ExportedModel",
    "check_exported",
    "choose_backend",
    "load_exported",
    "prompt_constants",
]

BACKENDS = ("auto", "torch", "onnxruntime", "tensorrt")
FORMAT = 1
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ExportedFeatures:
    """The features of one image: outputs of the stage ``encode``."""

    fused: Tensor  # (1, G*G, C)
    keys: Tensor  # (layers, heads, L, h)
    values: Tensor  # (layers, heads, L, h)


class ExportedModel:
    """The stages of one exported folder, ready to run. May be used from several threads.

    Attributes:
        config: of the model.
        backend: "onnxruntime" or "tensorrt".
        device: on which the stages run.
        dtype: of the tensors between the stages.
        quantization: as of :class:`MLLMSeg`; the precision of an engine is its builder's.
        sessions: the stages, by their names.
    """

    def __init__(
        self,
        config: MLLMSegConfig,
        backend: str,
        sessions: Mapping[str, Session],
        device: torch.device,
    ) -> None:
        """Combine the stages.

        Args:
            config: of the model.
            backend: "onnxruntime" or "tensorrt".
            sessions: by the names of the stages.
            device: on which they run.
        """
        self.config, self.backend = config, backend
        self.device, self.dtype = device, torch.float32
        self.quantization = ""
        self.sessions = sessions
        self._resize = DeviceResize(config.image_size_px)

    @property
    def path(self) -> str:
        """How passes run: the backend."""
        return self.backend

    def encode(self, image: NDArray[np.uint8]) -> ExportedFeatures:
        """Encode an image, RGB (H, W, 3), which the device resizes if it is not S x S."""
        (pixels,) = to_device([image], self.device)
        pixel_values = to_pixel_values(self._resize(pixels))[None]
        return ExportedFeatures(**self._run("encode", {"pixel_values": pixel_values}))

    def read(self, features: ExportedFeatures, prompts: Sequence[Prompt]) -> Logits:
        """Answer prompts on an encoded image; N >= 1 expressions in all."""
        answers: list[Tensor] = []
        masks: list[Tensor] = []
        for group in group_prompts(prompts):
            packed = pack([group], prefix_is_cached=True).to(self.device)
            cache = {"keys": features.keys, "values": features.values}
            states = self._run("read", {**cache, **read_inputs(packed)})
            answers += self._run("answer", states).values()
            masks += self._run("decode", {"fused": features.fused, **states}).values()
        return Logits(answers=torch.cat(answers), masks=torch.cat(masks))

    def encode_and_read(
        self, image: NDArray[np.uint8], prompts: Sequence[Prompt]
    ) -> tuple[ExportedFeatures, Logits]:
        """Encode an image and answer the first prompts on it."""
        features = self.encode(image)
        return features, self.read(features, prompts)

    def read_images(
        self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[Prompt]
    ) -> list[Logits]:
        """Answer the same prompts on each of several images, one by one: a stage takes one."""
        return [self.encode_and_read(image, prompts)[1] for image in images]

    def _run(self, stage: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # A stage reads the memory of its tensors as it lies there.
        return self.sessions[stage].run({name: each.contiguous() for name, each in inputs.items()})


def choose_backend(folder: Path, backend: str | None) -> str:
    """Resolve the backend for a checkpoint folder; None or "auto" goes by what is in it.

    Returns:
        "torch", "onnxruntime" or "tensorrt"; by itself, it is never the last.

    Raises:
        ValueError: if the backend is unknown, or the folder is not for it.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; accepted: {', '.join(BACKENDS)}")
    is_exported = not is_missing(folder / MANIFEST)
    if backend in (None, "auto"):
        return "onnxruntime" if is_exported else "torch"
    assert backend is not None
    if is_exported and backend == "torch":
        raise ValueError(
            f"{folder} is an exported model, which backend torch does not run; set backend to "
            "onnxruntime, or give the model that it was exported from"
        )
    if not is_exported and backend != "torch":
        raise ValueError(
            f"{folder} is not an exported model, which backend {backend} needs: mllmseg export "
            f"{folder} -o FOLDER --to onnx"
        )
    return backend


def check_exported(
    folder: Path,
    backend: str,
    device: torch.device | str | None,
    dtype: torch.dtype | str | None,
) -> torch.device:
    """Check what is known about an exported folder before it is loaded.

    Args:
        folder: written by ``mllmseg export``.
        backend: "onnxruntime" or "tensorrt".
        device: as of :class:`Segmenter`.
        dtype: None, "auto" or float32: the precision of an engine was chosen when it was built.

    Returns:
        The device that it will run on.

    Raises:
        ValueError: if a file is missing, or backend, device or dtype cannot be used.
    """
    for stage in STAGES:
        path = _stage_file(folder, stage, backend)
        if is_missing(path):
            remedy = "export it again" if backend == "onnxruntime" else "run its build_engines.sh"
            raise ValueError(f"{path}: not found; {remedy}")
    if dtype not in (None, "auto", "float32", torch.float32):
        raise ValueError(
            f"dtype is {str(dtype).removeprefix('torch.')!r}, an exported model reads and writes "
            "float32; accepted: auto, float32"
        )
    return choose_device(backend, device)


def load_exported(
    folder: Path,
    backend: str,
    device: torch.device | str | None,
    dtype: torch.dtype | str | None,
    tokenizer: Tokenizer,
    name: str = "",
) -> ExportedModel:
    """Load all stages of an exported folder.

    Args:
        folder: written by ``mllmseg export``.
        backend: "onnxruntime" or "tensorrt".
        device: as of :class:`Segmenter`.
        dtype: None, "auto" or float32: the precision of an engine was chosen when it was built.
        tokenizer: of the folder.
        name: of the model if its configuration has none.

    Raises:
        ValueError: if a file is missing, or does not fit the others, backend, device or dtype.
    """
    chosen = check_exported(folder, backend, device, dtype)
    config = read_config(folder, name)
    prompts = PromptBuilder(tokenizer, config.prompt, config.n_image_tokens)
    if _read_constants(folder / MANIFEST) != prompt_constants(prompts):
        raise ValueError(
            f"{folder} was exported with another prompt or tokenizer than it has now; export it "
            "again"
        )
    load = OnnxSession if backend == "onnxruntime" else TensorRTSession
    sessions: dict[str, Session] = {
        stage.name: load(_stage_file(folder, stage, backend), chosen) for stage in STAGES
    }
    return ExportedModel(config, backend, sessions, chosen)


def _stage_file(folder: Path, stage: Stage, backend: str) -> Path:
    return folder / (stage.onnx_file if backend == "onnxruntime" else stage.engine_file)


def prompt_constants(prompts: PromptBuilder) -> dict[str, list[int]]:
    """What of the prompt is constant in an exported model: token ids of the prefix and answers."""
    prefix_ids = prompts.build(["image"]).prefix_ids  # which does not depend on the expression
    return {"prefix_ids": list(prefix_ids), "answer_ids": [prompts.seg_id, prompts.rej_id]}


def _read_constants(path: Path) -> dict[str, Any]:
    """Read what :func:`prompt_constants` gave at the export.

    Raises:
        ValueError: if the file is malformed or of another format.
    """
    fields = read_json(path, max_bytes=_MAX_MANIFEST_BYTES)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"{path}: not of format {FORMAT} of mllmseg export; export it again")
    return {name: fields.get(name) for name in ("prefix_ids", "answer_ids")}  # only compared
