# SPDX-License-Identifier: Apache-2.0
"""Is a checkpoint folder whole: every shard there, every header and length right, every sum.

Sums stand in ``SHA256SUMS`` beside the weights, in the form that ``sha256sum -c`` reads too. Reads
files alone; knows nothing of networks, torch or where a checkpoint comes from.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["check", "count_values", "weight_files", "write_sums"]

SUMS = "SHA256SUMS"
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
}  # fmt: skip
_MAX_HEADER = 100_000_000  # bytes, as the safetensors library has it
_BLOCK = 1 << 20
_LINE = re.compile(r"([0-9a-f]{64})  ?\*?(\S.*)")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What :func:`check` found."""

    problems: tuple[str, ...]  # none: whole
    checked: str  # one line: what that rests on


def check(folder: Path) -> Report:
    """Look a checkpoint folder through, without network and without loading it.

    Every file that ``SHA256SUMS`` names is read from end to end.
    """
    problems = []
    if not (folder / "config.json").is_file():
        problems.append(f"{folder / 'config.json'}: not found")
    files, n_bytes = [], 0
    try:
        files = weight_files(folder)
        listed = _listed_tensors(folder)
    except ValueError as error:
        problems.append(str(error))
        listed = {}
    for path in files:
        n_bytes += path.stat().st_size
        try:
            there = set(read_header(path))
        except ValueError as error:
            problems.append(str(error))
            continue
        lost = sorted(name for name, file in listed.items() if file == path.name)
        lost = [name for name in lost if name not in there]
        if lost:
            problems.append(f"{path}: {len(lost)} tensors that the index names are not in it")
    checked = f"{n_bytes / 1e6:.1f} MB in {len(files)} weight file(s), headers and lengths"
    sums = folder / SUMS
    if not sums.is_file():
        return Report(problems=tuple(problems), checked=f"{checked}; no {SUMS} to compare with")
    try:
        wanted = read_sums(sums)
    except ValueError as error:
        return Report(problems=(*problems, str(error)), checked=checked)
    for name, expected in wanted.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path}: not found, but {SUMS} names it")
        elif sha256(path) != expected:
            problems.append(f"{path}: sha256 is not the one in {SUMS}")
    unnamed = [path.name for path in files if path.name not in wanted]
    if unnamed:
        problems.append(f"{sums}: does not name {', '.join(unnamed)}")
    return Report(problems=tuple(problems), checked=f"{checked}, sha256 of {len(wanted)} files")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder: one, or those that its index names.

    Raises:
        ValueError: naming the one that is missing or of a refused kind, or what the index lacks.
    """
    if (folder / _INDEX).is_file():
        names = sorted(set(_listed_tensors(folder).values()))
        # A shard is a file of this very folder, whatever the index says.
        bad = [n for n in names if Path(n).name != n or not n.endswith(".safetensors")]
        if bad:
            raise ValueError(f"{folder / _INDEX}: {bad[0]!r} is no name of a safetensors file")
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return files
    if list(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{folder} holds pickled weights (pytorch_model.bin), which are not loaded because a "
            f"pickle can run code; convert them once: mllmseg convert {folder}"
        )
    raise ValueError(
        f"{missing[0]}: not found; of a repository that has pytorch_model.bin alone, fetch that "
        "file into a folder of your own and run `mllmseg convert` on it"
    )


_INDEX = "model.safetensors.index.json"


def _listed_tensors(folder: Path) -> dict[str, str]:
    """Tensor name -> file name, as the index has it; none where there is no index."""
    index = folder / _INDEX
    if not index.is_file():
        return {}
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index}: expected an object with a 'weight_map' of file names "
            f"({type(error).__name__}: {error})"
        ) from error


def read_header(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read the header of a safetensors file and hold it against the file's length.

    Returns:
        Tensor name -> ``{"dtype", "shape", "data_offsets"}``.

    Raises:
        ValueError: saying what is wrong with the file.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_bytes < 8 or n_header > min(_MAX_HEADER, n_bytes - 8):
            raise ValueError(f"{path}: not a complete safetensors file (its header is cut off)")
        text = file.read(n_header)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        ends = 0
        for name, entry in sorted(header.items(), key=lambda each: each[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            if (
                begin != ends
                or 8 * (end - begin) != math.prod(entry["shape"]) * _BITS[entry["dtype"]]
            ):
                raise ValueError(f"the place of {name} does not fit its shape")
            ends = end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a safetensors header ({error})") from error
    if ends != n_bytes - 8 - n_header:
        raise ValueError(
            f"{path}: not a complete safetensors file ({n_bytes} bytes, its header says "
            f"{8 + n_header + ends}); download it again"
        )
    return header


def count_values(folder: Path) -> int:
    """Number of weights of a checkpoint folder.

    Raises:
        ValueError: if it is not whole.
    """
    headers = [read_header(path) for path in weight_files(folder)]
    return sum(math.prod(each["shape"]) for header in headers for each in header.values())


def sha256(path: Path) -> str:
    """Sum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_sums(path: Path) -> dict[str, str]:
    """File name -> sum.

    Raises:
        ValueError: naming the line that is none, or names a file outside of the folder.
    """
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or Path(match[2]).name != match[2]:
            raise ValueError(f"{path}, line {number}: expected a sha256 and a file name")
        sums[match[2]] = match[1]
    return sums


def write_sums(folder: Path, sums: Mapping[str, str], origin: str) -> None:
    """Write ``SHA256SUMS``, as the last file of a folder: whoever has it has the rest."""
    lines = [f"# {origin}", *(f"{sums[name]}  {name}" for name in sorted(sums))]
    partial = folder / f"{SUMS}.partial"
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(folder / SUMS)
