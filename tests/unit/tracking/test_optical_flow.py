# SPDX-License-Identifier: Apache-2.0
"""A mask follows its thing through moving images, and only as far as it can be followed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moving_images import Stage, Thing, iou
from numpy.typing import NDArray

from mllmseg_ros.tracking.optical_flow import ImageChange, MaskPropagator
from mllmseg_ros.tracking.region_tracker import PropagatedMask, SoftMask

RED, BLUE = (200.0, 60.0, 50.0), (50.0, 70.0, 190.0)


def soft(mask: NDArray[np.bool_]) -> SoftMask:
    return SoftMask(patch=mask.astype(np.float32), origin_uv=(0, 0))


def propagate_late(propagator: MaskPropagator, key: int, mask: NDArray[np.bool_]) -> PropagatedMask:
    """A mask of a key image in the newest, as a late result would be."""
    assert propagator.track(key, [soft(mask)])
    (one,) = propagator.propagate()
    return one


def test_a_mask_follows_its_thing_under_a_moving_camera() -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    image, (first,) = stage.render([(100, 100)])
    propagator.update(image)
    key = propagator.set_key_image()
    propagator.track(key, [soft(first)])
    for k in range(1, 31):
        image, (truth,) = stage.render([(100 + 3.3 * k, 100 + 1.2 * k)], (-1.7 * k, 0.8 * k))
        assert propagator.update(image) is ImageChange.MOTION
    (live,) = propagator.propagate()
    assert propagator.n_steps(key) == propagator.n_flows == 30
    late = propagate_late(propagator, key, first)
    for each in (live, late):
        assert iou(each.probability >= 0.5, truth) > 0.95
        assert each.confidence > 0.9
    assert propagator.shift_uv == pytest.approx((-1.7, 0.8), abs=0.2)


def test_blur_does_not_pile_up() -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    propagator.update(stage.render([(100, 100)])[0])
    _, (first,) = stage.render([(100, 100)])
    key = propagator.set_key_image()
    for k in range(1, 41):
        propagator.update(stage.render([(100 + 20 * np.sin(k / 6), 100)])[0])
    probability = propagate_late(propagator, key, first).probability
    between = (probability > 0.1) & (probability < 0.9)
    assert between.sum() < 2.5 * 2 * np.pi * 30  # a rim of about two pixels, after forty steps


def test_an_unchanged_scene_costs_no_flow_and_slow_motion_adds_up() -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    rng = np.random.default_rng(0)
    image, _ = stage.render([(100, 100)])
    propagator.update(image)
    propagator.set_key_image()
    for _ in range(10):
        noise = rng.normal(0, 3, image.shape) + rng.normal(0, 2)  # the lamp flickers, too
        assert (
            propagator.update(np.clip(image + noise, 0, 255).astype(np.uint8)) is ImageChange.NONE
        )
    assert propagator.n_flows == 0
    changes = [propagator.update(stage.render([(100 + 0.1 * k, 100)])[0]) for k in range(1, 31)]
    assert changes[0] is ImageChange.NONE
    assert ImageChange.MOTION in changes
    assert 0 < propagator.n_flows < 30


def test_what_passes_in_front_takes_its_share_and_does_not_drag_the_mask_along() -> None:
    stage, propagator = Stage([Thing(36, 1, RED), Thing(24, 2, BLUE)]), MaskPropagator()
    image, (first, _) = stage.render([(150, 120), (70, 120)])
    propagator.update(image)
    key = propagator.set_key_image()
    for k in range(1, 18):
        image, (truth, front) = stage.render([(150, 120), (70 + 3 * k, 120)])
        propagator.update(image)
    mask = propagate_late(propagator, key, first).probability >= 0.5
    assert truth.sum() < 0.85 * first.sum()  # it is covered by now
    assert iou(mask, truth) > 0.85
    assert (mask & front).sum() < 0.15 * front.sum()


@pytest.mark.parametrize("size_hw", [(333, 500), (720, 1280)])
def test_any_size_comes_back_at_its_own(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    stage, propagator = Stage([Thing(height // 8, 1, RED)], height, width), MaskPropagator()
    image, (first,) = stage.render([(width / 3, height / 2)])
    propagator.update(image)
    key = propagator.set_key_image()
    for k in range(1, 8):
        image, (truth,) = stage.render([(width / 3 + 5 * k, height / 2)], (k, -k))
        propagator.update(image)
    probability = propagate_late(propagator, key, first).probability
    assert probability.shape == size_hw
    assert iou(probability >= 0.5, truth) > 0.9


def test_light_may_change_but_a_cut_ends_it() -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    image, (first,) = stage.render([(100, 100)])
    propagator.update(image)
    key = propagator.set_key_image()
    for k in range(1, 11):
        image, (truth,) = stage.render([(100 + 2 * k, 100)])
        propagator.update(np.clip(image * (1 - 0.03 * k), 0, 255).astype(np.uint8))
    found = propagate_late(propagator, key, first)
    assert iou(found.probability >= 0.5, truth) > 0.9
    assert found.confidence > 0.5
    assert propagator.update(image[::-1].copy()) is ImageChange.CUT
    assert propagator.n_steps(key) is None
    assert not propagator.track(key, [soft(first)])


@pytest.mark.parametrize("what", ["blank", "size"])
def test_nothing_is_followed_into_a_blank_image_or_another_size(what: str) -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    image, _ = stage.render([(100, 100)])
    propagator.update(image)
    key = propagator.set_key_image()
    other = np.full_like(image, 90) if what == "blank" else cv2.resize(image, (200, 150))
    assert propagator.update(other) is ImageChange.CUT
    assert propagator.n_steps(key) is None
    assert propagator.propagate() == []
    propagator.set_key_image()  # and it goes on from there
    propagator.update(image if what == "blank" else cv2.resize(image, (200, 150)))


def test_what_leaves_the_image_is_followed_to_its_border_and_back() -> None:
    stage, propagator = Stage([Thing(30, 1, RED)]), MaskPropagator()
    image, (first,) = stage.render([(260, 100)])
    propagator.update(image)
    propagator.track(propagator.set_key_image(), [soft(first)])
    for k in range(1, 31):
        image, (truth,) = stage.render([(260 + 60 * np.sin(np.pi * k / 30), 100)])
        propagator.update(image)
        (found,) = propagator.propagate()
        if k == 15:  # half of it is outside
            assert iou(found.probability >= 0.5, truth) > 0.85
            assert found.confidence > 0.7
    assert iou(found.probability >= 0.5, truth) > 0.9


def test_depth_tells_what_passes_in_front_where_colours_do_not() -> None:
    stage = Stage([Thing(36, 1, RED), Thing(24, 1, RED)])
    depths = []
    overlap = {}
    for with_depth in (False, True):
        propagator = MaskPropagator()
        for k in range(18):
            image, (thing, front) = stage.render([(150, 120), (70 + 3 * k, 120)])
            depth = np.where(front, 0.6, np.where(thing, 0.8, 1.0)).astype(np.float32)
            depth[::9, ::7] = np.nan
            propagator.update(image, depth if with_depth else None)
            if k == 0:
                propagator.track(propagator.set_key_image(), [soft(thing)])
        mask = propagator.propagate()[0].probability >= 0.5
        overlap[with_depth] = (mask & front).sum() / front.sum()
        depths.append(iou(mask, thing))
    assert overlap[True] < 0.1 < overlap[False]
    assert depths[1] > 0.9


def test_only_kept_keys_are_followed() -> None:
    stage, propagator = Stage([]), MaskPropagator()
    with pytest.raises(ValueError, match="no image"):
        propagator.set_key_image()
    propagator.update(stage.render([])[0])
    first, second = propagator.set_key_image(), propagator.set_key_image()
    propagator.keep_key_images(second)
    assert propagator.n_steps(first) is None
    assert propagator.n_steps(second) == 0
    propagator.update(stage.render([], (3, 0))[0])
    assert propagator.n_flows == 1
    propagator.keep_key_images()
    propagator.update(stage.render([], (6, 0))[0])
    assert propagator.n_flows == 1  # nobody needs it
