# SPDX-License-Identifier: Apache-2.0
"""Run folders: check that a resumed run has the same recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import read_json, show, write_file

__all__ = ["check_resume_config"]

_MAX_SHOWN = 500  # characters of the values that differ


def check_resume_config(
    run: Path, fields: Mapping[str, Any], former_names: Mapping[str, str] | None = None
) -> None:
    """Write the recipe of a new run, or check that the run in the folder has the same.

    Args:
        run: the run's folder; created.
        fields: recipe and inputs of the run.
        former_names: names that fields had in earlier versions -> their names today.

    Raises:
        ValueError: naming the fields that differ, or why the recipe there cannot be read.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / "recipe.json"
    if not path.is_file():
        write_file(path, json.dumps(fields, indent=2) + "\n")
        return
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ValueError(f"{show(path)}: expected an object")
    for former, name in (former_names or {}).items():
        if former in stored:
            stored.setdefault(name, stored.pop(former))
    differing = [
        text
        for name, value in fields.items()
        if stored.get(name) != value
        for text in _differences(name, stored.get(name), value)
    ]
    if differing:
        shown = one_line(ValueError("; ".join(differing)), with_type=False, max_chars=_MAX_SHOWN)
        raise ValueError(
            f"{run} holds a run with another recipe: {shown}. Use its settings to resume it, "
            "another folder, or --overwrite"
        )


def _differences(name: str, stored: Any, given: Any) -> list[str]:
    """Describe how a field differs, one text per part of it."""
    if isinstance(stored, Mapping) and isinstance(given, Mapping):
        return [
            text
            for key in dict.fromkeys((*given, *stored))
            if stored.get(key) != given.get(key)
            for text in _differences(f"{name}, {key}", stored.get(key), given.get(key))
        ]
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        return [
            text
            for number, pair in enumerate(zip(stored, given, strict=True), start=1)
            if pair[0] != pair[1]
            for text in _differences(f"{name} {number}" if len(given) > 1 else name, *pair)
        ]
    return [f"{name} {_describe(stored)} there, {_describe(given)} here"]


def _describe(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_describe(each)}" for key, each in value.items()) or "empty"
    if isinstance(value, list):
        return ", ".join(map(_describe, value)) or "empty"
    return repr(value)
