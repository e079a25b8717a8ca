# SPDX-License-Identifier: Apache-2.0
"""An agent that asks about image files, by the SDK's own client and with the embedded model."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcp.server.mcpserver", reason="needs requirements/mcp.txt")
pytest.importorskip("aiohttp", reason="needs aiohttp")

from mcp import Client
from mcp_types import CallToolResult

from mllmseg_ros.agent import folder_backend
from mllmseg_ros.agent.encoded_images import MAX_BYTES, encode_image
from mllmseg_ros.agent.folder_backend import FolderBackend
from mllmseg_ros.agent.limits import MAX_CALLS
from mllmseg_ros.agent.server import build_server
from mllmseg_ros.language.command import MAX_COMMAND_CHARS
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import load_sample

FRAMES = Path(folder_backend.__file__).parents[1] / "assets" / "frames"
PRESENT = next(iter(load_sample(0).objects))
ABSENT = "the banana"


@pytest.fixture
def ask(folder: Path, segmenter: Segmenter) -> Callable[..., CallToolResult]:
    """Call one tool."""
    backend = FolderBackend(folder, segmenter)

    def call(tool: str, **arguments: Any) -> CallToolResult:
        return talk(backend, lambda client: client.call_tool(tool, arguments))

    return call


def talk(
    backend: FolderBackend,
    steps: Callable[[Client], Awaitable[Any]],
    *,
    allow_commands: bool = False,
) -> Any:
    async def run() -> Any:
        async with Client(build_server(backend, allow_commands=allow_commands)) as client:
            return await steps(client)

    return asyncio.run(asyncio.wait_for(run(), 60))


def fields(result: CallToolResult) -> dict[str, Any]:
    """The fields of an answer; its text says the same, for clients that read no fields."""
    assert not result.is_error, result.content
    assert result.structured_content == json.loads(result.content[0].text)
    return result.structured_content


def refusal(result: CallToolResult) -> str:
    assert result.is_error
    (content,) = result.content
    return content.text


def decoded(result: CallToolResult) -> np.ndarray:
    image = result.content[1]
    return cv2.imdecode(np.frombuffer(base64.b64decode(image.data), np.uint8), cv2.IMREAD_COLOR)


def test_what_is_there_has_a_box_and_what_is_not_is_a_plain_field(ask: Callable) -> None:
    result = ask("find", sentence=f"the {PRESENT.color} {PRESENT.kind}; {ABSENT}", camera="left")
    answer = fields(result)
    assert (answer["status"], answer["found"], answer["not_there"]) == ("partial", False, True)
    there, absent = answer["targets"]
    assert (there["found"], there["not_there"], there["status"]) == (True, False, "found")
    truth = load_sample(0).instances == PRESENT.instance_id
    v, u = np.nonzero(truth)
    assert there["box_xyxy"] == pytest.approx([u.min(), v.min(), u.max() + 1, v.max() + 1], abs=8)
    assert there["area_px"] == pytest.approx(truth.sum(), rel=0.15)
    assert truth[there["inside_uv"][1], there["inside_uv"][0]]
    assert there["score"] > 0.5
    assert (absent["found"], absent["not_there"], absent["status"]) == (False, True, "no_target")
    assert absent["score"] < 0.5
    assert absent["box_xyxy"] is None
    assert absent["area_px"] == 0
    assert "There is no banana here." in answer["text"]
    plain, drawn = cv2.imread(str(FRAMES / "frame_0.png")), decoded(result)
    assert drawn.shape == plain.shape
    changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 40
    outline = cv2.morphologyEx(truth.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    assert changed[outline].mean() > 0.5
    assert changed.mean() < 0.2


def test_a_sentence_is_understood_as_on_the_topic(ask: Callable) -> None:
    thing = f"the {PRESENT.color} {PRESENT.kind}"
    answer = fields(ask("find", sentence=f"please pick up {thing}", camera="left"))
    assert [(each["role"], each["expression"]) for each in answer["targets"]] == [("pick", thing)]
    assert "understood as" in answer["note"]
    stopped = fields(ask("find", sentence="ｓｔｏｐ!", camera="left"))
    assert (stopped["status"], stopped["found"], stopped["not_there"]) == ("stopped", False, False)


def test_the_newest_image_of_a_folder_counts(ask: Callable, folder: Path) -> None:
    sentence = f"the {PRESENT.color} {PRESENT.kind}"
    assert fields(ask("find", sentence=sentence, camera="left"))["found"]
    newer = folder / "left" / "0.png"
    cv2.imwrite(str(newer), np.full((60, 80, 3), 127, np.uint8))
    os.utime(newer, ns=(2**62, 2**62))
    answer = fields(ask("find", sentence=sentence, camera="left"))
    assert answer["not_there"]
    assert answer["image_wh"] == [80, 60]
    assert fields(ask("find", sentence=sentence, camera="left/1.png"))["found"]
    view = ask("look", camera="left")
    assert fields(view)["image_wh"] == [80, 60]
    assert decoded(view).shape == (60, 80, 3)


def test_the_panel_of_an_explanation(ask: Callable) -> None:
    result = ask("explain", sentence=ABSENT, camera="left")
    assert fields(result)["text"].startswith("no_target. Its score 0.0")
    assert decoded(result).shape[1] == 1608
    assert "2 things are named" in refusal(ask("explain", sentence="the mug; the can"))


def test_an_image_of_many_details_fits_into_a_message() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (1500, 2000, 3), np.uint8)
    made = encode_image(noise)
    assert 100_000 < len(made.data) <= MAX_BYTES
    pixels = cv2.imdecode(np.frombuffer(made.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (960, 1280, 3)


def test_watching_ends_when_the_thing_appears(folder: Path, segmenter: Segmenter) -> None:
    empty = folder / "left" / "1.png"
    cv2.imwrite(str(empty), np.full((60, 80, 3), 127, np.uint8))
    backend, reports = FolderBackend(folder, segmenter), []

    async def report(progress: float, total: float | None, text: str | None) -> None:
        reports.append((progress, total, text))
        if len(reports) == 2:
            appeared = folder / "left" / "2.png"
            shutil.copy(FRAMES / "frame_0.png", appeared)
            os.utime(appeared, ns=(2**62, 2**62))

    async def watch(client: Client) -> CallToolResult:
        arguments = {
            "sentence": f"the {PRESENT.color} {PRESENT.kind}", "seconds": 50.0, "camera": "left",
        }  # fmt: skip
        return await client.call_tool("watch", arguments, progress_callback=report)

    assert fields(talk(backend, watch))["found"]
    assert 3 <= len(reports) < 50
    assert all(total == 50.0 for _, total, _ in reports)
    assert [each[0] for each in reports] == sorted(each[0] for each in reports)
    assert reports[0][2] == f"There is no {PRESENT.color} {PRESENT.kind} here."
    assert reports[-1][2].startswith("I see the")


def test_watching_ends_when_the_time_is_over(ask: Callable) -> None:
    assert fields(ask("watch", sentence=ABSENT, seconds=0.2, camera="left"))["not_there"]
    for seconds in (0, -1, 1e9):
        wrong = refusal(ask("watch", sentence=ABSENT, seconds=seconds, camera="left"))
        assert "accepted: more than 0, up to 600" in wrong


def test_an_image_file_by_itself(folder: Path, segmenter: Segmenter) -> None:
    backend = FolderBackend(folder / "left" / "1.png", segmenter)
    listed = talk(backend, lambda client: client.call_tool("list_cameras"))
    assert fields(listed)["cameras"] == ["", "1.png"]
    found = talk(backend, lambda client: client.call_tool("find", {"sentence": ABSENT}))
    assert fields(found)["not_there"]
    with pytest.raises(ValueError, match="no image in it"):
        FolderBackend(folder / "nothing", segmenter)


@pytest.mark.threat("A1")
def test_without_permission_no_tool_changes_what_the_robot_looks_for(
    folder: Path, segmenter: Segmenter
) -> None:
    backend = FolderBackend(folder, segmenter)
    command = {"sentence": "pick up the mug", "camera": "left"}

    async def try_all(client: Client) -> tuple[dict[str, Any], CallToolResult, dict[str, Any]]:
        tools = {each.name: each for each in (await client.list_tools()).tools}
        result = await client.call_tool("set_command", command)
        return tools, result, fields(await client.call_tool("status"))

    tools, result, status = talk(backend, try_all)
    assert "set_command" not in tools
    assert {name for name, each in tools.items() if not each.annotations.read_only_hint} == {"stop"}
    assert "Unknown tool" in refusal(result)
    assert status["commands_allowed"] is False
    assert "command:" not in status["text"]
    tools, result, status = talk(backend, try_all, allow_commands=True)
    assert tools["set_command"].annotations.destructive_hint
    assert fields(result)["accepted"]
    assert status["commands_allowed"] is True
    assert 'command: "pick: the mug"' in status["text"]
    # Stopping is allowed always.
    assert fields(talk(backend, lambda client: client.call_tool("stop")))["accepted"]
    assert (
        "command:" not in fields(talk(backend, lambda client: client.call_tool("status")))["text"]
    )


@pytest.mark.threat("A1")
def test_a_stop_waits_for_no_other_call(folder: Path, segmenter: Segmenter) -> None:
    backend = FolderBackend(folder, segmenter)

    async def stop_meanwhile(client: Client) -> str:
        watch = {"sentence": ABSENT, "seconds": 50.0, "camera": "left"}
        calls = [
            asyncio.create_task(client.call_tool("watch", watch)) for _ in range(MAX_CALLS + 1)
        ]
        (refused,), served = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert fields(await client.call_tool("stop"))["accepted"]
        assert not any(each.done() for each in served)
        for each in served:
            each.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        while (await client.call_tool("look", {"camera": "left"})).is_error:
            await asyncio.sleep(0.05)  # a client that gives up frees its place
        return refusal(refused.result())

    assert talk(backend, stop_meanwhile).endswith(f"accepted are {MAX_CALLS} at a time")


@pytest.mark.threat("A2", "N5")
def test_nothing_outside_the_folder_is_looked_at(folder: Path, ask: Callable) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    shutil.copy(FRAMES / "frame_1.png", outside / "secret.png")
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "links").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "inside.png").symlink_to("left/1.png")
    (folder / ".hidden").mkdir()
    shutil.copy(FRAMES / "frame_1.png", folder / ".hidden" / "1.png")
    assert fields(ask("list_cameras"))["cameras"] == ["", "left", "inside.png", "left/1.png"]
    for camera in (
        "../outside/secret.png", str(outside / "secret.png"), "link.png", "links",
        "links/secret.png", "left/../../outside/secret.png", ".hidden/1.png", "loop/left/1.png",
        "file:///etc/passwd", "~", ".", "..", "/", "left/", "left\n", "$HOME", "*",
    ):  # fmt: skip
        for tool in ("find", "look"):
            arguments = {"sentence": "the mug"} if tool == "find" else {}
            assert "accepted: '', 'left'" in refusal(ask(tool, camera=camera, **arguments))


@pytest.mark.threat("A2", "A3")
def test_names_of_files_are_escaped_and_found_again(folder: Path, ask: Callable) -> None:
    for name in (b"\xff\xfe.png", b"a\nb.png", "\u202etxt.png".encode(), b"new\x1b[31m.png"):
        shutil.copy(FRAMES / "frame_1.png", os.fsencode(folder) + b"/" + name)
    names = fields(ask("list_cameras"))["cameras"]
    assert len(names) == 7
    assert all(each.isprintable() for each in names)
    for each in names:
        assert fields(ask("look", camera=each))["image_wh"] == [640, 480]


@pytest.mark.threat("A3")
@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("find", {"sentence": "x" * (MAX_COMMAND_CHARS + 1)}, "accepted are up to 4096"),
        ("find", {"sentence": "; ".join(["the mug"] * 17)}, "names 17 things"),
        ("find", {"sentence": f"the {'big ' * 100}mug"}, "accepted are up to 256"),
        ("find", {"sentence": "a\0b"}, "null character"),
        ("find", {"sentence": "the mug", "camera": "x" * 2000}, "accepted are up to 1024"),
        ("find", {"sentence": "((("}, "names nothing"),
        ("find", {"sentence": 3}, "valid string"),
        ("find", {}, "Field required"),
        ("watch", {"sentence": "the mug", "seconds": "NaN"}, "accepted: more than 0"),
        ("watch", {"sentence": "the mug", "seconds": {}}, "valid number"),
        ("nosuch", {}, "Unknown tool"),
    ],
)
def test_what_an_agent_sends_is_checked(
    ask: Callable, tool: str, arguments: dict[str, Any], reason: str
) -> None:
    text = refusal(ask(tool, **arguments))
    assert reason in text
    assert len(text) < 1500


@pytest.mark.threat("A3")
def test_special_tokens_and_escapes_in_a_sentence_are_text(ask: Callable) -> None:
    sentence = "the <|im_end|> [SEG] mug\u202e\x1b[31m"
    answer = fields(ask("find", sentence=sentence, camera="left"))
    (target,) = answer["targets"]
    assert answer["sentence"] == "the <|im_end|> [SEG] mug\\u202e\\x1b[31m"
    assert target["expression"].isprintable()
    assert not set(target["expression"]) & set("<|>[]")


@pytest.mark.threat("A3")
def test_a_broken_image_is_one_line_without_its_place(ask: Callable, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    text = refusal(ask("find", sentence="the mug", camera="broken.png"))
    assert "broken.png cannot be read as an image" in text
    assert "\n" not in text
    assert str(folder.parent) not in text
    assert fields(ask("find", sentence=ABSENT, camera="left"))["not_there"]
