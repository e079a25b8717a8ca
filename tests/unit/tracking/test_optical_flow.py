# SPDX-License-Identifier: Apache-2.0
"""A mask follows its thing through moving pictures, and only as far as it can be followed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moving_pictures import Stage, Thing, iou
from numpy.typing import NDArray

from mllmseg_ros.tracking.optical_flow import Change, ImageFlow
from mllmseg_ros.tracking.region_tracker import PropagatedMask, SoftMask

RED, BLUE = (200.0, 60.0, 50.0), (50.0, 70.0, 190.0)


def soft(mask: NDArray[np.bool_]) -> SoftMask:
    return SoftMask(patch=mask.astype(np.float32), origin_uv=(0, 0))


def carried(flow: ImageFlow, key: int, mask: NDArray[np.bool_]) -> PropagatedMask:
    """A mask of a key image in the newest, as a late answer would be."""
    assert flow.follow(key, [soft(mask)])
    (one,) = flow.carried()
    return one


def test_a_mask_follows_its_thing_under_a_moving_camera() -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    image, (first,) = stage.picture([(100, 100)])
    flow.update(image)
    key = flow.mark()
    flow.follow(key, [soft(first)])
    for k in range(1, 31):
        image, (truth,) = stage.picture([(100 + 3.3 * k, 100 + 1.2 * k)], (-1.7 * k, 0.8 * k))
        assert flow.update(image) is Change.MOVED
    (live,) = flow.carried()
    assert flow.n_steps(key) == flow.n_flows == 30
    late = carried(flow, key, first)
    for each in (live, late):
        assert iou(each.probability >= 0.5, truth) > 0.95
        assert each.confidence > 0.9
    assert flow.shift_uv == pytest.approx((-1.7, 0.8), abs=0.2)


def test_blur_does_not_pile_up() -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    flow.update(stage.picture([(100, 100)])[0])
    _, (first,) = stage.picture([(100, 100)])
    key = flow.mark()
    for k in range(1, 41):
        flow.update(stage.picture([(100 + 20 * np.sin(k / 6), 100)])[0])
    probability = carried(flow, key, first).probability
    between = (probability > 0.1) & (probability < 0.9)
    assert between.sum() < 2.5 * 2 * np.pi * 30  # a rim of about two pixels, after forty steps


def test_an_unchanged_picture_costs_no_flow_and_slow_motion_adds_up() -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    rng = np.random.default_rng(0)
    image, _ = stage.picture([(100, 100)])
    flow.update(image)
    flow.mark()
    for _ in range(10):
        noise = rng.normal(0, 3, image.shape) + rng.normal(0, 2)  # the lamp flickers, too
        assert flow.update(np.clip(image + noise, 0, 255).astype(np.uint8)) is Change.NONE
    assert flow.n_flows == 0
    changes = [flow.update(stage.picture([(100 + 0.1 * k, 100)])[0]) for k in range(1, 31)]
    assert changes[0] is Change.NONE
    assert Change.MOVED in changes
    assert 0 < flow.n_flows < 30


def test_what_passes_in_front_takes_its_share_and_does_not_drag_the_mask_along() -> None:
    stage, flow = Stage([Thing(36, 1, RED), Thing(24, 2, BLUE)]), ImageFlow()
    image, (first, _) = stage.picture([(150, 120), (70, 120)])
    flow.update(image)
    key = flow.mark()
    for k in range(1, 18):
        image, (truth, front) = stage.picture([(150, 120), (70 + 3 * k, 120)])
        flow.update(image)
    mask = carried(flow, key, first).probability >= 0.5
    assert truth.sum() < 0.85 * first.sum()  # it is covered by now
    assert iou(mask, truth) > 0.85
    assert (mask & front).sum() < 0.15 * front.sum()


@pytest.mark.parametrize("size_hw", [(333, 500), (720, 1280)])
def test_any_size_comes_back_at_its_own(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    stage, flow = Stage([Thing(height // 8, 1, RED)], height, width), ImageFlow()
    image, (first,) = stage.picture([(width / 3, height / 2)])
    flow.update(image)
    key = flow.mark()
    for k in range(1, 8):
        image, (truth,) = stage.picture([(width / 3 + 5 * k, height / 2)], (k, -k))
        flow.update(image)
    probability = carried(flow, key, first).probability
    assert probability.shape == size_hw
    assert iou(probability >= 0.5, truth) > 0.9


def test_light_may_change_but_a_cut_ends_it() -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    image, (first,) = stage.picture([(100, 100)])
    flow.update(image)
    key = flow.mark()
    for k in range(1, 11):
        image, (truth,) = stage.picture([(100 + 2 * k, 100)])
        flow.update(np.clip(image * (1 - 0.03 * k), 0, 255).astype(np.uint8))
    found = carried(flow, key, first)
    assert iou(found.probability >= 0.5, truth) > 0.9
    assert found.confidence > 0.5
    assert flow.update(image[::-1].copy()) is Change.JUMPED
    assert flow.n_steps(key) is None
    assert not flow.follow(key, [soft(first)])


@pytest.mark.parametrize("what", ["blank", "size"])
def test_nothing_is_followed_into_a_blank_image_or_another_size(what: str) -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    image, _ = stage.picture([(100, 100)])
    flow.update(image)
    key = flow.mark()
    other = np.full_like(image, 90) if what == "blank" else cv2.resize(image, (200, 150))
    assert flow.update(other) is Change.JUMPED
    assert flow.n_steps(key) is None
    assert flow.carried() == []
    flow.mark()  # and it goes on from there
    flow.update(image if what == "blank" else cv2.resize(image, (200, 150)))


def test_what_leaves_the_picture_is_followed_to_its_border_and_back() -> None:
    stage, flow = Stage([Thing(30, 1, RED)]), ImageFlow()
    image, (first,) = stage.picture([(260, 100)])
    flow.update(image)
    flow.follow(flow.mark(), [soft(first)])
    for k in range(1, 31):
        image, (truth,) = stage.picture([(260 + 60 * np.sin(np.pi * k / 30), 100)])
        flow.update(image)
        (found,) = flow.carried()
        if k == 15:  # half of it is outside
            assert iou(found.probability >= 0.5, truth) > 0.85
            assert found.confidence > 0.7
    assert iou(found.probability >= 0.5, truth) > 0.9


def test_depth_tells_what_passes_in_front_where_colours_do_not() -> None:
    stage = Stage([Thing(36, 1, RED), Thing(24, 1, RED)])
    depths = []
    overlap = {}
    for with_depth in (False, True):
        flow = ImageFlow()
        for k in range(18):
            image, (thing, front) = stage.picture([(150, 120), (70 + 3 * k, 120)])
            depth = np.where(front, 0.6, np.where(thing, 0.8, 1.0)).astype(np.float32)
            depth[::9, ::7] = np.nan
            flow.update(image, depth if with_depth else None)
            if k == 0:
                flow.follow(flow.mark(), [soft(thing)])
        mask = flow.carried()[0].probability >= 0.5
        overlap[with_depth] = (mask & front).sum() / front.sum()
        depths.append(iou(mask, thing))
    assert overlap[True] < 0.1 < overlap[False]
    assert depths[1] > 0.9


def test_only_kept_keys_are_followed() -> None:
    stage, flow = Stage([]), ImageFlow()
    with pytest.raises(ValueError, match="no image"):
        flow.mark()
    flow.update(stage.picture([])[0])
    first, second = flow.mark(), flow.mark()
    flow.keep(second)
    assert flow.n_steps(first) is None
    assert flow.n_steps(second) == 0
    flow.update(stage.picture([], (3, 0))[0])
    assert flow.n_flows == 1
    flow.keep()
    flow.update(stage.picture([], (6, 0))[0])
    assert flow.n_flows == 1  # nobody needs it
