# SPDX-License-Identifier: Apache-2.0
"""The stages of an exported model: names of files and tensors, and the modules that are exported.

encode
    pixel_values (1, 3, S, S) -> fused (1, G*G, C), keys and values (layers, heads, L, h)
read
    input_ids, position_ids and owners (1, Q), keys, values, positions (N,) -> states (N, D)
answer
    states -> answer_logits (N, 2), of [SEG] and [REJ]
decode
    fused, states -> mask_logits (N, G*P, G*P)

They are the stages of :class:`mllmseg_ros.model.mllmseg.MLLMSeg`, with its names of dimensions.
Images and all outputs are float32, what describes tokens is int64: ``owners`` has the number of the
prompt that a token belongs to, and ``positions`` the index among the Q tokens of each state. The
prompt's prefix of L tokens is a constant of ``encode``; the Q tokens after it and the N expressions
are dynamic.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mllmseg_ros.model.language_pass import read_row
from mllmseg_ros.model.mllmseg import MLLMSeg
from mllmseg_ros.model.packing import PackedPrompts
from mllmseg_ros.model.prompt import PromptBuilder

__all__ = ["STAGES", "Stage", "build_stages", "read_inputs"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the network that becomes one file."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def onnx_file(self) -> str:
        """Name of its ONNX file."""
        return f"{self.name}.onnx"

    @property
    def engine_file(self) -> str:
        """Name of its TensorRT engine."""
        return f"{self.name}.engine"


STAGES = (
    Stage(name="encode", inputs=("pixel_values",), outputs=("fused", "keys", "values")),
    Stage(
        name="read",
        inputs=("input_ids", "position_ids", "owners", "keys", "values", "positions"),
        outputs=("states",),
    ),
    Stage(name="answer", inputs=("states",), outputs=("answer_logits",)),
    Stage(name="decode", inputs=("fused", "states"), outputs=("mask_logits",)),
)
# The dynamic dimensions of each input, by their names.
DYNAMIC: dict[str, dict[int, str]] = {
    "input_ids": {1: "n_tokens"},
    "position_ids": {1: "n_tokens"},
    "owners": {1: "n_tokens"},
    "positions": {0: "n_expressions"},
    "states": {0: "n_expressions"},
}


class _Encode(nn.Module):
    before: Tensor
    after: Tensor
    places: Tensor

    def __init__(self, model: MLLMSeg, prefix_ids: tuple[int, ...], image_start: int) -> None:
        super().__init__()
        self.model, self.image_start = model, image_start
        # The prefix is always the same: its embeddings instead of the whole vocabulary's.
        ids = torch.tensor([prefix_ids], device=model.device)
        embeds = model.language_model.get_input_embeddings()(ids)
        end, length = image_start + model.config.n_image_tokens, ids.shape[1]
        self.register_buffer("before", embeds[:, :image_start].clone())
        self.register_buffer("after", embeds[:, end:].clone())
        self.register_buffer("places", torch.arange(length, device=ids.device))

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens, image_embeds = self.model.encode_vision(pixel_values)
        embeds = torch.cat([self.before, image_embeds, self.after], dim=1)
        causal = self.places[:, None] >= self.places
        hidden, cache = read_row(
            self.model.language_model, embeds, self.places[None], causal[None, None]
        )
        states = self.model.select_image_states(hidden, self.image_start)
        keys, values = (torch.cat(each) for each in zip(*cache, strict=True))
        return self.model.mask_decoder.fuse(tokens, states), keys, values


class _Read(nn.Module):
    def __init__(self, model: MLLMSeg) -> None:
        super().__init__()
        self.language_model = model.language_model

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        owners: Tensor,
        keys: Tensor,
        values: Tensor,
        positions: Tensor,
    ) -> Tensor:
        # A token attends to the whole prefix, and to earlier tokens of its own prompt.
        n_tokens = input_ids.shape[1]
        places = torch.arange(n_tokens, device=input_ids.device)
        own = (owners[:, :, None] == owners[:, None]) & (places[:, None] >= places)
        prefix = own.new_ones(1, n_tokens, keys.shape[2])
        hidden, _ = read_row(
            self.language_model,
            self.language_model.get_input_embeddings()(input_ids),
            position_ids,
            torch.cat([prefix, own], dim=-1)[:, None],
            list(zip(keys.split(1), values.split(1), strict=True)),
        )
        return hidden[0, positions]


class _Answer(nn.Module):
    rows: Tensor

    def __init__(self, model: MLLMSeg, answer_ids: tuple[int, int]) -> None:
        super().__init__()
        # The answers' rows of lm_head, wherever the model keeps them: its logits of unit vectors.
        unit = torch.eye(model.config.language.hidden_size, dtype=model.dtype, device=model.device)
        self.register_buffer("rows", model.answer_logits(unit, answer_ids).T.contiguous())

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states.float(), self.rows)


class _Decode(nn.Module):
    def __init__(self, model: MLLMSeg) -> None:
        super().__init__()
        self.mask_decoder = model.mask_decoder

    def forward(self, fused: Tensor, states: Tensor) -> Tensor:
        return self.mask_decoder.decode(fused, states)


def build_stages(model: MLLMSeg, prompts: PromptBuilder) -> dict[str, nn.Module]:
    """Build the modules of all stages, by their names; they share the model's weights."""
    prompt = prompts.build(["image"])  # the prefix does not depend on the expression
    return {
        "encode": _Encode(model, prompt.prefix_ids, prompt.image_start).eval(),
        "read": _Read(model).eval(),
        "answer": _Answer(model, (prompts.seg_id, prompts.rej_id)).eval(),
        "decode": _Decode(model).eval(),
    }


def read_inputs(packed: PackedPrompts) -> dict[str, Tensor]:
    """Inputs of the stage ``read`` for one row of prompts, without the prefix."""
    n_tokens = packed.input_ids.shape[1]
    return {
        "input_ids": packed.input_ids,
        "position_ids": packed.position_ids,
        "owners": packed.owners[:, -n_tokens:],
        "positions": packed.states,
    }
