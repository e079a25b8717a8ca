# SPDX-License-Identifier: Apache-2.0
"""Find the storage files of a bag's folder, with or without a usable metadata.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from mllmseg_ros.files import parse_yaml, read_bytes
from mllmseg_ros.recording.recorded_image import BAG_SUFFIXES

__all__ = [
    "METADATA",
    "describe_ros1",
    "find_storage_files",
    "is_storage_name",
    "list_storage_files",
    "natural_order",
]

METADATA = "metadata.yaml"
MAX_METADATA_BYTES = 4 << 20
# Hidden files are none: macOS leaves "._NAME" beside NAME on disks of other systems.
_STORAGE_NAME = re.compile(r"[^.].*\.(mcap|db3)(\.(zstd|zst|lz4|gz|bz2|xz))?")
_SPLIT_NAME = re.compile(r"(.+_)[0-9]+(\.(mcap|db3))")  # of one recording: NAME_0.mcap, NAME_1.mcap


def describe_ros1(file: Path) -> str:
    """Say how a bag of ROS 1 becomes one that can be read."""
    return (
        f"{file}: a ROS 1 bag; convert it to ROS 2 with "
        f"`rosbags-convert --src {file.name} --dst {file.stem}`"
    )


def is_storage_name(name: str) -> bool:
    """Whether a file of this name is a storage file, maybe compressed."""
    return _STORAGE_NAME.fullmatch(name) is not None


def list_storage_files(path: Path) -> list[Path]:
    """List all storage files of a bag by name; one that is compressed and not is listed once."""
    if not path.is_dir():
        return [path]
    names = {each.name for each in path.iterdir() if is_storage_name(each.name)}
    return [
        path / name
        for name in sorted(names, key=natural_order)
        if not (path / name).is_dir() and not (_is_compressed(name) and _raw(name) in names)
    ]


def find_storage_files(path: Path) -> tuple[list[Path], list[str]]:
    """Find the storage files to read, and what is wrong with the rest of the bag.

    Raises:
        ValueError: There is none, or it is not known which ones belong together.
    """
    there = list_storage_files(path)
    warnings: list[str] = []
    if not path.is_dir():
        return there, warnings
    names = _names_in_metadata(path, warnings)
    if not names:
        if not there:
            raise ValueError(
                f"{path}: not a complete ROS 2 bag; expected {' or '.join(BAG_SUFFIXES)} beside "
                f"its {METADATA}"
            )
        if len(there) > 1:
            if not _are_splits(there):
                raise ValueError(
                    f"{path}: {len(there)} storage files of different recordings without "
                    f"{METADATA}; name one of them"
                )
            warnings.append(f"no usable {METADATA}, reading all {len(there)} storage files")
        return there, warnings
    by_raw_name = {_raw(file.name): file for file in there}
    files = [by_raw_name[_raw(name)] for name in names if _raw(name) in by_raw_name]
    warnings += [f"{name} is missing" for name in names if _raw(name) not in by_raw_name]
    if files:
        parts = [file for file in there if file in files or _are_splits([*files, file])]
        if n_new := len(parts) - len(files):
            warnings.append(f"{METADATA} does not name {n_new} of {len(parts)} splits, reading all")
        others = [file for file in there if file not in parts]
        warnings += [f"{file.name} ignored: {METADATA} does not name it" for file in others]
        return parts, warnings
    shown, read = ", ".join(names)[:200], ", ".join(file.name for file in there)[:200]
    if len(there) != len(names):
        raise ValueError(f"{path}: {METADATA} names {shown}; there is {read or 'no storage file'}")
    return there, [f"{METADATA} names {shown}, reading {read}"]


def _are_splits(files: Sequence[Path]) -> bool:
    """Whether files are, by their names, the parts of one recording."""
    found = {
        match.group(1, 2) if (match := _SPLIT_NAME.fullmatch(_raw(file.name))) else None
        for file in files
    }
    return len(found) == 1 and None not in found


def natural_order(name: str) -> tuple[Any, ...]:
    """Key that sorts numbers in names by value: 2 before 10."""
    parts = re.split(r"([0-9]+)", name)
    return (*(int(part[:4000]) if i % 2 else part for i, part in enumerate(parts)), name)


def _names_in_metadata(path: Path, warnings: list[str]) -> list[str]:
    """Read the names of the storage files, none if metadata.yaml is missing or incomplete."""
    if not (path / METADATA).exists():
        return []
    text = read_bytes(path / METADATA, max_bytes=MAX_METADATA_BYTES).decode(errors="replace")
    try:
        information = parse_yaml(text, METADATA)["rosbag2_bagfile_information"]
        names = [PurePath(str(name)).name for name in information["relative_file_paths"]]
        compression = str(information.get("compression_format") or "")
        mode = str(information.get("compression_mode") or "").lower()
    except (ValueError, KeyError, TypeError, AttributeError):
        warnings.append(f"{METADATA} is not complete; reading without it")
        return []
    if compression not in ("", "zstd") and mode not in ("", "none"):
        raise ValueError(f"{path}: compressed with {compression[:64]}; accepted: zstd")
    return list(dict.fromkeys(names))


def _is_compressed(name: str) -> bool:
    return not name.endswith(BAG_SUFFIXES)


def _raw(name: str) -> str:
    """Get the name of a storage file as it is when it is not compressed."""
    return PurePath(name).stem if _is_compressed(name) else name
