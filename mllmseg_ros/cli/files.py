# SPDX-License-Identifier: Apache-2.0
"""Read and write the files of verbs: images and JSON. Check outputs before the work begins."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.files import make_folder, write_file

# Of a checkpoint's folder.
MODEL_FILES = ("*.json", "*.md", "*.model", "*.safetensors", "*.txt", "SHA256SUMS")
_STDOUT = ("-", "/dev/stdout")


def read_image(path: Path) -> Any:
    """Read an image file as it is displayed, RGB uint8 (H, W, 3), contiguous.

    Raises:
        ValueError: from :func:`mllmseg_ros.codecs.image_file.read_image`.
    """
    from mllmseg_ros.codecs import image_file

    return image_file.read_image(path)


def write_json(fields: Any, path: Path | None) -> None:
    """Write JSON to a file, to stdout if the path is ``-``, or not at all if it is None."""
    if path is None:
        return
    text = json.dumps(fields, indent=2) + "\n"
    if is_stdout(path):
        sys.stdout.write(text)
    else:
        write_file(path, text)


def is_stdout(path: Path | None) -> bool:
    """Whether an output is standard output, so that all else has to go to stderr."""
    return str(path) in _STDOUT


def check_output_files(*paths: Path | None) -> None:
    """Check that files can be written, before the work begins that they are the result of.

    Args:
        paths: None for an output that nobody asked for.

    Raises:
        ValueError: A folder is missing or cannot be written, or a path is that of a folder.
    """
    for path in paths:
        if path is None or is_stdout(path):
            continue
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file in it")
        folder = path.parent
        if not folder.is_dir():
            raise ValueError(f"{path}: there is no folder {folder}; make it first")
        _check_writable(folder)


def check_image_files(*paths: Path | None) -> None:
    """As :func:`check_output_files`, for images: the suffix must be one that OpenCV writes."""
    from mllmseg_ros.drawing.image_file import check_suffix

    check_output_files(*paths)
    for path in paths:
        if path is not None:
            check_suffix(path)


def make_output_folder(folder: Path) -> None:
    """Make a folder for files, before the work begins that they are the result of.

    Raises:
        ValueError: It is a file or a symbolic link, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder")
    make_folder(folder)
    _check_writable(folder)


def check_output_folder(folder: Path) -> None:
    """Check that a folder can be made or written, before the work begins.

    Raises:
        ValueError: It is a file, or it or the first folder above it that exists cannot be written.
    """
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder")
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder}: this folder cannot be written")
