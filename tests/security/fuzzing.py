# SPDX-License-Identifier: Apache-2.0
"""Malformed inputs for every function that reads untrusted data.

Small valid files are changed at random (bytes, numbers, blocks, values of JSON), texts and messages
are drawn from Hypothesis strategies. Whatever comes in, an entry point returns or raises a
ValueError; everything else is a fault. ``test_parsers.py`` runs some thousands of inputs,
``benchmarks/fuzz.py`` any number.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import mmap
import os
import pickle
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import hypothesis
import lz4.frame
import numpy as np
import PIL.Image
import torch
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "recording"))

from recordings import write_bag

from mllmseg_ros.checkpoints import integrity
from mllmseg_ros.checkpoints.loading import load_model
from mllmseg_ros.codecs.camera_info import intrinsics_of_image
from mllmseg_ros.codecs.depth import align_depth
from mllmseg_ros.codecs.image_file import read_image
from mllmseg_ros.codecs.images import (
    ENCODINGS,
    depth_from_compressed,
    depth_from_image,
    intrinsics_from_info,
    rgb_from_compressed,
    rgb_from_image,
)
from mllmseg_ros.codecs.segmentations import segmentation_from_message
from mllmseg_ros.codecs.transforms import put_transforms
from mllmseg_ros.data.dataset import read_samples
from mllmseg_ros.data.image_file import read_rgb
from mllmseg_ros.data.plain_pickle import load_plain_pickle
from mllmseg_ros.data.region import Coco, MaskFile, decode, encode
from mllmseg_ros.data.review import LabelledSet
from mllmseg_ros.data.sample import Problem
from mllmseg_ros.files import parse_json, parse_yaml
from mllmseg_ros.frame import Frame
from mllmseg_ros.geometry.instances import Instance, InstanceSet
from mllmseg_ros.geometry.transforms import TransformBuffer
from mllmseg_ros.language.command import parse_command
from mllmseg_ros.language.conversation import LANGUAGES, Conversation
from mllmseg_ros.model.config import read_config
from mllmseg_ros.model.tokenizer import Tokenizer
from mllmseg_ros.recording.bag_types import TYPES, MessageType, deserialize, serialize
from mllmseg_ros.recording.results import RecordedResult, recorded_result_from_json
from mllmseg_ros.recording.source import open_source
from mllmseg_ros.segmentation import Status, build_segmentation
from mllmseg_ros.speech.audio import parse_pcm, read_wave

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "mllmseg_ros" / "assets" / "tabletop"
WIDTH, HEIGHT = 16, 12  # px, of the images
_SHOWN = 20_000  # characters of a traceback
MEMORY_BYTES = 3 << 29  # beyond what the modules take; an image of 64 million pixels takes 0.7 GB


@dataclass
class Tally:
    """Outcomes of the inputs of an entry point."""

    refused: int = 0
    accepted: int = 0
    faults: list[str] = field(default_factory=list)  # the input's number and the traceback

    @property
    def inputs(self) -> int:
        return self.refused + self.accepted + len(self.faults)

    def count(self, number: int, read: Callable[[], object]) -> None:
        """Read one input."""
        try:
            read()
        except ValueError:
            self.refused += 1
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            self.faults.append(f"input {number}: {traceback.format_exc()[-_SHOWN:]}")
        else:
            self.accepted += 1


@dataclass(frozen=True, kw_only=True)
class EntryPoint:
    """Something that reads inputs of others.

    Attributes:
        name: for the table.
        share: inputs of a thousand, of all entry points.
        run: reads ``count`` inputs made of a seed, in a folder of its own; the last argument is
            called with the number of each before it is read.
    """

    name: str
    share: int
    run: Callable[[Path, int, range, Tally, Callable[[int], None]], None]


# Changes


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change a file at one to four places; ``other`` is one to take blocks from."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _MUTATIONS[rng.randrange(len(_MUTATIONS))](changed, other, rng)
    return bytes(changed)


def _flip(data: bytearray, other: bytes, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, other: bytes, rng: random.Random) -> None:
    """A number that is too large, too small or negative, in either byte order."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(
        (0, 1, 127, 255, (1 << 8 * size) - 1, 1 << 8 * size - 1, rng.getrandbits(64))
    )
    number &= (1 << 8 * size) - 1
    at = rng.randrange(len(data) + 1)
    data[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _truncate(data: bytearray, other: bytes, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _remove(data: bytearray, other: bytes, rng: random.Random) -> None:
    begin, end = _block(data, rng)
    del data[begin:end]


def _swap(data: bytearray, other: bytes, rng: random.Random) -> None:
    (a, b), (c, d) = sorted((_block(data, rng), _block(data, rng)))
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _repeat(data: bytearray, other: bytes, rng: random.Random) -> None:
    begin, end = _block(data, rng)
    data[begin:begin] = data[begin:end] * rng.choice((1, 2, 8))


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    begin, end = _block(other, rng)
    at = rng.randrange(len(data) + 1)
    data[at : at + rng.choice((0, end - begin))] = other[begin:end]


def _insert(data: bytearray, other: bytes, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice((1, 4, 100)))


def _block(data: bytes | bytearray, rng: random.Random) -> tuple[int, int]:
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + rng.choice((1, 4, 16, 64, 512)))


_MUTATIONS = (
    _flip,
    _flip,
    _overwrite,
    _overwrite,
    _truncate,
    _remove,
    _swap,
    _repeat,
    _splice,
    _insert,
)


def mutate_json(value: Any, rng: random.Random) -> str:
    """Replace or remove values of a JSON document at random places, as text."""
    changed = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 5))):
        holders: list[Any] = []
        _collect(changed, holders)
        if not holders:
            break
        holder = rng.choice(holders)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if rng.random() < 0.15:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(changed)


