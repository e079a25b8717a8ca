# SPDX-License-Identifier: Apache-2.0
"""Run folders: check that a resumed run has the same recipe, and write files atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["check_resume_config", "write_atomically"]


def check_resume_config(
    run: Path, fields: Mapping[str, Any], former_names: Mapping[str, str] | None = None
) -> None:
    """Write the recipe of a new run, or check that the run in the folder has the same.

    Args:
        run: the run's folder; created.
        fields: recipe and inputs of the run.
        former_names: names that fields had in earlier versions -> their names today.

    Raises:
        ValueError: naming the fields that differ.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / "recipe.json"
    if not path.is_file():
        write_atomically(path, json.dumps(fields, indent=2) + "\n")
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    for former, name in (former_names or {}).items():
        if former in stored:
            stored.setdefault(name, stored.pop(former))
    differing = {k: (stored.get(k), v) for k, v in fields.items() if stored.get(k) != v}
    if differing:
        raise ValueError(
            f"{run} holds a run with another recipe (in the folder, given): {differing}; "
            "use its settings to resume it, or another folder"
        )


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole, so that a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
