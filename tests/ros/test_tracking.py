# SPDX-License-Identifier: Apache-2.0
"""Masks that follow the image between two inferences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.msg import Segmentation, SegmentationArray

from mllmseg_ros.ros.messages.image_msgs import nanoseconds
from mllmseg_ros.ros.messages.segmentation_msgs import segmentation_from_message
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from ros_harness import Client

SAMPLE = load_sample(0)
COMMAND, TARGET = "the red mug", 2  # and its instance id in the sample
ONE_INFERENCE = {
    "decide_by": "auto",
    "threshold": -1.0,
    "tracking": True,
    "key_frame_age": 1000.0,
    "max_age": 10.0,
}


@pytest.fixture(autouse=True)
def one_inference(client: Client) -> None:
    assert all(result.successful for result in client.set_parameters(**ONE_INFERENCE))


class PanningCamera:
    """Publishes the sample, shifted by two more pixels each time."""

    def __init__(self, client: Client) -> None:
        self.client, self.shift_px = client, 0
        self.shifts: dict[int, int] = {}

    def send(self) -> None:
        self.shift_px += 2
        header = self.client.send_image(np.roll(SAMPLE.rgb, -self.shift_px, axis=1))
        self.shifts[nanoseconds(header.stamp)] = self.shift_px

    def iou(self, result: SegmentationArray) -> float:
        shift_px = self.shifts[nanoseconds(result.header.stamp)]
        truth = np.roll(SAMPLE.instances == TARGET, -shift_px, axis=1)
        size_hw = (result.image_height, result.image_width)
        mask = segmentation_from_message(result.segmentations[0], size_hw).mask
        return float((mask & truth).sum() / (mask | truth).sum())


def test_one_inference_gives_a_result_for_every_image(client: Client) -> None:
    camera = PanningCamera(client)
    client.spin(0.5, each=camera.send)  # so that the node's newest image is one of these
    client.command(COMMAND)
    client.wait(lambda: len(client.to(COMMAND)) >= 20, timeout_s=40.0, each=camera.send)
    results = client.to(COMMAND)
    first, last = results[0], results[-1]
    assert len(results) >= 0.7 * (
        camera.shift_px // 2 - 5
    )  # images before the first result do not count
    (track_id,) = {result.segmentations[0].track_id for result in results}
    assert track_id
    assert all(result.segmentations[0].status == Segmentation.STATUS_FOUND for result in results)
    assert last.segmentations[0].propagated
    inferred_ns = {
        nanoseconds(result.header.stamp) - nanoseconds(result.segmentations[0].inference_age)
        for result in results
    }
    assert len(inferred_ns) == 1
    assert inferred_ns <= set(camera.shifts)
    assert camera.iou(last) > camera.iou(first) - 0.1
    assert camera.iou(last) > 0.7


def test_of_two_results_on_one_image_the_later_is_of_a_newer_inference(client: Client) -> None:
    client.set_parameters(key_frame_age=0.0)
    camera = PanningCamera(client)
    client.command(COMMAND)
    ages_ns: dict[int, list[int]] = {}

    def is_repeated() -> bool:
        ages_ns.clear()
        for result in client.to(COMMAND):
            age_ns = nanoseconds(result.segmentations[0].inference_age)
            ages_ns.setdefault(nanoseconds(result.header.stamp), []).append(age_ns)
        return sum(len(ages) > 1 for ages in ages_ns.values()) >= 3

    client.wait(is_repeated, timeout_s=40.0, each=camera.send, every_s=0.05)
    for ages in ages_ns.values():
        assert sorted(set(ages), reverse=True) == ages


def test_a_change_of_the_decision_triggers_an_inference(client: Client) -> None:
    """A still image gets one inference, until a parameter changes the decision."""
    client.command(COMMAND)
    client.wait(lambda: len(client.to(COMMAND)) > 3, each=lambda: client.send_image(SAMPLE.rgb))
    assert client.to(COMMAND)[-1].status == SegmentationArray.STATUS_OK
    client.set_parameters(decide_by="score", threshold=1.0)
    client.wait(
        lambda: client.to(COMMAND)[-1].status == SegmentationArray.STATUS_NO_TARGET,
        each=lambda: client.send_image(SAMPLE.rgb),
    )


def test_a_cut_triggers_an_inference_at_once(client: Client) -> None:
    client.command(COMMAND)
    client.wait(lambda: len(client.to(COMMAND)) > 2, each=lambda: client.send_image(SAMPLE.rgb))
    mirrored = np.ascontiguousarray(SAMPLE.rgb[::-1])
    sent = nanoseconds(client.send_image(mirrored).stamp)

    def is_inferred() -> bool:
        result = client.to(COMMAND)[-1]
        age_ns = nanoseconds(result.segmentations[0].inference_age)
        return nanoseconds(result.header.stamp) - age_ns >= sent

    client.wait(is_inferred, each=lambda: client.send_image(mirrored))


def test_without_tracking_a_result_is_on_the_image_of_the_inference(client: Client) -> None:
    client.set_parameters(tracking=False)
    camera = PanningCamera(client)
    client.command(COMMAND)
    client.wait(lambda: len(client.to(COMMAND)) >= 5, each=camera.send)
    for result in client.to(COMMAND):
        for entry in result.segmentations:
            assert (entry.track_id, entry.propagated) == ("", False)
            assert nanoseconds(entry.inference_age) == 0


def test_images_that_cannot_be_tracked_still_get_results(client: Client) -> None:
    """Like a slow camera on a fast robot: nothing can be tracked from one image to the next."""
    rng = np.random.default_rng(0)
    client.set_parameters(key_frame_age=0.0)

    def send() -> None:
        client.send_image(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))

    def inferred_ns() -> set[int]:
        return {
            nanoseconds(result.header.stamp) - nanoseconds(result.segmentations[0].inference_age)
            for result in client.to(COMMAND)
        }

    client.command(COMMAND)
    client.wait(lambda: len(inferred_ns()) >= 3, each=send, every_s=0.03)
