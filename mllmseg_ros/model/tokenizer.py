# SPDX-License-Identifier: Apache-2.0
"""Encode text as token ids; special tokens are never read from text.

The vocabulary is read without its special tokens: any text, including ``<|im_end|>`` and ``[SEG]``,
becomes ordinary tokens. Special tokens are added to a prompt by name only, with
:meth:`Tokenizer.special_id`. Three file layouts are supported: ``tokenizer.json``, Qwen2's
``vocab.json`` and ``merges.txt``, and InternLM2's ``tokenizer.model``. Knows no prompts.

Of a ``tokenizer.json``, only steps of these models are accepted: a regular expression of its own
could take minutes on a short text, a normaliser could turn it into gigabytes, and the library
panics on others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import is_missing, read_bytes, read_json, read_text
from mllmseg_ros.files.reading import MAX_TEXT_BYTES

T = TypeVar("T")

MAX_TEXT_CHARS = 32768  # encoded at once; the longest prompt has 16 expressions of 256 twice
MAX_TOKENS = 1 << 20  # ids of a vocabulary
_MAX_PIECE_CHARS = 512  # of a sentencepiece vocabulary, whose merges are quadratic in it
_MAX_STEPS = 8  # of a normaliser or pre-tokenizer

# Qwen2's pre-tokenizer: splits text into words before byte pairs are merged.
_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The patterns that may split text: Qwen2's, and those of GPT-2 and Llama 3 from which it stems.
_PATTERNS = (
    _QWEN2_WORDS,
    _QWEN2_WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|"),
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
)
_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents")
_PRE_TOKENIZERS = ("ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit")


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
            return _call_library(lambda: cls._from_files(folder))
        except ValueError as error:
            if str(folder) in str(error):
                raise
            raise ValueError(f"{folder}: its tokenizer cannot be used: {error}") from error

    @classmethod
    def _from_files(cls, folder: Path) -> Tokenizer:
        settings = _read_object(folder / "tokenizer_config.json")
        special_ids = _read_object(folder / "added_tokens.json")
        for token_id, token in settings.get("added_tokens_decoder", {}).items():
            special_ids[token["content"]] = int(token_id)
        if not is_missing(folder / "tokenizer.json"):
            fields = _read_object(folder / "tokenizer.json")
            for token in fields.get("added_tokens", []):
                special_ids[token["content"]] = token["id"]
            text_only = _from_tokenizer_json(fields, special_ids)
        elif not (is_missing(folder / "vocab.json") or is_missing(folder / "merges.txt")):
            text_only = _from_qwen2_files(folder)
        elif not is_missing(folder / "tokenizer.model"):
            text_only, control_ids = _from_sentencepiece(folder / "tokenizer.model")
            special_ids = {**control_ids, **special_ids}
        else:
            raise ValueError(
                f"{folder}: no tokenizer found; accepted are tokenizer.json, "
                "vocab.json with merges.txt, or tokenizer.model"
            )
        _check_ids(special_ids)
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
        """Encode plain text; special tokens written in it stay text.

        Raises:
            ValueError: if it is longer than MAX_TEXT_CHARS or has an unpaired surrogate, or the
                tokenizer fails.
        """
        if len(text) > MAX_TEXT_CHARS:
            raise ValueError(f"text of {len(text)} characters, accepted are up to {MAX_TEXT_CHARS}")
        return _call_library(
            lambda: list(self._text_only.encode(text, add_special_tokens=False).ids)
        )

    @property
    def vocabulary_size(self) -> int:
        """Number of ids that text can be encoded to."""
        return int(self._text_only.get_vocab_size(with_added_tokens=False))

    @property
    def largest_id(self) -> int:
        """Largest id that text can be encoded to; -1 for an empty vocabulary."""
        return max(self._text_only.get_vocab(with_added_tokens=False).values(), default=-1)

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


def _call_library(function: Callable[[], T]) -> T:
    """Call what uses the tokenizers library, whose failures are of all kinds.

    It raises plain exceptions, and panics, which are not an Exception, for some settings.

    Raises:
        ValueError: for every failure.
    """
    try:
        return function()
    except ValueError as error:
        # The errors for text that UTF-8 cannot write are ValueErrors of several parts.
        raise ValueError(one_line(error, with_type=False)) from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the tokenizer failed ({one_line(error, max_chars=200)})") from error


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file."""
    if is_missing(path):
        return {}
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected an object, found {type(fields).__name__}")
    return fields


def _check_ids(ids: Mapping[str, Any]) -> None:
    """Check the ids of tokens.

    Raises:
        ValueError: if one is not a number from 0 to MAX_TOKENS.
    """
    for name, number in ids.items():
        if type(number) is not int or not 0 <= number < MAX_TOKENS:
            raise ValueError(
                f"token {name[:64]!r} has id {str(number)[:64]}, accepted are 0 to {MAX_TOKENS - 1}"
            )


