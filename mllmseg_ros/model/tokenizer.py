# SPDX-License-Identifier: Apache-2.0
"""Encode text as token ids; special tokens are never read from text.

The vocabulary is read without its special tokens: any text, including ``<|im_end|>`` and ``[SEG]``,
becomes ordinary tokens. Special tokens are added to a prompt by name only, with
:meth:`Tokenizer.special_id`. Three file layouts are supported: ``tokenizer.json``, Qwen2's
``vocab.json`` and ``merges.txt``, and InternLM2's ``tokenizer.model``. Knows no prompts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

# Qwen2's pre-tokenizer: splits text into words before byte pairs are merged.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """A byte-level BPE or sentencepiece-BPE vocabulary plus named special tokens."""

    def __init__(
        self,
        text_only: tokenizers.Tokenizer,
        special_ids: dict[str, int],
        *,
        bos: str | None = None,
        max_length: int = 8192,
    ) -> None:
        """Combine a text encoder with its special tokens.

        Args:
            text_only: encoder of plain text without added tokens.
            special_ids: ids of the special tokens by name.
            bos: name of the token that begins every prompt, None for models without.
            max_length: maximum length of a prompt in tokens.
        """
        self._text_only = text_only
        self.special_ids = special_ids
        self.bos = bos
        self.max_length = max_length

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint folder.

        Raises:
            ValueError: if files are missing or do not fit together.
        """
        try:
            return cls._from_files(folder)
        except ValueError:
            raise
        except Exception as error:  # the tokenizers library raises plain exceptions
            raise ValueError(
                f"{folder}: its tokenizer files cannot be used ({type(error).__name__}: {error})"
            ) from error

    @classmethod
    def _from_files(cls, folder: Path) -> Tokenizer:
        settings = _read_json(folder / "tokenizer_config.json")
        special_ids = dict(_read_json(folder / "added_tokens.json"))
        for token_id, token in settings.get("added_tokens_decoder", {}).items():
            special_ids[token["content"]] = int(token_id)
        if (folder / "tokenizer.json").is_file():
            fields = _read_json(folder / "tokenizer.json")
            for token in fields.get("added_tokens", []):
                special_ids[token["content"]] = token["id"]
            text_only = _from_tokenizer_json(fields, special_ids)
        elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            text_only = _from_qwen2_files(folder)
        elif (folder / "tokenizer.model").is_file():
            text_only, control_ids = _from_sentencepiece(folder / "tokenizer.model")
            special_ids = {**control_ids, **special_ids}
        else:
            raise ValueError(
                f"{folder}: no tokenizer found; accepted are tokenizer.json, "
                "vocab.json with merges.txt, or tokenizer.model"
            )
        bos = settings.get("bos_token")
        if isinstance(bos, dict):
            bos = bos["content"]
        if bos is not None and not settings.get("add_bos_token", True):
            bos = None
        if settings.get("tokenizer_class", "").startswith("Qwen2"):
            bos = None  # some Qwen2 configurations have a bos_token, which is never used
        return cls(
            text_only,
            special_ids,
            bos=bos,
            max_length=min(int(settings.get("model_max_length") or 8192), 1 << 20),
        )

    def encode_text(self, text: str) -> list[int]:
        """Encode plain text; special tokens written in it stay text."""
        return list(self._text_only.encode(text, add_special_tokens=False).ids)

    @property
    def vocabulary_size(self) -> int:
        """Number of ids that text can be encoded to."""
        return int(self._text_only.get_vocab_size(with_added_tokens=False))

    def special_id(self, name: str) -> int:
        """Return the id of a special token.

        Raises:
            ValueError: if the vocabulary does not have it.
        """
        try:
            return self.special_ids[name]
        except KeyError:
            raise ValueError(
                f"the tokenizer has no special token {name!r}; it has {sorted(self.special_ids)}"
            ) from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, ValueError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error


def _from_tokenizer_json(
    fields: dict[str, Any], special_ids: dict[str, int]
) -> tokenizers.Tokenizer:
    model = fields.get("model", {})
    if model.get("type") != "BPE":
        raise ValueError(f"tokenizer.json: model type {model.get('type')!r}, expected 'BPE'")
    # Without merges that form a special token from text (as in sentencepiece vocabularies).
    merges = [
        merge
        for merge in model["merges"]
        if ("".join(merge) if isinstance(merge, list) else merge.replace(" ", ""))
        not in special_ids
    ]
    plain = {
        **fields,
        "added_tokens": [],
        "post_processor": None,
        "model": {**model, "merges": merges},
    }
    return tokenizers.Tokenizer.from_str(json.dumps(plain))


def _from_qwen2_files(folder: Path) -> tokenizers.Tokenizer:
    text_only = tokenizers.Tokenizer(
        models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    )
    text_only.normalizer = normalizers.NFC()
    text_only.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    text_only.decoder = decoders.ByteLevel()
    return text_only


def _from_sentencepiece(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, int]]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ValueError(
            f"{path}: reading it needs the package sentencepiece (pip install sentencepiece), "
            "or put the model's tokenizer.json next to it"
        ) from error
    pieces = SentencePieceProcessor(model_file=str(path))
    ids = range(pieces.get_piece_size())
    vocabulary = {pieces.id_to_piece(i): i for i in ids}
    control = {
        pieces.id_to_piece(i): i for i in ids if pieces.is_control(i) or pieces.is_unknown(i)
    }
    unknown = pieces.id_to_piece(pieces.unk_id())
    # Sentencepiece-BPE merges the pair that gives the piece with the best score. As a list of
    # merges, these are all splits of all pieces by descending score.
    merges = []
    for piece, index in vocabulary.items():
        if piece in control or pieces.is_byte(index):
            continue
        splits = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary]
        known.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        merges += [(pieces.get_score(index), pair) for pair in known]
    merges.sort(key=lambda merge: merge[0], reverse=True)
    text_only = tokenizers.Tokenizer(
        models.BPE(
            vocabulary,
            [pair for _, pair in merges],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    text_only.normalizer = normalizers.Replace(" ", "▁")
    return text_only, control
