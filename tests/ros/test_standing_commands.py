# SPDX-License-Identifier: Apache-2.0
"""A command in force has decisions with memory; a single call has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace: make test")

from mllmseg_ros.msg import Segmentation, SegmentationArray
from mllmseg_ros.srv import Segment

from mllmseg_ros.ros.messages.image_msgs import image_from_array
from mllmseg_ros.sim.samples import load_sample

if TYPE_CHECKING:
    from ros_harness import Client

SAMPLE = load_sample(0)
COMMAND = "the red mug"
DEFAULTS = {"confirm_inferences": 2, "drop_threshold": -1.0, "threshold": -1.0, "tracking": True}


@pytest.fixture(autouse=True)
def defaults(client: Client) -> Iterator[None]:
    assert all(each.successful for each in client.set_parameters(max_age=10.0, **DEFAULTS))
    yield
    client.set_parameters(**DEFAULTS)


def ask(client: Client) -> SegmentationArray:
    """A single call with the sample."""
    service = client.node.create_client(Segment, "segment")
    assert service.wait_for_service(20.0)
    image = image_from_array(SAMPLE.rgb, "rgb8", client.header())
    reply = service.call_async(Segment.Request(expressions=[COMMAND], image=image))
    client.wait(reply.done)
    client.node.destroy_client(service)
    return reply.result().answer


def make_unsure(client: Client) -> float:
    """Set a threshold so that the model finds the target, but is not sure; returns its score."""
    score = ask(client).segmentations[0].score
    odds = score / (1 - score) / 8
    threshold = odds / (1 + odds)
    client.set_parameters(threshold=threshold)
    return float(score)


@pytest.mark.parametrize("tracking", [True, False])
def test_an_unsure_first_result_is_confirmed_on_a_still_image_too(
    client: Client, tracking: bool
) -> None:
    score = make_unsure(client)
    client.set_parameters(tracking=tracking)
    client.command(COMMAND)
    client.wait(
        lambda: any(each.status == SegmentationArray.STATUS_OK for each in client.to(COMMAND)),
        each=lambda: client.send_image(SAMPLE.rgb),
    )
    results = client.to(COMMAND)
    (first,), (last,) = results[0].segmentations, results[-1].segmentations
    assert (first.status, first.unconfirmed) == (Segmentation.STATUS_LOW_CONFIDENCE, True)
    assert first.doubt == f"not confirmed yet: score {score:.2f} in the first inference"
    assert first.doubt in results[0].text
    assert first.area_px > 0
    assert first.label == 0
    assert (last.status, last.unconfirmed, last.doubt) == (Segmentation.STATUS_FOUND, False, "")


def test_a_sure_first_result_is_not_delayed(client: Client) -> None:
    client.command(COMMAND)
    client.wait(lambda: client.to(COMMAND), each=lambda: client.send_image(SAMPLE.rgb))
    assert client.to(COMMAND)[0].status == SegmentationArray.STATUS_OK


@pytest.mark.parametrize("mode", ["on_demand", "one inference", "service"])
def test_the_result_of_a_single_inference_is_not_delayed(client: Client, mode: str) -> None:
    make_unsure(client)
    if mode == "service":
        result = ask(client)
    else:
        changed = {"mode": "on_demand"} if mode == "on_demand" else {"confirm_inferences": 1}
        client.set_parameters(**changed)
        client.command(COMMAND)
        client.wait(lambda: client.to(COMMAND), each=lambda: client.send_image(SAMPLE.rgb))
        client.set_parameters(mode="continuous")
        result = client.to(COMMAND)[0]
    assert result.status == SegmentationArray.STATUS_OK
    assert not result.segmentations[0].unconfirmed


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"confirm_inferences": 0}, "confirm_inferences"),
        ({"confirm_inferences": 21}, "confirm_inferences"),
        ({"drop_threshold": 1.5}, "drop_threshold"),
        (
            {"threshold": 0.3, "drop_threshold": 0.4},
            "drop_threshold is 0.4, accepted: up to threshold, 0.3",
        ),
    ],
)
def test_parameters_out_of_range_are_refused(
    client: Client, values: dict[str, float], reason: str
) -> None:
    refused = [each.reason for each in client.set_parameters(**values) if not each.successful]
    assert len(refused) == 1
    assert reason in refused[0]
