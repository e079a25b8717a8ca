# SPDX-License-Identifier: Apache-2.0
"""Encode training dialogs: token ids, labels and padded batches.

Source: docs/reference.md, sections 2 and 11. Works on ids and tensors, not on images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mllmseg_ros.model.config import SYSTEM_MESSAGE
from mllmseg_ros.model.prompt import REJ, SEG
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.train.paper.templates import Dialog

__all__ = ["DialogEncoder", "pad"]

IGNORED = -100  # label of a token that is not trained on
_CHAT = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", SEG, REJ)
_END, _IMAGE_TOKEN = "<|im_end|>", "<IMG_CONTEXT>"
_ASSISTANT = "assistant\n"
_BEFORE_IMAGE = f"<|im_start|>system\n{SYSTEM_MESSAGE}<|im_end|>\n<|im_start|>user\n<img>"


@dataclass(frozen=True, kw_only=True)
class EncodedDialog:
    """One dialog as the model reads it."""

    input_ids: tuple[int, ...]  # (L,)
    labels: tuple[int, ...]  # (L,) IGNORED where nothing is learned
    image_start: int  # index of the first image token
    answer_positions: tuple[int, ...]  # (N,) index of each expression's answer token
    has_target: tuple[bool, ...]  # (N,)


@dataclass(frozen=True, kw_only=True)
class PaddedDialogs:
    """B dialogs, padded on the right."""

    input_ids: Tensor  # (B, L) int64
    labels: Tensor  # (B, L) on the host, which chooses the states to learn from
    attention_mask: Tensor  # (B, L) bool, False on padding
    position_ids: Tensor  # (B, L)
    image_start: int
    dialogs: tuple[EncodedDialog, ...]

    def to(self, device: torch.device) -> PaddedDialogs:
        """The same dialogs on a device, but for the labels."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            position_ids=self.position_ids.to(device),
        )


class DialogEncoder:
    """Encodes dialogs with one tokenizer, in InternVL2.5's chat format."""

    def __init__(self, tokenizer: Tokenizer, n_image_tokens: int) -> None:
        """Keep the tokenizer.

        Raises:
            ValueError: if it lacks one of the special tokens.
        """
        self._tokenizer = tokenizer
        for name in _CHAT:  # a missing one would be encoded as text
            tokenizer.special_id(name)
        names = sorted(tokenizer.special_ids, key=len, reverse=True)
        self._cut = re.compile("(" + "|".join(map(re.escape, names)) + ")")
        self._image = [tokenizer.special_id(_IMAGE_TOKEN)] * n_image_tokens

    def encode(self, dialog: Dialog) -> EncodedDialog:
        """Encode one dialog. Blocks are encoded separately; expressions stay plain text.

        Raises:
            ValueError: if the dialog is longer than the model's limit.
        """
        special, text = self._tokenizer.special_id, self._tokenizer.encode_text
        bos = self._tokenizer.bos
        ids = [special(bos)] if bos is not None else []
        ids += self._encode_format(_BEFORE_IMAGE)
        image_start = len(ids)
        ids += self._image + self._encode_format("</img>") + text("\n" + dialog.question)
        ids += self._encode_format(f"{_END}\n<|im_start|>")
        first_learned = len(ids) + len(text(_ASSISTANT))
        positions = []
        before = _ASSISTANT
        for answer_text, has_target in zip(dialog.answer_texts, dialog.has_target, strict=False):
            ids += text(before + answer_text)
            before = ""
            positions.append(len(ids))
            ids.append(special(SEG if has_target else REJ))
        ids += text(dialog.answer_texts[-1]) + self._encode_format(f"{_END}\n")
        if len(ids) > self._tokenizer.max_length:
            raise ValueError(
                f"the dialog has {len(ids)} tokens, this model reads at most "
                f"{self._tokenizer.max_length}; ask for fewer or shorter expressions"
            )
        n_tail = len(text("\n"))
        learned = ids[first_learned : len(ids) - n_tail]
        return EncodedDialog(
            input_ids=tuple(ids),
            labels=(*[IGNORED] * first_learned, *learned, *[IGNORED] * n_tail),
            image_start=image_start,
            answer_positions=tuple(positions),
            has_target=dialog.has_target,
        )

    def _encode_format(self, text: str) -> list[int]:
        """Encode a piece of the chat format with its special tokens. Never for a user's text."""
        ids: list[int] = []
        for part in self._cut.split(text):
            if part in self._tokenizer.special_ids:
                ids.append(self._tokenizer.special_id(part))
            elif part:
                ids += self._tokenizer.encode_text(part)
        return ids


def pad(dialogs: Sequence[EncodedDialog], *, learn_padding: bool = True) -> PaddedDialogs:
    """Pad dialogs to equal length, on the right.

    Args:
        dialogs: B >= 1, all with the same image start.
        learn_padding: as in the paper's code, padding is labelled with token 0 and learned; False
            ignores it, which changes the loss wherever dialogs differ in length.
    """
    longest = max(len(dialog.input_ids) for dialog in dialogs)

    def rows(sequences: Sequence[Sequence[int]], filling: int) -> Tensor:
        return torch.tensor(
            [[*sequence, *[filling] * (longest - len(sequence))] for sequence in sequences]
        )

    return PaddedDialogs(
        input_ids=rows([dialog.input_ids for dialog in dialogs], 0),
        labels=rows([dialog.labels for dialog in dialogs], 0 if learn_padding else IGNORED),
        attention_mask=rows([[1] * len(dialog.input_ids) for dialog in dialogs], 0).bool(),
        position_ids=rows([range(len(dialog.input_ids)) for dialog in dialogs], 0),
        image_start=dialogs[0].image_start,
        dialogs=tuple(dialogs),
    )