def _from_tokenizer_json(
    fields: dict[str, Any], special_ids: dict[str, int]
) -> tokenizers.Tokenizer:
    model = fields.get("model", {})
    if model.get("type") != "BPE":
        raise ValueError(f"tokenizer.json: model type {model.get('type')!r}, expected 'BPE'")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise ValueError(f"tokenizer.json: {name} is {str(model[name])[:64]!r}, expected none")
    _check_ids(model["vocab"])
    _check_normalizer(fields.get("normalizer"))
    _check_pre_tokenizer(fields.get("pre_tokenizer"))
    # Without merges that form a special token from text (as in sentencepiece vocabularies).
    merges = [
        merge
        for merge in model["merges"]
        if ("".join(merge) if isinstance(merge, list) else merge.replace(" ", ""))
        not in special_ids
    ]
    kept = ("unk_token", "fuse_unk", "byte_fallback", "ignore_merges")
    plain: dict[str, Any] = {
        "version": "1.0",
        # Padding would turn any text into as many tokens as the file names.
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": fields.get("normalizer"),
        "pre_tokenizer": fields.get("pre_tokenizer"),
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "vocab": model["vocab"],
            "merges": merges,
            **{name: model[name] for name in kept if name in model},
        },
    }
    return tokenizers.Tokenizer.from_str(json.dumps(plain))


def _check_normalizer(step: Any) -> None:
    """Check that a normaliser is of the accepted kinds, none of which multiplies text.

    Raises:
        ValueError: if not.
    """
    for each in _steps(step, "normalizers"):
        kind = each["type"]
        if kind == "Replace":
            pattern, content = each["pattern"].get("String", ""), each["content"]
            if pattern and len(content) <= len(pattern):
                continue
            kind = f"Replace of {each['pattern']} by {content!r}"
        elif kind == "Prepend" and len(each["prepend"]) == 1:
            continue
        if kind not in _NORMALIZERS:
            raise ValueError(
                f"tokenizer.json: normalizer {str(kind)[:200]!r}, accepted are "
                f"{', '.join(_NORMALIZERS)}, Prepend of a character, and Replace of a string by "
                "one that is not longer"
            )


def _check_pre_tokenizer(step: Any) -> None:
    """Check that a pre-tokenizer is of the accepted kinds, which take linear time.

    Raises:
        ValueError: if not.
    """
    kinds = []
    for each in _steps(step, "pretokenizers"):
        kinds.append(each["type"])
        if each["type"] == "Split":
            pattern = each["pattern"]
            if pattern.get("String") or pattern.get("Regex") in _PATTERNS:
                continue
            raise ValueError(
                f"tokenizer.json: pre-tokenizer splits at {str(pattern)[:200]}, accepted are the "
                "patterns of Qwen2, Llama 3 and GPT-2, or a string"
            )
        if each["type"] == "Metaspace" and len(each["replacement"]) == 1:
            continue
        if each["type"] not in _PRE_TOKENIZERS:
            raise ValueError(
                f"tokenizer.json: pre-tokenizer {str(each['type'])[:64]!r}, accepted are Split, "
                f"Metaspace, {', '.join(_PRE_TOKENIZERS)}"
            )
    if kinds.count("ByteLevel") > 1:  # each doubles the length of text
        raise ValueError("tokenizer.json: pre-tokenizer ByteLevel twice, accepted is one")


def _steps(step: Any, name: str) -> list[dict[str, Any]]:
    """Return the steps of a normaliser or pre-tokenizer; a sequence in a sequence is refused."""
    if step is None:
        return []
    steps = step[name] if step["type"] == "Sequence" else [step]
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"tokenizer.json: {len(steps)} {name}, accepted are up to {_MAX_STEPS}")
    return list(steps)


def _from_qwen2_files(folder: Path) -> tokenizers.Tokenizer:
    vocabulary = _read_object(folder / "vocab.json")
    _check_ids(vocabulary)
    lines = read_text(folder / "merges.txt").split("\n")
    pairs = [line.rstrip("\r").split(" ") for line in lines if not line.startswith("#version")]
    merges = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]
    text_only = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    text_only.normalizer = normalizers.NFC()
    text_only.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return text_only


def _from_sentencepiece(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, int]]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ValueError(
            f"{path}: reading it needs the package sentencepiece (pip install sentencepiece), "
            "or put the model's tokenizer.json next to it"
        ) from error
    pieces = SentencePieceProcessor()
    pieces.load_from_serialized_proto(read_bytes(path, max_bytes=MAX_TEXT_BYTES))
    ids = range(pieces.get_piece_size())
    vocabulary = {pieces.id_to_piece(i): i for i in ids}
    _check_ids(vocabulary)
    longest = max(map(len, vocabulary), default=0)
    if longest > _MAX_PIECE_CHARS:
        raise ValueError(
            f"{path}: a piece of {longest} characters, accepted are up to {_MAX_PIECE_CHARS}"
        )
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