def _collect(value: Any, holders: list[Any]) -> None:
    """List all objects and lists with something in them; long ones count as one place."""
    if isinstance(value, (dict, list)) and value:
        holders.append(value)
        members = list(value.values()) if isinstance(value, dict) else value
        for each in members[:50]:
            _collect(each, holders)


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 255, 1 << 31, 1 << 63, -(1 << 63), 10**30, 0.5, -1e308,
    float("nan"), float("inf"), "", "x", "BPE", "F32", "I64", "\ud800", "\0", "ä" * 300, "../x",
    "[SEG]", "a" * 10_000, [], {}, [[]], [1, 2], [0] * 100, {"a": 1}, {"type": "Sequence"},
    {"content": "[SEG]", "id": -1}, {"Regex": "(a+)+b"}, [None, "a"],
    {"type": "FixedLength", "length": 0},
)  # fmt: skip


# Entry points of files


def _files(
    name: str,
    share: int,
    suffix: str,
    make_corpus: Callable[[Path], Sequence[bytes]],
    read: Callable[[Path], object],
    change: Callable[[bytes, bytes, random.Random], bytes] = mutate,
) -> EntryPoint:
    """An entry point that reads a file: one of the corpus, changed."""

    def run(
        folder: Path, seed: int, numbers: range, tally: Tally, begin: Callable[[int], None]
    ) -> None:
        corpus = make_corpus(folder)
        path = folder / f"input{suffix}"
        for number in numbers:
            begin(number)
            rng = random.Random(f"{seed}/{name}/{number}")
            path.write_bytes(change(rng.choice(corpus), rng.choice(corpus), rng))
            with contextlib.redirect_stderr(io.StringIO()):
                tally.count(number, partial(read, path))

    return EntryPoint(name=name, share=share, run=run)


