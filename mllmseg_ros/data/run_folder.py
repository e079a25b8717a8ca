# SPDX-License-Identifier: Apache-2.0
"""The folder of a run that can be killed and resumed: its settings, and files replaced whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def check_resume_config(run: Path, fields: dict[str, Any]) -> None:
    """Write the recipe of a new run, or check that a run found there has the same.

    Raises:
        ValueError: naming the fields that differ.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / "recipe.json"
    if not path.is_file():
        write_atomically(path, json.dumps(fields, indent=2) + "\n")
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    differing = {k: (there.get(k), v) for k, v in fields.items() if there.get(k) != v}
    if differing:
        raise ValueError(
            f"{run} holds a run with another recipe (there, asked for): {differing}; "
            "use its settings to resume it, or another folder"
        )


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole: a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
