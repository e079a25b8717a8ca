# SPDX-License-Identifier: Apache-2.0
"""docs/agents.md says what the server does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("mcp.server.mcpserver", reason="needs requirements/mcp.txt")

from mllmseg_ros.agent.answers import CommandAnswer, Findings, StatusAnswer, Target
from mllmseg_ros.agent.encoded_images import MAX_SIDE_PX
from mllmseg_ros.agent.limits import MAX_CALLS, MAX_WATCH_S
from mllmseg_ros.agent.server import build_server

PAGE = (Path(__file__).parents[3] / "docs" / "agents.md").read_text(encoding="utf-8")
ANSWERS = {
    "status": StatusAnswer,
    "find": Findings,
    "watch": Findings,
    "set_command": CommandAnswer,
    "stop": CommandAnswer,
}


def names(kind: type) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def test_the_table_has_the_tools_with_their_parameters() -> None:
    rows = dict(re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", PAGE, re.MULTILINE))
    server = build_server(None, allow_commands=True)  # type: ignore[arg-type]
    tools = asyncio.run(server.list_tools())
    assert {each.name: set(each.input_schema["properties"]) for each in tools} == {
        name: set(filter(None, parameters.split(", "))) for name, parameters in rows.items()
    }
    assert all(each.output_schema and each.description for each in tools)


def test_the_transcript_has_the_fields_of_the_answers() -> None:
    transcript = PAGE.split("<!-- transcript: begin -->")[1].split("<!-- transcript: end -->")[0]
    calls = re.findall(r"^> (\w+) (\{.*\})\n((?:.+\n)+)", transcript, re.MULTILINE)
    assert [name for name, _, _ in calls] == list(ANSWERS)
    n_targets = 0
    for name, arguments, answer in calls:
        json.loads(arguments)
        lines = [json.loads(each) for each in re.findall(r"^ *(\{.*\})$", answer, re.MULTILINE)]
        assert lines[0].keys() == names(ANSWERS[name]) - {"targets"}, name
        for target in lines[1:]:
            assert target.keys() == names(Target)
            n_targets += 1
    assert n_targets >= 3
    assert '"not_there": true' in transcript
    assert '"frame_id": "camera_color_optical_frame", "stamp"' in transcript
    assert "[image/jpeg, 640 x 480 px]" in transcript


def test_the_limits_are_those_of_the_code() -> None:
    assert f"({MAX_WATCH_S:.0f} s at most)" in PAGE
    assert f"At most {MAX_CALLS} calls are answered at a time." in PAGE
    assert f"reduced to {MAX_SIDE_PX} px" in PAGE
