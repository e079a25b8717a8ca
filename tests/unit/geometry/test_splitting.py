# SPDX-License-Identifier: Apache-2.0
"""Things that touch are several instances; parts of one thing are not."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.geometry.splitting import Splitting, split_mask
from mllmseg_ros.geometry.touching import Surface

SIZE_HW = 120, 160
FOCAL_PX = 150.0


def disc(u: int, v: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return (columns - u) ** 2 + (rows - v) ** 2 <= radius**2


def table(turns: int = 0) -> np.ndarray:
    """Depth of a table that recedes upwards; by quarter turns of the camera, to the right first."""
    inverse = np.linspace(1 / 1.2, 1 / 0.6, SIZE_HW[0])[:, None].repeat(SIZE_HW[1], axis=1)
    if turns % 2:
        inverse = np.linspace(1 / 1.2, 1 / 0.6, SIZE_HW[1])[None].repeat(SIZE_HW[0], axis=0)
    if turns in (1, 2):
        inverse = inverse[::-1, ::-1]
    return (1 / inverse).astype(np.float32)


def with_depth(depth: np.ndarray, *layers: tuple[np.ndarray, float]) -> np.ndarray:
    depth = depth.copy()
    for mask, z in layers:
        depth[mask] = z
    noise = np.random.default_rng(0).normal(0, 0.002, depth.shape)
    return (depth + noise).astype(np.float32)


SIDE_BY_SIDE = disc(50, 60, 22), disc(92, 60, 21)
STACKED = disc(80, 38, 21), disc(80, 80, 22)


def check_covers(parts: list[np.ndarray], truths: tuple[np.ndarray, ...]) -> None:
    assert len(parts) == len(truths)
    for truth in truths:
        assert max((p & truth).sum() / (p | truth).sum() for p in parts) > 0.9


@pytest.mark.parametrize("with_table", [False, True])
def test_things_that_touch_side_by_side_are_several(with_table: bool) -> None:
    mask = np.any(SIDE_BY_SIDE, axis=0)
    depth = with_depth(table(), (mask, 0.8)) if with_table else None
    parts = split_mask(mask, depth, FOCAL_PX)
    check_covers(parts, SIDE_BY_SIDE)
    np.testing.assert_array_equal(np.any(parts, axis=0), mask)


def test_three_in_a_row_are_three() -> None:
    three = disc(30, 62, 19), disc(66, 60, 20), disc(103, 58, 19)
    check_covers(split_mask(np.any(three, axis=0)), three)


@pytest.mark.parametrize("with_table", [False, True])
def test_parts_on_top_of_each_other_are_one_thing(with_table: bool) -> None:
    mask = np.any(STACKED, axis=0)
    depth = with_depth(table(), (mask, 0.8)) if with_table else None
    assert len(split_mask(mask, depth, FOCAL_PX)) == 1


@pytest.mark.parametrize("turns", [1, 3])
def test_a_camera_on_its_side_sees_where_the_table_recedes(turns: int) -> None:
    stacked, beside = np.any(SIDE_BY_SIDE, axis=0), np.any(STACKED, axis=0)
    assert len(split_mask(stacked, with_depth(table(turns), (stacked, 0.8)), FOCAL_PX)) == 1
    check_covers(split_mask(beside, with_depth(table(turns), (beside, 0.8)), FOCAL_PX), STACKED)


def test_from_straight_above_things_lie_in_any_direction() -> None:
    mask = np.any(STACKED, axis=0)
    depth = with_depth(np.full(SIZE_HW, 0.9, np.float32), (mask, 0.85))
    check_covers(split_mask(mask, depth, FOCAL_PX), STACKED)


def test_a_spout_is_no_thing() -> None:
    pot, spout = disc(60, 60, 30), disc(94, 55, 8)
    assert len(split_mask(pot | spout)) == 1


def test_what_stands_in_front_makes_no_neck() -> None:
    plate, post = disc(80, 50, 40), np.zeros(SIZE_HW, np.bool_)
    post[25:, 70:90] = True
    mask = plate & ~post
    assert len(split_mask(mask, with_depth(table(), (plate, 0.8), (post, 0.7)), FOCAL_PX)) == 1
    assert len(split_mask(mask)) == 2  # without depth it looks like two


def test_a_jump_within_one_thing_does_not_split_it() -> None:
    body = disc(80, 60, 35)
    arm = disc(80, 40, 13)  # in front, above the middle
    depth = with_depth(table(), (body, 0.9), (arm, 0.7))
    assert len(split_mask(body, depth, FOCAL_PX)) == 1
    # In front and below, at a distance of its own size: another thing.
    front = disc(80, 84, 20)
    depth = with_depth(table(), (body, 0.9), (front, 0.75))
    check_covers(split_mask(body | front, depth, FOCAL_PX), (body & ~front, front))


def test_splitting_can_be_turned_off_and_limited() -> None:
    mask = np.any((*SIDE_BY_SIDE, disc(140, 20, 10)), axis=0)
    assert len(split_mask(mask)) == 3
    apart = split_mask(mask, splitting=Splitting(touching=False))
    assert [int(part.sum()) for part in apart] == [
        int((SIDE_BY_SIDE[0] | SIDE_BY_SIDE[1]).sum()),
        int(disc(140, 20, 10).sum()),
    ]
    limited = split_mask(mask, splitting=Splitting(max_instances=2))
    check_covers(limited, SIDE_BY_SIDE)


def test_large_masks_are_cut_at_every_pixel() -> None:
    large = [truth.repeat(6, axis=0).repeat(6, axis=1) for truth in SIDE_BY_SIDE]
    parts = split_mask(large[0] | large[1])
    assert len(parts) == 2
    assert not (parts[0] & parts[1]).any()
    np.testing.assert_array_equal(parts[0] | parts[1], large[0] | large[1])


def test_the_surface_recedes_whatever_stands_on_it() -> None:
    for turns, expected in enumerate([(0, -1), (1, 0), (0, 1), (-1, 0)]):
        depth = with_depth(table(turns), (disc(60, 60, 25), 0.5), (disc(110, 40, 15), 0.7))
        depth[::5, ::3] = np.nan
        up = Surface(depth).up
        assert up is not None
        assert np.dot(up, expected) > 0.9, turns
    assert Surface(np.full(SIZE_HW, 0.8, np.float32)).up is None
    assert Surface(np.full(SIZE_HW, np.nan, np.float32)).up is None
