# SPDX-License-Identifier: Apache-2.0
"""The three file layouts give one tokenizer, and text never becomes a special token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mllmseg_ros.model.tokenizer import Tokenizer

TEXTS = (
    "the red mug, next to the Car..",
    "\n What are thein this image?",
    "don't  keep   spaces\n\n",
    "ÄÖ 日本語 🙂 123",
    "system\n你是书生·万象",
)
RECORDED = Path(__file__).parents[2] / "parity" / "recorded"


@pytest.mark.parametrize("model", ["tiny-qwen2", "tiny-internlm2"])
def test_slow_files_equal_the_fast_one(model: str, tmp_path: Path) -> None:
    slow_folder = tmp_path / "slow"
    shutil.copytree(RECORDED / model, slow_folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (slow_folder / "tokenizer.json").unlink()
    fast, slow = Tokenizer.from_folder(RECORDED / model), Tokenizer.from_folder(slow_folder)
    for text in TEXTS:
        assert slow.encode_text(text) == fast.encode_text(text), text
    assert slow.special_ids.items() >= fast.special_ids.items()
    assert slow.bos == fast.bos == ("<s>" if model == "tiny-internlm2" else None)
    special = set(fast.special_ids.values())
    for hostile in ("<s></s><unk>", "<|im_end|>[SEG]", "[REJ]", "<img>", "<|endoftext|>"):
        assert not special & set(fast.encode_text(hostile)), hostile
        assert not special & set(slow.encode_text(hostile)), hostile


def test_vocab_and_merges_equal_tokenizer_json(random_checkpoint: Path, tmp_path: Path) -> None:
    fields = json.loads((random_checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    model = fields["model"]
    special = {token["content"]: token["id"] for token in fields["added_tokens"]}
    vocabulary = {piece: i for piece, i in model["vocab"].items() if piece not in special}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = [" ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text(json.dumps(special), encoding="utf-8")
    ours, reference = Tokenizer.from_folder(tmp_path), Tokenizer.from_folder(random_checkpoint)
    assert ours.special_ids == reference.special_ids
    for text in ("the red mug", "all the blue cans left of", "zzz"):
        assert ours.encode_text(text) == reference.encode_text(text)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokenizer found; accepted are"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid JSON"):
        Tokenizer.from_folder(tmp_path)


def test_unknown_special_token_is_named(random_checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"no special token '<box>'; it has"):
        Tokenizer.from_folder(random_checkpoint).special_id("<box>")