def _strategy(
    name: str, share: int, strategy: st.SearchStrategy[Any], read: Callable[[Any], object]
) -> EntryPoint:
    """An entry point that reads what a Hypothesis strategy draws."""

    def run(
        folder: Path, seed: int, numbers: range, tally: Tally, begin: Callable[[int], None]
    ) -> None:
        position = iter(numbers)

        @hypothesis.seed(f"{seed}/{name}/{numbers.start}")
        @hypothesis.settings(
            max_examples=len(numbers),
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def each(value: Any) -> None:
            number = next(position, numbers.stop)
            begin(number)
            tally.count(number, partial(read, value))

        each()

    return EntryPoint(name=name, share=share, run=run)


def _drawn(
    name: str, share: int, make: Callable[[random.Random], Any], read: Callable[[Any], object]
) -> EntryPoint:
    """An entry point that reads what a function makes of random numbers."""

    def run(
        folder: Path, seed: int, numbers: range, tally: Tally, begin: Callable[[int], None]
    ) -> None:
        for number in numbers:
            begin(number)
            value = make(random.Random(f"{seed}/{name}/{number}"))
            tally.count(number, partial(read, value))

    return EntryPoint(name=name, share=share, run=run)


def _images(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    rgb = PIL.Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    grey16 = PIL.Image.fromarray(rng.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16))
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    frames = [rgb, rgb.rotate(180), rgb.rotate(90)]
    animated = {"save_all": True, "append_images": frames[1:]}
    files = []
    for image, kind, options in (
        (rgb, "PNG", {}),
        (rgb, "PNG", {"exif": turned}),
        (rgb, "PNG", animated),
        (grey16, "PNG", {}),
        (rgb.convert("P"), "PNG", {"transparency": 3}),
        (rgb.convert("RGBA"), "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (rgb, "JPEG", {"exif": turned}),
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("L"), "JPEG", {}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "WEBP", {"exif": turned}),
        (rgb, "WEBP", {"lossless": True, **animated}),
        (rgb, "GIF", animated),
        (rgb, "BMP", {}),
        (rgb.convert("P"), "BMP", {}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def _read_compressed(path: Path) -> None:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    rgb_from_compressed(SimpleNamespace(format="jpeg", data=data))


def _depths(folder: Path) -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    # RVL: columns, rows, a run of values and one of zeros.
    numbers = [0, 150, *range(1, 151), HEIGHT * WIDTH - 150, 0]
    nibbles: list[int] = []
    for number in numbers:
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles).reshape(-1, 8) @ (16 ** np.arange(7, -1, -1))
    rvl = np.array([WIDTH, HEIGHT], "<i4").tobytes() + words.astype("<u4").tobytes()
    return [b"\0" * 12 + png, np.array([0, 100, 1], np.float32).tobytes() + png, b"\0" * 12 + rvl]


def _read_compressed_depth(path: Path) -> None:
    data = np.frombuffer(path.read_bytes(), np.uint8)
    refusals = []
    for form in (
        "16UC1; compressedDepth png",
        "32FC1; compressedDepth png",
        "16UC1; compressedDepth rvl",
        "32FC1; compressedDepth rvl",
        "16UC1; png compressed ",
    ):
        try:
            depth_from_compressed(SimpleNamespace(format=form, data=data))
        except ValueError as error:
            refusals.append(error)
    if len(refusals) == 5:
        raise refusals[0]


def _read_mask(path: Path) -> None:
    decode(MaskFile(path=path), (HEIGHT, WIDTH))


def _waves(folder: Path) -> list[bytes]:
    path = folder / "seed.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2000))
    return [path.read_bytes()]


def _bags(storage: str, compression: str) -> Callable[[Path], list[bytes]]:
    """Small bags as storage files: with images, compressed images, depth and transforms."""

    def make(folder: Path) -> list[bytes]:
        rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        files = []
        for name, options in (
            ("raw", {"depth": True, "depth_frame_id": "depth_frame"}),
            ("compressed", {"depth": False, "compressed": True}),
        ):
            with _compressed_chunks(compression):
                bag = write_bag(folder / name, [rgb] * 3, storage=storage, **options)
            files += [each.read_bytes() for each in bag.iterdir() if each.suffix != ".yaml"]
        return files

    return make


@contextlib.contextmanager
def _compressed_chunks(compression: str) -> Iterator[None]:
    """Let rosbags' writer compress the chunks of an mcap; it has no lz4 of its own."""
    original = Writer.open

    def open_compressed(writer: Writer) -> None:
        original(writer)
        if compression:
            from backports import zstd

            storage: Any = writer.storage
            storage.compression = compression
            storage.compressor = zstd.compress if compression == "zstd" else lz4.frame.compress

    Writer.open = open_compressed  # type: ignore[method-assign]
    try:
        yield
    finally:
        Writer.open = original  # type: ignore[method-assign]


def _read_recording(path: Path) -> None:
    for image in open_source(path).images(1):
        with contextlib.suppress(ValueError):
            image.find_depth(image.decode())


def _metadata(folder: Path) -> list[bytes]:
    """The metadata of a bag in a folder, whose messages are compressed one by one."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    bag = write_bag(folder / "input", [rgb], storage="sqlite3")
    for file in bag.iterdir():
        file.rename(folder / file.name)
    original = (folder / "metadata.yaml").read_text(encoding="utf-8")
    compressed = folder / "compressed"
    writer = Writer(compressed, version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    with writer:
        from mllmseg_ros.recording.bag_types import typestore

        topic = writer.add_connection("/a/image", "sensor_msgs/msg/Image", typestore=typestore())
        writer.write(topic, 1, serialize(MessageType("sensor_msgs/msg/Image")()))
    for file in compressed.iterdir():
        if file.name != "metadata.yaml":
            file.rename(folder / file.name)
    return [original.encode(), (compressed / "metadata.yaml").read_bytes()]


def _read_bag_folder(path: Path) -> None:
    path.replace(path.with_name("metadata.yaml"))
    _read_recording(path.parent)


def _videos(folder: Path) -> list[bytes]:
    files = []
    for name, code in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(
            str(folder / name), cv2.VideoWriter.fourcc(*code), 10.0, (WIDTH, HEIGHT)
        )
        for value in (0, 100, 200):
            writer.write(np.full((HEIGHT, WIDTH, 3), value, np.uint8))
        writer.release()
        files.append((folder / name).read_bytes())
    return files


# Entry points of data sets and runs


def _annotations(folder: Path) -> list[bytes]:
    """Lines of annotations.jsonl beside their image."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[2:5, 3:9] = 255
    cv2.imwrite(str(folder / "a.png"), pixels)
    masks = (
        None,
        "a.png",
        [[1, 1, 9, 1, 9, 8]],
        {"size": [HEIGHT, WIDTH], "counts": [50, 20, HEIGHT * WIDTH - 70]},
        encode(pixels > 0),
    )
    entries = [{"image": "a.png", "expression": "the mug", "mask": mask} for mask in masks]
    return [(json.dumps(each) + "\n").encode() for each in entries]


def _read_annotations(path: Path) -> None:
    path.replace(path.with_name("annotations.jsonl"))
    unusable = 0
    for each in read_samples(path.parent):
        if isinstance(each, Problem):
            unusable += 1
            continue
        read_rgb(each)
        for target in each.targets:
            each.mask(target)
    labelled = LabelledSet(path.parent)
    for number in labelled.order():
        labelled.image(number), labelled.mask(number)
    if unusable:
        raise ValueError("an entry cannot be used")


def _pickles(folder: Path) -> list[bytes]:
    content = [{"ref_id": 1, "sentences": [{"sent": "the mug"}], "split": "val", "box": (1, 2.5)}]
    return [pickle.dumps(content, protocol) for protocol in (0, 2, 4)]


def _results(folder: Path) -> list[bytes]:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[2:5, 3:9] = True
    segmentation = build_segmentation(
        "the mug", Status.FOUND, 0.9, 0.9, mask.astype(np.float32), mask
    )
    instance = Instance(
        expression_index=0, instance_index=0, segmentation=segmentation, position=None
    )
    result = RecordedResult(
        camera="/camera",
        stamp_ns=1,
        frame_id="camera",
        recorded_ns=2,
        size_hw=(HEIGHT, WIDTH),
        instance_sets=(InstanceSet(instances=[instance], note=""),),
        error="",
    )
    return [result.to_json().encode()]


def _read_result(path: Path) -> None:
    recorded_result_from_json(path.read_text(encoding="utf-8", errors="replace"))


# Entry points of checkpoints


def _tensors(folder: Path) -> list[bytes]:
    from safetensors.numpy import save

    tensors = {"a.weight": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64)}
    return [save(tensors, metadata={"format": "pt"}), save({"a": np.zeros(1, np.float16)})]


def _change_tensors(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Change bytes, or values of the header."""
    if rng.random() < 0.5:
        return mutate(data, other, rng)
    n_header = int.from_bytes(data[:8], "little")
    header = mutate_json(json.loads(data[8 : 8 + n_header]), rng).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + n_header :]


def _json(*paths: Path) -> Callable[[Path], list[bytes]]:
    return lambda folder: [path.read_bytes() for path in paths]


def _change_json(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return mutate(data, other, rng)
    return mutate_json(json.loads(data), rng).encode()


def _read_config(path: Path) -> None:
    path.replace(path.with_name("config.json"))
    read_config(path.parent)


def _load(path: Path) -> None:
    """Load the weights of the embedded model by another configuration."""
    path.replace(path.with_name("config.json"))
    weights = path.with_name("model.safetensors")
    if not weights.exists():
        weights.symlink_to(EMBEDDED / "model.safetensors")
    load_model(path.parent, torch.device("cpu"), torch.float32)


def _read_index(path: Path) -> None:
    path.replace(path.with_name("model.safetensors.index.json"))
    integrity.weight_files(path.parent)


def _indexes(folder: Path) -> list[bytes]:
    (folder / "a.safetensors").touch()
    return [json.dumps({"metadata": {}, "weight_map": {"x": "a.safetensors"}}).encode()]


def _small_tokenizers(folder: Path) -> list[bytes]:
    fields = json.loads((EMBEDDED / "tokenizer.json").read_text(encoding="utf-8"))
    model = fields["model"]
    pieces = [piece for piece, number in model["vocab"].items() if number < 300]
    model["vocab"] = {piece: number for number, piece in enumerate(pieces)}
    joined = {"".join(pair): pair for pair in model["merges"]}
    model["merges"] = [pair for piece, pair in joined.items() if piece in model["vocab"]]
    recorded = ROOT / "tests" / "parity" / "recorded" / "tiny-qwen2" / "tokenizer.json"
    qwen2 = json.loads(recorded.read_text(encoding="utf-8"))
    with_steps = {**fields, "pre_tokenizer": qwen2["pre_tokenizer"]}
    with_steps["normalizer"] = {
        "type": "Sequence",
        "normalizers": [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}],
    }
    return [json.dumps(each).encode() for each in (fields, with_steps)]


def _read_tokenizer(path: Path) -> None:
    path.replace(path.with_name("tokenizer.json"))
    Tokenizer.from_folder(path.parent).encode_text("the red mug, 3 cups  left")


def _read_sentencepiece(path: Path) -> None:
    path.replace(path.with_name("tokenizer.model"))
    Tokenizer.from_folder(path.parent).encode_text("the red mug, 3 cups  left")


def _sentencepieces(folder: Path) -> list[bytes]:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the red mug", "the blue can on the table", "a bowl"] * 20),
        model_writer=model,
        vocab_size=60,
        model_type="bpe",
        minloglevel=2,
    )
    return [model.getvalue()]


def _read_sums(path: Path) -> None:
    integrity.read_sums(path)


# Entry points of messages


_FLOATS = st.floats(width=32)
_TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["", "camera", "/", "a" * 500]))
_HEADERS = st.builds(
    lambda sec, nanosec, frame_id: SimpleNamespace(
        stamp=SimpleNamespace(sec=sec, nanosec=nanosec), frame_id=frame_id
    ),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**32 - 1),
    _TEXTS,
)


def _image_message(encodings: Sequence[str]) -> Callable[[random.Random], Any]:
    """Image messages whose sizes fit together in most of the cases."""

    def make(rng: random.Random) -> Any:
        encoding = rng.choice(encodings) if rng.random() < 0.95 else rng.choice(["", "x" * 99])
        height, width = rng.randrange(20), rng.randrange(20)
        step = width * rng.choice([1, 2, 3, 4, 6, 8]) + rng.randrange(3)
        n_bytes = step * height + rng.choice([0, 0, 0, 0, -1, 1, 100])
        n_bytes += rng.choice([0, 0, step * height // 2])  # of the colours of 4:2:0
        fields = {"height": height, "width": width, "step": step}
        if rng.random() < 0.1:
            fields[rng.choice(sorted(fields))] = rng.choice([0, 1, 255, 2**31, 2**32 - 1])
        return SimpleNamespace(
            header=SimpleNamespace(frame_id=rng.choice(["", "camera", "a" * 500])),
            encoding=encoding,
            is_bigendian=rng.choice([0, 1, 255]),
            data=np.frombuffer(rng.randbytes(max(0, n_bytes)), np.uint8),
            **fields,
        )

    return make


_DEPTH_ENCODINGS = ["16UC1", "32FC1", "mono16"]
_K = [20.0, 0.0, WIDTH / 2, 0.0, 20.0, HEIGHT / 2, 0.0, 0.0, 1.0]
_PIXELS = st.one_of(st.sampled_from([0, 1, 2, WIDTH, HEIGHT, 2 * WIDTH]), st.integers(0, 2**32 - 1))
_INFOS = st.builds(
    lambda size, model, k, p, d: SimpleNamespace(
        height=size[0],
        width=size[1],
        binning_x=size[2],
        binning_y=size[3],
        roi=SimpleNamespace(x_offset=size[4], y_offset=size[5], height=size[6], width=size[7]),
        distortion_model=model,
        k=k,
        p=p,
        d=d,
    ),
    st.one_of(st.just([HEIGHT, WIDTH, *[0] * 6]), st.lists(_PIXELS, min_size=8, max_size=8)),
    st.one_of(st.sampled_from(["plumb_bob", "equidistant", "rational_polynomial"]), _TEXTS),
    st.one_of(st.just(_K), st.lists(_FLOATS, min_size=9, max_size=9)),
    st.lists(_FLOATS, min_size=12, max_size=12),
    st.one_of(st.just([0.0] * 5), st.lists(_FLOATS, max_size=15)),
)


def _align(value: tuple[int, Any, Any]) -> None:
    seed, info, depth_info = value
    message = _image_message(_DEPTH_ENCODINGS)(random.Random(seed))
    frame = Frame(rgb=np.zeros((HEIGHT, WIDTH, 3), np.uint8), stamp_ns=1, frame_id="camera")
    align_depth(
        frame,
        message,
        info,
        depth_info,
        rectified=False,
        lookup_transform=lambda source: np.eye(4),
    )


def _segmentation(box: tuple[int, ...], n_bytes: int | None, fields: dict[str, Any]) -> Any:
    x, y, width, height = box
    pixels = np.zeros((1, width * height if n_bytes is None else n_bytes), np.uint8)
    return TYPES.Segmentation(
        box=TYPES.RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height),
        mask=TYPES.image(pixels, "mono8", TYPES.SegmentationArray().header),
        **fields,
    )


_SEGMENTATIONS = st.builds(
    _segmentation,
    st.tuples(*[st.integers(0, 9)] * 4),
    st.one_of(st.none(), st.none(), st.integers(0, 500)),
    st.fixed_dictionaries(
        {
            "status": st.one_of(st.integers(0, 3), st.integers(0, 255)),
            "score": _FLOATS,
            "expression": _TEXTS,
        }
    ),
)
_TRANSFORMS = st.lists(
    st.builds(
        lambda header, child, t, q: SimpleNamespace(
            header=header,
            child_frame_id=child,
            transform=SimpleNamespace(
                translation=SimpleNamespace(x=t[0], y=t[1], z=t[2]),
                rotation=SimpleNamespace(x=q[0], y=q[1], z=q[2], w=q[3]),
            ),
        ),
        _HEADERS,
        _TEXTS,
        st.tuples(*[st.floats()] * 3),
        st.tuples(*[st.floats()] * 4),
    ),
    max_size=4,
)


def _serialized(folder: Path) -> list[bytes]:
    header = TYPES.SegmentationArray().header
    image = TYPES.image(np.zeros((2, 3, 3), np.uint8), "rgb8", header)
    return [
        bytes(serialize(each)) for each in (image, TYPES.SegmentationArray(), TYPES.Segmentation())
    ]


def _deserialize(path: Path) -> None:
    data = path.read_bytes()
    for name in ("sensor_msgs/msg/Image", "mllmseg_ros/msg/SegmentationArray"):
        with contextlib.suppress(ValueError):
            deserialize(name, data)
    rgb_from_image(deserialize("sensor_msgs/msg/Image", data))


# Entry points of texts

_WORDS = re.findall(
    r"\S+",
    """
    the a red mug mugs bowl can pick take put place give bring hand me find show look segment and or
    then not no except without left right of on in into under behind next to between nearest largest
    second last other one again stop cancel please could you it that this all both two 3 pick:
    destination: ; , . : ! ? - nimm den roten becher und stelle ihn in die schale rechts neben der
    dose nicht sondern bitte halt stopp noch einmal das andere
    """,
)
_SENTENCES = st.one_of(
    st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=6)), max_size=12).map(" ".join),
    st.text(max_size=60),
)


def _sentence(rng: random.Random) -> str:
    """Words in any order, now and then with letters of any kind, or very many."""
    chance = rng.random()
    words = rng.choices(_WORDS, k=rng.randrange(16) if chance < 0.999 else 800)
    if chance < 0.3:
        at = rng.randrange(len(words) + 1)
        words.insert(at, "".join(chr(rng.randrange(1, 0x110000)) for _ in range(rng.randrange(9))))
    return rng.choice((" ", " ", "", ", ")).join(words)


_CONVERSATION = Conversation()


def _understand(text: str) -> None:
    for language in LANGUAGES:
        _CONVERSATION.understand(text, language)


_DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
_JSON_TEXTS = st.one_of(
    _DOCUMENTS.map(json.dumps),
    st.tuples(_DOCUMENTS.map(json.dumps), st.integers(0, 50), st.text(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
    st.tuples(st.sampled_from(["[", '{"a":', "- ", "{a: "]), st.integers(1, 300)).map(
        lambda parts: parts[0] * parts[1]
    ),
    st.text(alphabet='[]{}",:\\ud80eE-+.0123456789 \n&*!|>', max_size=40),
)
_CONFIG = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
_CONFIG["mllmseg"]["known_words"] = ["a", "the"]


def _json_text(rng: random.Random) -> str:
    text = mutate_json(_CONFIG, rng)
    if rng.random() < 0.5:
        return text
    return mutate(text.encode(), text.encode(), rng).decode(errors="replace")


_REGIONS = st.builds(
    lambda polygons, runs: Coco(polygons=tuple(polygons), runs=tuple(runs)),
    st.lists(st.lists(st.floats(-5, 25), max_size=12).map(tuple), max_size=3),
    st.lists(
        st.fixed_dictionaries(
            {
                "size": st.one_of(st.just([HEIGHT, WIDTH]), st.lists(st.integers(), max_size=3)),
                "counts": st.one_of(
                    st.text(max_size=20),
                    st.binary(max_size=20),
                    st.lists(st.integers(-5, 300), max_size=5),
                    st.integers(0, HEIGHT * WIDTH).map(lambda n: [n, HEIGHT * WIDTH - n]),
                ),
            }
        ),
        max_size=2,
    ),
)

ENTRY_POINTS = (
    _drawn("sentence", 150, _sentence, _understand),
    _strategy("sentence of any letters", 15, _SENTENCES, _understand),
    _drawn("command", 60, _sentence, parse_command),
    _drawn("JSON", 60, _json_text, lambda text: parse_json(text, "input")),
    _strategy("JSON of any form", 10, _JSON_TEXTS, lambda text: parse_json(text, "input")),
    _strategy("YAML", 10, _JSON_TEXTS, lambda text: parse_yaml(text, "input")),
    _drawn("image message", 60, _image_message(list(ENCODINGS)), rgb_from_image),
    _drawn("depth message", 30, _image_message(_DEPTH_ENCODINGS), depth_from_image),
    _strategy(
        "depth aligned",
        5,
        st.tuples(st.integers(0, 2**32), _INFOS, st.one_of(st.none(), _INFOS)),
        _align,
    ),
    _strategy("camera info", 10, _INFOS, lambda info: intrinsics_from_info(info, rectified=False)),
    _strategy(
        "camera info of an image",
        10,
        _INFOS,
        lambda info: intrinsics_of_image(info, (HEIGHT, WIDTH), rectified=True),
    ),
    _strategy(
        "segmentation message",
        10,
        _SEGMENTATIONS,
        lambda message: segmentation_from_message(message, (HEIGHT, WIDTH)),
    ),
    _strategy(
        "transforms",
        10,
        _TRANSFORMS,
        lambda transforms: put_transforms(TransformBuffer(), transforms, static=False),
    ),
    _strategy(
        "mask as run lengths or polygons", 10, _REGIONS, lambda r: decode(r, (HEIGHT, WIDTH))
    ),
    _strategy("audio message", 10, st.binary(max_size=200), parse_pcm),
    _files("image file", 130, ".png", _images, read_image),
    _files("compressed image message", 80, ".png", _images, _read_compressed),
    _files("compressed depth message", 30, ".bin", _depths, _read_compressed_depth),
    _files("mask file", 30, ".png", _images, _read_mask),
    _files("serialized message", 40, ".bin", _serialized, _deserialize),
    _files("WAV file", 20, ".wav", _waves, read_wave),
    _files(
        "safetensors header", 40, ".safetensors", _tensors, integrity.read_header, _change_tensors
    ),
    _files("index of weights", 10, ".json", _indexes, _read_index, _change_json),
    _files("SHA256SUMS", 10, "", _json(EMBEDDED / "SHA256SUMS"), _read_sums),
    _files("config.json", 28, ".json", _json(EMBEDDED / "config.json"), _read_config, _change_json),
    _files(
        "loading by config.json",
        2,
        ".json",
        _json(EMBEDDED / "config.json"),
        _load,
        _change_json,
    ),
    _files(
        "annotations of a data set", 20, ".jsonl", _annotations, _read_annotations, _change_json
    ),
    _files("references as a pickle", 10, ".p", _pickles, load_plain_pickle),
    _files("result of a run", 10, ".json", _results, _read_result, _change_json),
    _files("tokenizer.json", 20, ".json", _small_tokenizers, _read_tokenizer, _change_json),
    _files("tokenizer.model", 10, ".model", _sentencepieces, _read_sentencepiece),
    _files("mcap", 20, ".mcap", _bags("mcap", ""), _read_recording),
    _files("mcap, zstd", 10, ".mcap", _bags("mcap", "zstd"), _read_recording),
    _files("mcap, lz4", 10, ".mcap", _bags("mcap", "lz4"), _read_recording),
    _files("sqlite3 bag", 14, ".db3", _bags("sqlite3", ""), _read_recording),
    _files("metadata of a bag", 3, ".yaml", _metadata, _read_bag_folder),
    _files("video", 3, ".mp4", _videos, _read_recording),
)


# Processes


def run_in_process(
    jobs: Sequence[tuple[str, int, int]], seed: int, folder: Path, stall_s: float = 120.0
) -> dict[str, Tally]:
    """Run entry points in a process of limited memory, which may crash and hang.

    Args:
        jobs: name of an entry point, number of the first input, and of the one after the last.
        seed: of all random numbers.
        folder: for files.
        stall_s: after so long on one input, the process is ended.
    """
    tallies = {name: Tally() for name, _, _ in jobs}
    progress = folder / "progress"
    environment = {**os.environ, "RUST_BACKTRACE": "0", "OMP_NUM_THREADS": "1"}
    environment |= {"OPENCV_LOG_LEVEL": "OFF", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
    left = list(jobs)
    while left:
        progress.write_bytes(bytes(8))
        command = [sys.executable, __file__, json.dumps(left), str(seed), str(folder)]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
            hangs = not _wait(process, progress, stall_s)
        for line in (folder / "stdout").read_bytes().splitlines():
            name, _, _ = left.pop(0)
            for key, value in json.loads(line).items():
                setattr(tallies[name], key, getattr(tallies[name], key) + value)
        if not left:
            break
        (name, first, end), *others = left
        number = max(first, int.from_bytes(progress.read_bytes(), "little"))
        how = f"no end in {stall_s:g} s" if hangs else f"exit status {process.returncode}"
        last_words = (folder / "stderr").read_text(errors="replace")[-1000:]
        tallies[name].faults.append(f"input {number}: {how}: {last_words}")
        tallies[name].refused += number - first  # what became of those before it is lost
        left = [(name, number + 1, end), *others]
    return tallies


def _wait(process: subprocess.Popen[bytes], progress: Path, stall_s: float) -> bool:
    """Wait for the end of a process; end it and return False if it does not get on."""
    number, since_s = b"", time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
            return True
        newest = progress.read_bytes()
        if newest != number:
            number, since_s = newest, time.monotonic()
        elif time.monotonic() - since_s > stall_s:
            process.kill()
            process.wait()
            return False


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(jobs: Sequence[tuple[str, int, int]], seed: int, folder: Path) -> None:
    """Run jobs, and print what became of their inputs: a line of JSON for each."""
    entries = {each.name: each for each in ENTRY_POINTS}
    with (folder / "progress").open("r+b") as file:
        progress = mmap.mmap(file.fileno(), 8)

    def begin(number: int) -> None:
        progress[:] = number.to_bytes(8, "little")

    for name, _, _ in jobs:  # what is imported when it is first needed is not to be counted
        with tempfile.TemporaryDirectory(dir=folder) as place:
            entries[name].run(Path(place), seed, range(3), Tally(), lambda number: None)
    _limit_memory()
    for name, first, end in jobs:
        tally = Tally()
        begin(first)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            entries[name].run(Path(place), seed, range(first, end), tally, begin)
        print(json.dumps(asdict(tally)), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
