# SPDX-License-Identifier: Apache-2.0
"""Run lengths there and back, and codes that do not fill their image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs pycocotools (requirements/train.txt)")

from mllmseg_ros.data.region import Coco, decode, encode


@pytest.mark.parametrize("seed", range(20))
def test_any_mask_survives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 70, 2))
    mask = rng.random((height, width)) < rng.random()
    if seed % 3 == 0:
        mask[: height // 2] = seed % 2 == 0  # long runs
    run = encode(mask)
    assert isinstance(run["counts"], str)
    np.testing.assert_array_equal(decode(Coco(runs=(run,)), (height, width)), mask)
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    plain = {"size": [height, width], "counts": ([0] if flat[0] else []) + counts}
    np.testing.assert_array_equal(decode(Coco(runs=(plain,)), (height, width)), mask)


def test_the_union_counts() -> None:
    left, right = np.zeros((2, 20, 30), np.bool_)
    left[:, :10], right[5:, 8:] = True, True
    region = Coco(runs=(encode(left), encode(right)), polygons=((0, 0, 4, 0, 4, 4, 0, 4),))
    np.testing.assert_array_equal(decode(region, (20, 30)), left | right)


@pytest.mark.parametrize("code", ["", "5", "000", "zzz~", "\x00", "é", "o" * 40, "5" * 4000])
def test_a_code_that_does_not_fill_the_image_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"run-length code"):
        decode(Coco(runs=({"size": [20, 20], "counts": code},)), (20, 20))


def test_nothing_annotated_is_no_region() -> None:
    with pytest.raises(ValueError, match="neither polygons nor run lengths"):
        decode(Coco(), (20, 20))
