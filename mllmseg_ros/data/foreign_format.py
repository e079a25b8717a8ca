# SPDX-License-Identifier: Apache-2.0
"""Recognise JSON files of programs and data sets that have no referring expressions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from mllmseg_ros.data.sample import MAX_ANNOTATION_BYTES
from mllmseg_ros.files import read_json, show

__all__ = ["foreign_format", "name_foreign_file"]

_MAX_FILES = 10  # looked at, of a folder that may have thousands
_ACCEPTED = (
    "which has no expressions; accepted: annotations.jsonl with an expression and a mask per line, "
    "or refs(…).p or grefs(…).json beside instances.json"
)


def foreign_format(content: Any) -> str:
    """Name the format of a JSON file and what is accepted; "" if it is not known."""
    if isinstance(content, dict):
        if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
            return f"a COCO file (as of CVAT and Roboflow), {_ACCEPTED}"
        if isinstance(content.get("shapes"), list) and "text" not in content:
            return f"a file of LabelMe, {_ACCEPTED}"
    return ""


def name_foreign_file(paths: Iterable[Path]) -> str:
    """Name the first file of a format without expressions; "" if there is none, or one with them.

    Args:
        paths: JSON files, of which the first few are read.
    """
    found = ""
    for path in islice(paths, _MAX_FILES):
        try:
            content = read_json(path, max_bytes=MAX_ANNOTATION_BYTES)
        except ValueError:
            continue
        if isinstance(content, dict) and "text" in content:
            return ""
        if not found and (name := foreign_format(content)):
            found = f"{show(path)} is {name}"
    return found
