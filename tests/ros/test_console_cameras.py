# SPDX-License-Identifier: Apache-2.0
"""The web console with a segmenter that has two cameras."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")
pytest.importorskip("aiohttp", reason="needs aiohttp")

import cv2
from browser import PROGRAM, Browser
from ros_harness import Client, NodeProcess, new_domain
from sensor_msgs.msg import Image

from mllmseg_ros.ros.messages.image_msgs import image_from_array

FRAME = Path(__file__).resolve().parents[2] / "mllmseg_ros" / "assets" / "frames" / "frame_0.png"
IMAGES = {
    "front": cv2.cvtColor(cv2.imread(str(FRAME)), cv2.COLOR_BGR2RGB),
    "back": np.full((120, 160, 3), (20, 160, 60), np.uint8),  # a green wall
}
OPTIONS = "[...document.getElementById('camera').options].map((each) => each.value).join()"
CHOOSE = (
    "((list) => (list.value = '{}', list.dispatchEvent(new Event('change'))))"
    "(document.getElementById('camera'))"
)
SIZE = "[canvas.width, canvas.height].join('x')"
RESULT_TEXT = "document.getElementById('answer-text').textContent"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs chromium")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[Browser, Client]]:
    """The console in a browser, with a segmenter that gets images of two cameras."""
    domain = new_domain()
    segmenter = NodeProcess(
        domain, "--ros-args", "-p", "device:=cpu", "-p", "cameras:=[front, back]"
    )
    console = NodeProcess(domain, "--ros-args", "-p", "port:=0", executable="console")
    client = Client(domain)
    publishers = {name: client.node.create_publisher(Image, f"{name}/image", 1) for name in IMAGES}
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.2):
            for name, publisher in publishers.items():
                publisher.publish(image_from_array(IMAGES[name], "rgb8", client.header()))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        console.wait_for("console at")
        segmenter.wait_for("listening on")
        with Browser(tmp_path / "profile") as browser:
            browser.open(console.log.split("console at ")[1].split()[0])
            yield browser, client
            assert browser.complaints == []
    finally:
        ended.set()
        sending.join()
        client.close()
        statuses = [process.end() for process in (console, segmenter)]
    assert statuses == [0, 0], console.log + segmenter.log


def test_each_camera_has_its_image_and_its_result(page: tuple[Browser, Client]) -> None:
    browser, client = page
    browser.wait(f"{OPTIONS} === 'front,back'")
    assert not browser.run("document.getElementById('camera-choice').hidden")
    browser.wait(f"{SIZE} === '640x480'")
    browser.run("document.getElementById('command').focus()")
    browser.type("the red mug")
    browser.wait(f"{RESULT_TEXT}.includes('1 of 1 found')")
    listening = dict(client.node.get_subscriber_names_and_types_by_node("console", "/"))
    assert "/front/segmentations" in listening
    assert "/back/segmentations" not in listening  # no page shows it

    browser.run(CHOOSE.format("back"))
    browser.wait(f"{SIZE} === '160x120'")
    browser.wait(f"{RESULT_TEXT}.includes('0 of 1 found')")
    browser.run(CHOOSE.format("front"))
    browser.wait(f"{RESULT_TEXT}.includes('1 of 1 found')")
