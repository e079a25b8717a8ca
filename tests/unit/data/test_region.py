# SPDX-License-Identifier: Apache-2.0
"""Run lengths there and back, and codes that do not fill their image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_the_text_of_python_bytes_is_read() -> None:
    """str() of pycocotools' bytes, which many write into JSON: cocodataset/cocoapi#70."""
    rng = np.random.default_rng(1)
    backslashes = 0
    for _ in range(40):
        mask = rng.random((30, 40)) < 0.02
        run = encode(mask)
        code = str(run["counts"].encode())
        backslashes += code.count("\\")
        run["counts"] = code
        np.testing.assert_array_equal(decode(Coco(runs=(run,)), (30, 40)), mask)
    assert backslashes


@pytest.mark.parametrize("code", ["b'", "", "5", "000", "zzz~", "\x00", "é", "o" * 40, "5" * 4000])
def test_a_code_that_does_not_fill_the_image_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match=r"run-length code"):
        decode(Coco(runs=({"size": [20, 20], "counts": code},)), (20, 20))


def test_an_empty_annotation_is_not_a_region() -> None:
    with pytest.raises(ValueError, match="neither polygons nor run lengths"):
        decode(Coco(), (20, 20))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)
RUN = st.fixed_dictionaries({}, optional={"size": st.just([6, 9]) | JSON, "counts": JSON})


@settings(max_examples=500, deadline=None)
@given(
    runs=st.lists(RUN | JSON, max_size=2),
    polygons=st.lists(st.lists(st.floats(-2, 11) | JSON, max_size=9) | JSON, max_size=2),
)
def test_anything_is_a_mask_or_refused(runs: list[Any], polygons: list[Any]) -> None:
    try:
        mask = decode(Coco(runs=tuple(runs), polygons=tuple(polygons)), (6, 9))
    except ValueError:
        return
    assert mask.shape == (6, 9)
    assert mask.dtype == np.bool_
