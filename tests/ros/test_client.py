# SPDX-License-Identifier: Apache-2.0
"""``mllmseg_ros.client``, ``mllmseg ask`` and examples/listen.py against a running node."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs the built workspace: make test")

from ament_index_python.packages import get_package_share_directory
from geometry_msgs.msg import Point
from mllmseg_ros.msg import Segmentation, SegmentationArray
from ros_harness import Client, NodeProcess, new_domain

from mllmseg_ros.cli import main
from mllmseg_ros.client import Client as NodeClient
from mllmseg_ros.client import describe
from mllmseg_ros.sim.samples import load_sample

RGB = load_sample(0).rgb
FOUND = "target: the red mug  FOUND  score 1.00  box 480 291 640 441"


@pytest.fixture
def camera(client: Client, node: NodeProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Images that come while a test waits for results."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(node.domain))
    stopping = threading.Event()

    def send() -> None:
        while not stopping.wait(0.1):
            client.send_image(RGB)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    stopping.set()
    thread.join()


@pytest.mark.usefixtures("camera")
def test_one_result_does_not_touch_the_command_in_force(client: Client) -> None:
    client.command("the bowl")
    client.wait(lambda: client.to("the bowl"))
    with NodeClient() as asking:
        result = asking.segment("please give me the red mug")
        assert describe(result)[1] == FOUND.replace("target", "pick")
        assert describe(asking.segment("the banana"))[0] == "NO_TARGET: 0 of 1 found"
    n = len(client.to("the bowl"))
    client.wait(lambda: len(client.to("the bowl")) > n)


@pytest.mark.usefixtures("camera")
def test_a_command_is_watched_until_it_is_replaced_or_ended(client: Client) -> None:
    with NodeClient() as watching:
        results = watching.watch("the red mug")
        assert {next(results).status for _ in range(3)} == {SegmentationArray.STATUS_OK}
        client.command("the bowl")
        client.wait(lambda: client.to("the bowl"))
        assert all(each.command == "the red mug" for each in results)  # it ends
        client.wait(lambda: client.to("the bowl")[-1].status == SegmentationArray.STATUS_OK)
        results = watching.watch("the red mug")
        next(results)
        results.close()
        client.wait(lambda: client.results[-1].status == SegmentationArray.STATUS_STOPPED)
        with pytest.raises(ValueError, match="expression"):
            next(watching.watch("x" * 2000))


@pytest.mark.usefixtures("camera")
def test_ask_prints_status_box_and_metres(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "the red mug", "-e", "banana"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("PARTIAL: 1 of 2 found")
    assert lines[1] == f"  {FOUND}"
    assert lines[2].startswith("  target: banana  NO_TARGET  score 0.")


def test_ask_without_a_result_fails_and_says_why(
    client: Client,
    node: NodeProcess,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(node.domain))
    client.let_images_grow_old()
    assert main(["ask", "the red mug"]) == 1
    assert "mllmseg: STALE_INPUT: " in capsys.readouterr().err
    assert main(["ask", "x" * 2000]) == 1
    assert "mllmseg: ERROR: " in capsys.readouterr().err


@pytest.mark.usefixtures("camera")
def test_ask_watches_until_ctrl_c(client: Client, node: NodeProcess) -> None:
    asking = NodeProcess(node.domain, "ask", "the red mug", "--watch", executable="mllmseg")
    listening = NodeProcess(
        node.domain,
        script=str(Path(get_package_share_directory("mllmseg_ros")) / "examples" / "listen.py"),
    )
    for process, line in (
        (asking, f"OK: 1 of 1 found\n  {FOUND}"),
        (listening, "'the red mug': 1 of 1 found\n  the red mug "),
    ):
        wait(client, lambda process=process, line=line: line in process.log)  # type: ignore[misc]
    assert asking.end(signal.SIGINT) == 130
    client.wait(lambda: client.results[-1].status == SegmentationArray.STATUS_STOPPED)
    wait(client, lambda: "stopped on command" in listening.log)
    assert listening.end(signal.SIGINT) in (0, -signal.SIGINT)
    assert "Traceback" not in asking.log + listening.log


def wait(client: Client, condition: Callable[[], bool]) -> None:
    client.wait(condition, 60.0)


def test_without_a_node_ask_says_what_to_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(new_domain()))
    assert main(["ask", "the red mug", "--timeout", "0.2"]) == 1
    problem = capsys.readouterr().err
    assert "no node offers the service /segment (waited 0.2 s, ROS_DOMAIN_ID is " in problem
    assert main(["ask", "it", "--timeout", "0.2", "--ros-args", "-r", "__ns:=/robot"]) == 1
    assert "the service /robot/segment" in capsys.readouterr().err
    assert main(["ask"]) == 1
    assert "nothing is asked for" in capsys.readouterr().err


def test_a_position_is_told_in_metres() -> None:
    entry = Segmentation(
        status=Segmentation.STATUS_LOW_CONFIDENCE,
        expression="it",
        score=float("nan"),
        has_position=True,
        frame_id="base_link",
        position=Point(x=0.2431, y=-0.1, z=1.0),
    )
    result = SegmentationArray(status=SegmentationArray.STATUS_LOW_CONFIDENCE, text="none")
    result.segmentations = [entry]
    assert describe(result) == [
        "LOW_CONFIDENCE: none",
        "target: it  LOW_CONFIDENCE  at (0.243, -0.100, 1.000) m in base_link",
    ]
