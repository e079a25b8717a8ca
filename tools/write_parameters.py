# SPDX-License-Identifier: Apache-2.0
"""Write the parameter files of ``config/`` and the table in docs/parameters.md.

    make parameters

``tests/ros/test_parameters.py`` fails where a file is not what this script writes.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mllmseg_ros.ros.console.parameters import ConsoleParameters
from mllmseg_ros.ros.node.parameters import SegmenterParameters
from mllmseg_ros.ros.speech.parameters import SpeechParameters
from mllmseg_ros.ros.support.parameter_fields import ParameterFields

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
_WIDTH = 100
_HEADS = {
    "mllmseg": "Those marked live can be changed while the node runs (ros2 param set /mllmseg "
    "threshold 0.6); the others take effect at configure.",
    "speech": "Those marked live can be changed while the node runs (ros2 param set /speech "
    "min_confidence 0.6); the others are read at start.",
    "console": "All are read at start.",
}
_QOS = """
    # Quality of service is set by ROS's own parameters, for every topic, at start:
    # qos_overrides:
    #   /image: {subscription: {reliability: reliable, depth: 5}}
    #   /segmentations: {publisher: {durability: transient_local}}
"""


def main() -> None:
    """Write all files."""
    for path, text in rendered_files().items():
        path.write_text(text, encoding="utf-8")


def rendered_files() -> dict[Path, str]:
    """Render all files: path -> text.

    Raises:
        ValueError: if the page has no place for the table.
    """
    page = ROOT / "docs" / "parameters.md"
    return {
        ROOT / "config" / "mllmseg.yaml": render_config("mllmseg", SegmenterParameters) + _QOS,
        ROOT / "config" / "speech.yaml": render_config("speech", SpeechParameters),
        ROOT / "config" / "console.yaml": render_config("console", ConsoleParameters),
        page: replace_table(page.read_text(encoding="utf-8"), SegmenterParameters),
    }


def render_config(node: str, parameters: type[ParameterFields]) -> str:
    """Render the parameter file of a node: defaults, with descriptions as comments."""
    head = f"Every parameter of the node {node} with its default, written by `make parameters`."
    lines = [*_comment(f"{head} {_HEADS[node]}", indent=""), "/**:", "  ros__parameters:"]
    entries = []
    for field in dataclasses.fields(parameters):
        comment = _comment(_describe(field), indent=" " * 4)
        entries.append("\n".join([*comment, f"    {field.name}: {_scalar(field.default)}"]))
    return "\n".join(lines) + "\n" + "\n\n".join(entries) + "\n"


def replace_table(page: str, parameters: type[ParameterFields]) -> str:
    """Replace the table between the two markers.

    Raises:
        ValueError: if a marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"docs/parameters.md has no {BEGIN} … {END}")
    rows = ["| parameter | default | live | |", "|---|---|---|---|"]
    for field in dataclasses.fields(parameters):
        live = "yes" if field.metadata["live"] else ""
        summary = first_sentence(field.metadata["description"])
        rows.append(f"| `{field.name}` | {_scalar(field.default)} | {live} | {summary} |")
    return "\n".join([before + begin, *rows, end + after])


def first_sentence(description: str) -> str:
    """Return the text up to the first full stop, without it."""
    return description.partition(". ")[0].removesuffix(".")


def _describe(field: dataclasses.Field[Any]) -> str:
    """Join what is known of a parameter."""
    text = field.metadata["description"]
    choices, range_ = field.metadata["choices"], field.metadata["range"]
    if choices:
        text += f" One of: {', '.join(choices)}."
    if range_:
        low, high = (f"{end:g}".replace("e+0", "e") for end in range_)
        text += f" Range: {low} to {high}."
    return f"live. {text}" if field.metadata["live"] else text


def _comment(text: str, indent: str) -> Sequence[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _scalar(value: Any) -> str:
    """Write a value as YAML, without quotes where text needs none."""
    if isinstance(value, str) and value and yaml.safe_load(value) == value:
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    main()
