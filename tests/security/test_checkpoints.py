# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are too large or invalid are refused with a reason, before loading."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.hub import EMBEDDED, find_checkpoint
from mllmseg_ros.checkpoints.integrity import MAX_HEADER_BYTES
from mllmseg_ros.checkpoints.loading import LoadingCancelled, load_model
from mllmseg_ros.cli import main
from mllmseg_ros.model.config import read_config
from mllmseg_ros.model.tokenizer import MAX_TEXT_CHARS, Tokenizer
from mllmseg_ros.segmenter import Segmenter

pytestmark = pytest.mark.threat("F1", "F2", "F3")

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the embedded model, without its checksums."""
    copy = tmp_path / "model"
    shutil.copytree(EMBEDDED, copy, ignore=shutil.ignore_patterns("SHA256SUMS", "*.md"))
    return copy


def change(path: Path, *keys: str, value: Any) -> None:
    """Set a value of a JSON file."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    place = fields
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(fields), encoding="utf-8")


def refusal(folder: Path) -> str:
    """Why a checkpoint is not loaded, from Python and from the command line."""
    with pytest.raises(ValueError, match=r".") as caught:
        Segmenter.from_pretrained(folder, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 4000
    return text


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, if the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("section", ["llm_config", "vision_config"])
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("num_hidden_layers", 1_000_000, "num_hidden_layers is 1000000, accepted are 1 to 256"),
        ("num_hidden_layers", 200, "config.json has 20"),  # and 4 or 6 of the other tower
        ("num_hidden_layers", 5, "tensors do not fit config.json: "),
        ("hidden_size", 1 << 40, "hidden_size is 1099511627776, accepted are 1 to 65536"),
        ("hidden_size", 3072, "tensors do not fit config.json: "),
        ("intermediate_size", -1, "intermediate_size is -1, accepted are"),
        ("intermediate_size", 60_000, "has shape"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
        ("hidden_size", 193, "config.json"),
        ("num_hidden_layers", True, "num_hidden_layers is True"),
        ("num_hidden_layers", 2.5, "num_hidden_layers is 2.5"),
    ],
)
def test_a_configuration_is_compared_with_the_weights_before_loading(
    folder: Path, section: str, field: str, value: Any, reason: str
) -> None:
    change(folder / "config.json", section, field, value=value)
    began_s = time.monotonic()
    assert reason in refusal(folder)
    assert time.monotonic() - began_s < 30  # takes a fraction of a second


def test_a_vocabulary_beyond_the_weights_is_refused(folder: Path) -> None:
    change(folder / "config.json", "llm_config", "vocab_size", value=1 << 20)
    assert "embed_tokens.weight has shape (1024, 192), expected (1048576, 192)" in refusal(folder)


def test_a_token_beyond_the_vocabulary_is_refused(folder: Path) -> None:
    """On a GPU, looking it up would end all work of the process."""
    change(folder / "tokenizer.json", "model", "vocab", "the", value=5000)
    assert "a token with id 5000, the model's vocabulary has 1024" in refusal(folder)


def test_many_layers_do_not_take_the_memory_of_a_process(folder: Path) -> None:
    """In a process of 6 GB, which torch alone takes half of."""
    for section in ("llm_config", "vision_config"):
        change(folder / "config.json", section, "num_hidden_layers", value=1_000_000)
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "from mllmseg_ros.cli import main\n"
        "sys.exit(main(['segment', sys.argv[1], 'the mug', '--model', sys.argv[2]]))\n"
    )
    image = EMBEDDED.parent / "frames" / "frame_0.png"
    command = [sys.executable, "-c", code, str(image), str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "num_hidden_layers is 1000000" in done.stderr


def test_loading_is_given_up_when_it_is_cancelled(folder: Path) -> None:
    cancelled = threading.Event()
    load_model(folder, CPU, torch.float32, cancelled=cancelled)
    cancelled.set()
    with pytest.raises(LoadingCancelled, match="was cancelled"):
        load_model(folder, CPU, torch.float32, cancelled=cancelled)
    with pytest.raises(LoadingCancelled):
        Segmenter.from_pretrained(folder, device="cpu", cancelled=cancelled)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a":' * 100_000, "nested deeper than 64 levels"),
        (b"\xff" * 100, "is not UTF-8 text"),
        (b'{"model_type": "\\ud800"}', "an unpaired surrogate"),
        (b" " * (9 << 20), "accepted are up to 8388608"),
        (b"", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_broken_text_files_are_named(folder: Path, name: str, content: bytes, reason: str) -> None:
    (folder / name).write_bytes(content)
    if len(content) > 1 << 20 and name != "config.json":
        reason = "not valid JSON"  # tokenizers are larger
    text = refusal(folder)
    assert name in text
    assert reason in text


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"]
)
def test_special_files_are_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "a FIFO" in refusal(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    assert "a device" in refusal(folder)


def test_names_that_cannot_be_folders_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "~nosuch/x",
        "x" * 5000,
        "a/" + "b" * 300,
        "a\0b",
        "../../x/y/z",
        "o/\ud800",
    ):
        with pytest.raises(ValueError, match=r"checkpoint|downloaded|accepted"):
            find_checkpoint(name)
        image = str(EMBEDDED.parent / "frames" / "frame_0.png")
        assert main(["segment", image, "the mug", "--model", name]) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1, err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become nobody")
def test_a_folder_that_may_not_be_read_is_refused(folder: Path) -> None:
    Segmenter.from_pretrained(folder, device="cpu")  # imports what nobody may not read either
    for path in (folder / "config.json", folder / "model.safetensors", folder):
        path.chmod(0)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o555)
        with as_nobody():
            assert "Permission denied" in refusal(folder)
            if path.name != "config.json":
                with pytest.raises(ValueError, match="Permission denied"):
                    integrity.count_values(folder)
        path.chmod(0o755)


