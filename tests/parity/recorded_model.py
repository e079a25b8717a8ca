# SPDX-License-Identifier: Apache-2.0
"""What the original implementation gave, next to this project's engine on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from named_weights import RECORDED
from safetensors.torch import load_file
from torch import Tensor

from mllmseg_ros.eval.paper import PaperOutput, run_paper_protocol
from mllmseg_ros.model.pixels import resize_to_square, to_pixel_values
from mllmseg_ros.segmenter import Segmenter


def relative(ours: Tensor, reference: Tensor) -> float:
    """max|difference| / max|reference|."""
    return float((ours.float() - reference.float()).abs().max() / reference.float().abs().max())


def load_segmenter(checkpoint: Path) -> Segmenter:
    """Load a checkpoint with its whole lm_head, for computation in float32."""
    return Segmenter.from_pretrained(checkpoint, device="cpu", dtype="float32", whole_head=True)


class RecordedModel:
    """A model of ``recorded/`` with its cases; the engine's outputs are computed once."""

    def __init__(self, model: str, segmenter: Segmenter) -> None:
        facts = json.loads((RECORDED / model / "cases.json").read_text(encoding="utf-8"))
        self.token_ids: dict[str, int] = facts["token_ids"]
        self.cases: dict[str, dict[str, Any]] = {case["name"]: case for case in facts["cases"]}
        self.tensors = load_file(RECORDED / model / "cases.safetensors")
        # Both tiny models have the same images and the same vision side.
        self.images = load_file(RECORDED / "vision.safetensors")
        own = RECORDED / model / "vision.safetensors"
        self.vision = load_file(own) if own.is_file() else self.images
        self.segmenter = segmenter
        self._results: dict[tuple[str, bool], PaperOutput] = {}
        self._vision_outputs: dict[str, tuple[Tensor, Tensor]] = {}

    def image(self, case: str) -> Tensor:
        """RGB image of a case, (H, W, 3) uint8."""
        return self.images[f"{case}.image"]

    def pixel_values(self, case: str) -> Tensor:
        """(3, 448, 448), normalised."""
        return to_pixel_values(resize_to_square(self.image(case).numpy(), 448))

    def vision_outputs(self, case: str) -> tuple[Tensor, Tensor]:
        """Vision tokens (1024, 1024) without the class token, image embeddings (256, D)."""
        if case not in self._vision_outputs:
            with torch.inference_mode():
                tokens, embeds = self.segmenter.model.encode_vision(self.pixel_values(case)[None])
            self._vision_outputs[case] = tokens[0], embeds[0]
        return self._vision_outputs[case]

    def result(self, case: str, two_passes: bool) -> PaperOutput:
        """Run the original's evaluation protocol: RES (one pass) or GRES (two passes)."""
        if (case, two_passes) not in self._results:
            self._results[case, two_passes] = run_paper_protocol(
                self.segmenter.model,
                self.segmenter.prompts,
                self.pixel_values(case)[None],
                self.cases[case]["expressions"],
                [target == "seg" for target in self.cases[case]["targets"]],
                two_passes=two_passes,
            )
        return self._results[case, two_passes]
