# SPDX-License-Identifier: Apache-2.0
"""Write the transcript of docs/agents.md: an agent's calls to the demo, and the answers.

    source install/local_setup.bash
    .venv/bin/python tools/write_agent_transcript.py

Starts the simulated camera and the segmenter of `make demo`, and `mllmseg mcp` as an agent's client
does, with the SDK's client. The calls are those below; the answers are whatever comes.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image
from ament_index_python.packages import get_package_prefix
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, ImageContent

from mllmseg_ros.ros.support import large_images

PAGE = Path(__file__).resolve().parents[1] / "docs" / "agents.md"
BEGIN, END = "<!-- transcript: begin -->", "<!-- transcript: end -->"
PROGRAMS = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros"
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("status", {}),
    ("find", {"sentence": "the pink mug; the banana"}),
    ("watch", {"sentence": "the banana", "seconds": 1.5}),
    ("set_command", {"sentence": "pick up the pink mug"}),
    ("stop", {}),
)


def main() -> None:
    """Run the calls and replace the transcript."""
    environment = {**os.environ, **large_images.environment()}
    environment["ROS_DOMAIN_ID"] = str(random.randint(1, 101))
    with _demo(environment):
        transcript = asyncio.run(_talk(environment))
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    page = f"{head}{BEGIN}\n```text\n{transcript}```\n{END}{tail}"
    PAGE.write_text(page, encoding="utf-8")


@contextmanager
def _demo(environment: dict[str, str]) -> Iterator[None]:
    """Run the camera and the segmenter."""
    commands = (["sim_camera"], ["mllmseg_node", "--ros-args", "-p", "device:=cpu"])
    processes = [
        subprocess.Popen([str(PROGRAMS / name), *arguments], env=environment)
        for name, *arguments in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


async def _talk(environment: dict[str, str]) -> str:
    server = StdioServerParameters(
        command=str(PROGRAMS / "mllmseg"), args=["mcp", "--allow-commands"], env=environment
    )
    lines: list[str] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        lines.append(f"  {progress:.1f} of {total or 0:.1f} s: {message}")

    async with Client(stdio_client(server)) as client:
        while not await _is_ready(client):
            await asyncio.sleep(0.5)
        for tool, arguments in CALLS:
            lines.append(f"> {tool} {json.dumps(arguments)}")
            result = await client.call_tool(tool, arguments, progress_callback=report)
            lines.extend([*_describe(result), ""])
    return "\n".join(lines)


async def _is_ready(client: Client) -> bool:
    """Whether the model is loaded and images come, so that the transcript is of a running demo."""
    status = await client.call_tool("status")
    fields = status.structured_content or {}
    if not fields.get("is_ready") or "no image" in json.dumps(fields):
        return False
    return not (await client.call_tool("look")).is_error


def _describe(result: CallToolResult) -> Iterator[str]:
    """One line per field that is not empty, one per target, one per image."""
    fields = dict(result.structured_content or {})
    targets = fields.pop("targets", [])
    yield json.dumps(fields)
    for target in targets:
        yield f"  {json.dumps(target)}"
    for content in result.content:
        if isinstance(content, ImageContent):
            with PIL.Image.open(io.BytesIO(base64.b64decode(content.data))) as image:
                yield f"[{content.mime_type}, {image.width} x {image.height} px]"


if __name__ == "__main__":
    main()
