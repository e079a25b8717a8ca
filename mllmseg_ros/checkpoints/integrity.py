# SPDX-License-Identifier: Apache-2.0
"""Check that a checkpoint folder is complete: shards, headers, lengths and checksums.

Checksums are in ``SHA256SUMS`` beside the weights, in the format of ``sha256sum -c``. Only reads
files; knows nothing of networks, torch or the origin of a checkpoint.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mllmseg_ros.files import is_missing, open_file, parse_json, read_json, read_text, write_file
from mllmseg_ros.files.reading import show

__all__ = ["check", "count_values", "weight_files", "write_sums"]

SUMS = "SHA256SUMS"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
MAX_HEADER_BYTES = 16 << 20  # the shards of the largest published model have 0.1 MB
_MAX_INDEX_BYTES = 16 << 20
_MAX_SUMS_BYTES = 1 << 20
_MAX_SHARDS = 1000
_MAX_DIMENSIONS = 8
_BLOCK = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  ?\*?(\S.*)")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of :func:`check`."""

    problems: tuple[str, ...]  # empty if complete
    checked: str  # one line: what was checked


def check(folder: Path) -> Report:
    """Check a checkpoint folder, without network and without loading it.

    Every file in ``SHA256SUMS`` is read completely.
    """
    problems: list[str] = []
    if is_missing(folder / "config.json"):
        problems.append(f"{folder / 'config.json'}: not found")
    files, n_bytes = [], 0
    try:
        files = weight_files(folder)
        index = _read_index(folder)
    except ValueError as error:
        problems.append(str(error))
        index = {}
    for path in files:
        try:
            n_bytes += path.stat().st_size
            present = set(read_header(path))
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        missing = sorted(name for name, file in index.items() if file == path.name)
        missing = [name for name in missing if name not in present]
        if missing:
            problems.append(f"{path}: {len(missing)} tensors of the index are missing")
    checked = f"{n_bytes / 1e6:.1f} MB in {len(files)} weight file(s), headers and lengths"
    sums = folder / SUMS
    if is_missing(sums):
        return Report(problems=tuple(problems), checked=f"{checked}; no {SUMS} to compare with")
    try:
        expected_sums = read_sums(sums)
    except ValueError as error:
        return Report(problems=(*problems, str(error)), checked=checked)
    for name, expected in expected_sums.items():
        path = folder / name
        try:
            if is_missing(path):
                problems.append(f"{path}: not found, but listed in {SUMS}")
            elif sha256(path) != expected:
                problems.append(f"{path}: sha256 differs from the one in {SUMS}")
        except (ValueError, OSError) as error:
            problems.append(str(error))
    unlisted = [path.name for path in files if path.name not in expected_sums]
    if unlisted:
        problems.append(f"{sums}: does not list {', '.join(unlisted)}")
    return Report(
        problems=tuple(problems), checked=f"{checked}, sha256 of {len(expected_sums)} files"
    )


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a checkpoint folder: a single one, or those in its index.

    Raises:
        ValueError: if a file is missing or of a refused kind, or the index is malformed.
    """
    try:
        return _weight_files(folder)
    except OSError as error:
        raise ValueError(f"{show(folder)} cannot be read: {error.strerror or error}") from error


def _weight_files(folder: Path) -> list[Path]:
    if not is_missing(folder / _INDEX):
        names = sorted(set(_read_index(folder).values()))
        # A shard must be in this folder, whatever the index says.
        bad = [n for n in names if Path(n).name != n or not n.endswith(".safetensors")]
        if bad:
            raise ValueError(
                f"{folder / _INDEX}: {bad[0][:64]!r} is not the name of a safetensors file"
            )
        if len(names) > _MAX_SHARDS:
            raise ValueError(
                f"{folder / _INDEX}: {len(names)} files, accepted are up to {_MAX_SHARDS}"
            )
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    missing = [file for file in files if is_missing(file)]
    if not missing:
        return files
    if list(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{folder} has pickled weights (pytorch_model.bin), which are not loaded because a "
            f"pickle can run code; convert them once: mllmseg convert {folder}"
        )
    if not is_missing(folder / _INDEX):
        raise ValueError(
            f"{missing[0]}: not found; {_INDEX} names {len(files)} files, {len(missing)} of them "
            "missing"
        )
    if shards := sorted(folder.glob("[!.]*-of-*.safetensors")):
        raise ValueError(f"{folder / _INDEX}: not found; it is the index of {shards[0].name}")
    raise ValueError(
        f"{missing[0]}: not found; if the repository only has pytorch_model.bin, download that "
        "file into a folder and run `mllmseg convert` on it"
    )


_INDEX = "model.safetensors.index.json"


def _read_index(folder: Path) -> dict[str, str]:
    """Read the index: tensor name -> file name; empty if there is no index."""
    index = folder / _INDEX
    if is_missing(index):
        return {}
    fields = read_json(index, max_bytes=_MAX_INDEX_BYTES)
    try:
        return {str(name): str(file) for name, file in fields["weight_map"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index}: expected an object with a 'weight_map' of file names "
            f"({type(error).__name__}: {error})"
        ) from error


def read_header(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read the header of a safetensors file and compare it with the file's length.

    Returns:
        Tensor name -> ``{"dtype", "shape", "data_offsets"}``.

    Raises:
        ValueError: if the file is malformed or incomplete.
    """
    with open_file(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        n_header = int.from_bytes(file.read(8), "little")
        if n_bytes < 8 or n_header > n_bytes - 8:
            raise ValueError(f"{path}: not a complete safetensors file (its header is truncated)")
        if n_header > MAX_HEADER_BYTES:
            raise ValueError(
                f"{path}: a safetensors header of {n_header} bytes, accepted are up to "
                f"{MAX_HEADER_BYTES}"
            )
        text = file.read(n_header)
    try:
        header = parse_json(text.decode(), str(path))
        header.pop("__metadata__", None)
        offset = 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            shape = entry["shape"]
            if len(shape) > _MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"{name[:200]!r} has shape {str(shape)[:200]}")
            if begin != offset or 8 * (end - begin) != math.prod(shape) * _BITS[entry["dtype"]]:
                raise ValueError(f"the offsets of {name[:200]!r} do not fit its shape")
            offset = end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a safetensors header ({error})") from error
    if offset != n_bytes - 8 - n_header:
        raise ValueError(
            f"{path}: not a complete safetensors file ({n_bytes} bytes, its header says "
            f"{8 + n_header + offset}); download it again"
        )
    return dict(header)


def count_values(folder: Path) -> int:
    """Count the weights of a checkpoint folder.

    Raises:
        ValueError: if it is not complete.
    """
    headers = [read_header(path) for path in weight_files(folder)]
    return sum(math.prod(each["shape"]) for header in headers for each in header.values())


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits.

    Raises:
        ValueError: if it is not a regular file or cannot be opened.
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_sums(path: Path) -> dict[str, str]:
    """Read checksums: file name -> SHA-256.

    Raises:
        ValueError: if a line is malformed or names a file outside the folder.
    """
    sums = {}
    text = read_text(path, max_bytes=_MAX_SUMS_BYTES)
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or Path(match[2]).name != match[2]:
            raise ValueError(f"{path}, line {number}: expected a sha256 and a file name")
        sums[match[2]] = match[1]
    return sums


def write_sums(folder: Path, sums: Mapping[str, str], origin: str) -> None:
    """Write ``SHA256SUMS``, as the last file: a folder with it is complete."""
    lines = [f"# {origin}", *(f"{sums[name]}  {name}" for name in sorted(sums))]
    write_file(folder / SUMS, "\n".join(lines) + "\n")
