# SPDX-License-Identifier: Apache-2.0
"""docs/your_camera.md has the topics of every preset."""

from __future__ import annotations

import re
from pathlib import Path

from mllmseg_ros.ros.support.camera_presets import PRESETS

PAGE = (Path(__file__).parents[3] / "docs" / "your_camera.md").read_text(encoding="utf-8")


def test_the_page_has_the_topics_of_every_preset() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", PAGE, re.M | re.S))
    tables = {
        name: dict(re.findall(r"^\| `(\w+)` \| `(/[\w/]+)` \|$", text, re.M))
        for name, text in sections.items()
    }
    assert {name: table for name, table in tables.items() if table} == dict(PRESETS)
    versions = re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| .* \| .*\d+\.\d+\.\d+.* \|$", PAGE, re.M)
    assert versions == list(PRESETS)


def test_every_preset_has_what_a_position_needs() -> None:
    for topics in PRESETS.values():
        assert {"image", "camera_info", "depth"} <= topics.keys()
        assert all(topic.startswith("/") for topic in topics.values())