# Weights


def header(entries: dict[str, Any], n_bytes: int = 0) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_bytes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (struct.pack("<Q", 1 << 62) + b"{}", "its header is truncated"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "nested deeper than 64 levels"),
        (header({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, 4), "[-1, -1]"),
        (header({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}, 4), "[1.0]"),
        (
            header({"a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, 4),
            "has shape",
        ),
        (header({"a": {"dtype": "F32", "shape": [1 << 61, 8], "data_offsets": [0, 0]}}), "offsets"),
        (header({"a": {"dtype": "PTR", "shape": [1], "data_offsets": [0, 4]}}, 4), "'PTR'"),
        (header({"a": 3}), "not a safetensors header"),
        (header([]), "not a safetensors header"),  # type: ignore[arg-type]
    ],
)
def test_headers_are_checked_before_the_library_opens_the_file(
    folder: Path, content: bytes, reason: str
) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert reason in refusal(folder)


def test_a_long_header_is_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 90_000_000))
        file.truncate(200_000_000)
    assert f"accepted are up to {MAX_HEADER_BYTES}" in refusal(folder)


def test_weights_of_another_kind_are_refused(folder: Path) -> None:
    tensors = load_file_as_float(folder / "model.safetensors")
    name = "language_model.lm_head.weight"
    save_file({**tensors, name: tensors[name].astype(np.int32)}, folder / "model.safetensors")
    assert f"{name} is I32" in refusal(folder)


def load_file_as_float(path: Path) -> dict[str, np.ndarray]:
    from safetensors.torch import load_file as load_torch

    return {
        name: tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
        for name, tensor in load_torch(path).items()
    }


# Tokenizers


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}


def set_tokenizer(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    model = changes.pop("model", {})
    fields |= changes
    fields["model"] |= model
    path.write_text(json.dumps(fields), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        # These three make the library panic, which is no Exception.
        ({"pre_tokenizer": {**SPLIT, "pattern": {"Regex": "(a+)+b"}}}, "pre-tokenizer splits at"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "pre-tokenizer 'FixedLength'"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "'Precompiled'"),
        ({"model": {"continuing_subword_prefix": "##"}}, "continuing_subword_prefix is '##'"),
        # These would take minutes (44 s for 4096 letters), or gigabytes.
        (
            {"pre_tokenizer": {**SPLIT, "pattern": {"Regex": "a{0,99}a{0,99}a{0,99}(?<=c)"}}},
            "accepted are the patterns of Qwen2, Llama 3 and GPT-2",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}},
            "Replace of",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+b"}, "content": ""}},
            "Replace of",
        ),
        (
            {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 2}},
            "ByteLevel twice",
        ),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 9}}, "9 normaliz"),
        ({"model": {"dropout": 0.5}}, "dropout is '0.5', expected none"),
        ({"model": {"vocab": {"a": -1}}}, "token 'a' has id -1"),
        ({"model": {"vocab": {"a": 1 << 40}}}, "token 'a' has id 1099511627776"),
        ({"model": {"vocab": {}, "merges": [["a", "b"]]}}, "its tokenizer cannot be used"),
        ({"model": {"merges": 3}}, "its tokenizer cannot be used"),
    ],
)
def test_steps_of_a_tokenizer_that_could_do_anything_are_refused(
    folder: Path, changes: dict[str, Any], reason: str
) -> None:
    set_tokenizer(folder, **changes)
    assert reason in refusal(folder)


def test_settings_that_change_prompts_are_not_used(folder: Path) -> None:
    """Padding would make millions of tokens of each text, and truncation panics."""
    plain = Tokenizer.from_folder(folder).encode_text("the red mug")
    set_tokenizer(
        folder,
        padding={
            "strategy": {"Fixed": 50_000_000}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "x",
        },
        truncation={
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 9,
        },
    )  # fmt: skip
    assert Tokenizer.from_folder(folder).encode_text("the red mug") == plain


def test_a_panic_of_the_library_is_a_value_error(folder: Path) -> None:
    """Whatever else makes it panic: here, the pattern of the published models on 12 MB."""
    tokenizer = Tokenizer.from_folder(ROOT / "tests" / "parity" / "recorded" / "tiny-qwen2")
    spaces = " " * 12_000_000
    with pytest.raises(BaseException, match="retry-limit") as caught:
        tokenizer._text_only.encode(spaces)
    assert not isinstance(caught.value, Exception)
    with pytest.raises(ValueError, match=f"accepted are up to {MAX_TEXT_CHARS}"):
        tokenizer.encode_text(spaces)

    class Panicking:
        def encode(self, text: str, add_special_tokens: bool) -> None:
            raise caught.value

    with pytest.raises(ValueError, match="the tokenizer failed"):
        Tokenizer(Panicking(), {}).encode_text("a")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "\U0010ffff" * 100, " " * MAX_TEXT_CHARS])
def test_any_text_is_encoded_or_refused(text: str) -> None:
    for folder in (EMBEDDED, ROOT / "tests" / "parity" / "recorded" / "tiny-qwen2"):
        with contextlib.suppress(ValueError):
            assert Tokenizer.from_folder(folder).encode_text(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", 3), ("prompt", "x" * 9000), ("name", ["a"]), ("known_words", ["a"] * 200_000)],
)
def test_settings_of_the_package_have_limits(folder: Path, field: str, value: Any) -> None:
    change(folder / "config.json", "mllmseg", field, value=value)
    assert field in refusal(folder)
    with pytest.raises(ValueError, match=field):
        read_config(folder)
