# SPDX-License-Identifier: Apache-2.0
"""One mask, several instances: split where they are apart, joined where one is behind another."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mllmseg_ros.geometry.instances import (
    Depth,
    InstanceSet,
    limit_instances,
    locate_instances,
    split_into_instances,
    split_mask,
)
from mllmseg_ros.geometry.localization import Intrinsics
from mllmseg_ros.segmentation import Segmentation, Status, build_segmentation


def disc(u: int, v: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    return (columns - u) ** 2 + (rows - v) ** 2 <= radius**2


def at(*layers: tuple[np.ndarray, float], table: float = 1.0) -> np.ndarray:
    depth = np.full((120, 160), table, np.float32)
    for mask, z in layers:
        depth[mask] = z
    return depth


def areas(parts: list[np.ndarray]) -> list[int]:
    return [int(part.sum()) for part in parts]


def test_parts_that_are_apart_are_instances_the_largest_first() -> None:
    big, small = disc(40, 60, 20), disc(110, 60, 12)
    parts = split_mask(big | small)
    assert areas(parts) == [big.sum(), small.sum()]
    np.testing.assert_array_equal(parts[0], big)


def test_specks_are_not_instances_but_a_small_mask_is() -> None:
    thing, speck = disc(40, 60, 20), disc(120, 100, 1)
    assert areas(split_mask(thing | speck)) == [thing.sum()]
    assert areas(split_mask(speck)) == [speck.sum()]
    assert split_mask(np.zeros((120, 160), np.bool_)) == []


def test_holes_stay_holes() -> None:
    ring = disc(60, 60, 30) & ~disc(60, 60, 15)
    (part,) = split_mask(ring, at((ring, 0.8)))
    np.testing.assert_array_equal(part, ring)


def test_parts_that_touch_are_split_by_depth() -> None:
    front = disc(50, 60, 25)
    behind = disc(85, 60, 25) & ~front
    noise = np.random.default_rng(0).normal(0, 0.002, (120, 160)).astype(np.float32)
    depth = at((behind, 0.9), (front, 0.7)) + noise
    depth[::7, ::5] = np.nan
    parts = split_mask(front | behind, depth)
    assert len(parts) == 2
    for part, truth in zip(parts, (front, behind), strict=True):
        assert (part & truth).sum() / (part | truth).sum() > 0.95
    assert (parts[0] | parts[1]).sum() == (front | behind).sum()
    assert len(split_mask(front | behind)) == 1  # without depth nobody can know


def test_large_things_that_touch_are_split_as_small_ones() -> None:
    """Sought on every n-th pixel, and labelled to the last."""
    front = disc(50, 60, 25)
    behind = disc(85, 60, 25) & ~front
    small = np.stack([front, behind])
    front, behind = small.repeat(8, axis=1).repeat(8, axis=2)  # 680 x 400 px
    noise = np.random.default_rng(0).normal(0, 0.002, front.shape).astype(np.float32)
    depth = np.where(front, 0.7, np.where(behind, 0.9, 1.0)).astype(np.float32) + noise
    thread = np.zeros_like(front)
    thread[100:300, 409] = True  # of the mask, on a column that is not looked at
    mask = front | behind | thread
    parts = split_mask(mask, depth)
    assert len(parts) == 2
    for part, truth in zip(parts, (front, behind), strict=True):
        assert (part & truth).sum() / (part | truth).sum() > 0.95
    assert not (parts[0] & parts[1]).any()
    np.testing.assert_array_equal(parts[0] | parts[1], mask)


def test_a_slanted_thing_is_one() -> None:
    plank = np.zeros((120, 160), np.bool_)
    plank[20:100, 40:120] = True
    depth = np.linspace(0.6, 1.0, 120, dtype=np.float32)[:, None].repeat(160, axis=1)
    assert len(split_mask(plank, depth)) == 1


def test_one_thing_behind_a_post_is_one() -> None:
    plate = disc(80, 60, 40)
    post = np.zeros((120, 160), np.bool_)
    post[:, 74:86] = True
    mask = plate & ~post
    assert len(split_mask(mask, at((plate, 0.9), (post, 0.7)))) == 1
    # With nothing in front, or at two depths, they are two.
    assert len(split_mask(mask, at((mask, 0.9)))) == 2
    left = mask & (np.arange(160) < 80)
    assert len(split_mask(mask, at((plate, 0.9), (left, 0.8), (post, 0.7)))) == 2


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"depth image is \(60, 80\), the mask \(120, 160\)"):
        split_mask(disc(40, 40, 9), np.zeros((60, 80), np.float32))


def test_no_depth_anywhere_changes_nothing() -> None:
    two = disc(40, 60, 20) | disc(110, 60, 12)
    nothing = np.full(two.shape, np.nan, np.float32)
    assert areas(split_mask(two, nothing)) == areas(split_mask(two))
    assert cv2.connectedComponents(two.astype(np.uint8))[0] == 3


def segment(mask: np.ndarray, status: Status = Status.FOUND) -> Segmentation:
    probability = np.where(mask, 0.9, 0.1).astype(np.float32)
    return build_segmentation("the things", status, 0.8, 0.9, probability, mask)


def test_every_answer_gives_its_instances_in_order_with_places_of_their_own() -> None:
    near, far = disc(40, 60, 20), disc(110, 60, 14)
    depth = at((near, 0.6), (far, 0.8))
    intrinsics = Intrinsics(K=np.array([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]]), D=np.zeros(5))
    segmentations = [
        segment(np.zeros_like(near), Status.NO_TARGET),
        segment(near | far),
        segment(near | far, Status.LOW_CONFIDENCE),
    ]
    found = locate_instances(segmentations, Depth(metres=depth, intrinsics=intrinsics))
    places = [(each.expression_index, each.instance_index) for each in found]
    assert places == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert found[0].segmentation is segmentations[0]
    assert found[3].segmentation is segmentations[2]  # a low confidence is not split
    assert [each.position is not None for each in found] == [False, True, True, False]
    first, second = found[1], found[2]
    assert first.position is not None
    assert second.position is not None
    assert first.position.mean[2] == pytest.approx(0.6)
    assert second.position.mean[2] == pytest.approx(0.8)
    assert second.segmentation.box_xyxy == (96, 46, 125, 75)
    assert second.segmentation.mask_score == pytest.approx(0.9)
    assert [each.position for each in locate_instances(segmentations)] == [None] * 4


def test_as_many_are_kept_as_are_asked_for() -> None:
    parts = [disc(30, 60, 20), disc(80, 60, 14), disc(130, 60, 10)]
    probability = sum(
        np.where(part, value, 0.0) for part, value in zip(parts, (0.8, 0.95, 0.9), strict=True)
    ).astype(np.float32)
    mask = probability > 0
    three = build_segmentation("mugs", Status.FOUND, 0.9, 0.9, probability, mask)
    doubtful = segment(mask, Status.LOW_CONFIDENCE)
    whole = InstanceSet(instances=locate_instances([three, doubtful, three]))

    def kept(counts: list[int | None]) -> list[tuple[int, int, int]]:
        limited = limit_instances(whole, counts)
        return [
            (each.expression_index, each.instance_index, each.segmentation.box_xyxy[0])
            for each in limited.instances
            if each.segmentation.box_xyxy
        ]

    everything = [(0, 0, 10), (0, 1, 66), (0, 2, 120), (1, 0, 10)]
    assert kept([None, None, 2]) == [*everything, (2, 0, 66), (2, 1, 120)]  # the best two
    assert kept([1, 1, 5])[:2] == [(0, 0, 66), (1, 0, 10)]
    assert len(kept([1, 1, 5])) == 5


def test_one_thing_is_the_segmentation_itself() -> None:
    whole = segment(disc(40, 60, 20))
    (instance,) = split_into_instances([whole])
    assert instance.segmentation is whole
    specked = segment(disc(40, 60, 20) | disc(120, 100, 1))
    (instance,) = split_into_instances([specked])
    np.testing.assert_array_equal(instance.segmentation.mask, whole.mask)
    assert instance.segmentation.box_xyxy == whole.box_xyxy


def test_a_small_part_that_is_unsure_has_only_spilt_over() -> None:
    thing, spot = disc(40, 60, 20), disc(110, 60, 7)
    probability = np.where(thing, 0.95, 0.1).astype(np.float32)
    for sureness, n in ((0.6, 1), (0.9, 2)):
        probability[spot] = sureness
        both = build_segmentation("the thing", Status.FOUND, 0.9, 0.9, probability, thing | spot)
        assert len(locate_instances([both])) == n


def test_the_parts_keep_all_that_is_known_of_the_whole() -> None:
    both = segment(disc(40, 60, 20) | disc(120, 60, 20))
    whole = replace(both, doubt="a reason", unconfirmed=True)
    parts = [each.segmentation for each in split_into_instances([whole])]
    assert len(parts) == 2
    assert [(each.doubt, each.unconfirmed) for each in parts] == [("a reason", True)] * 2
