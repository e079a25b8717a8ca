# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.sim.samples import FRAMES, N_SAMPLES, load_sample, sample_expressions


@pytest.mark.parametrize("index", range(N_SAMPLES))
def test_a_frame_agrees_with_its_truth(index: int) -> None:
    view = load_sample(index)
    assert view.rgb.shape == (480, 640, 3)
    assert view.depth_m.shape == view.instances.shape == (480, 640)
    for thing in view.objects:
        mine = view.instances == thing.instance_id
        assert mine.mean() == pytest.approx(thing.area_share, abs=1e-5)
        assert view.depth_m[mine].mean() == pytest.approx(thing.depth_m, abs=1e-3)
    ids = {thing.instance_id for thing in view.objects if thing.nameable}
    said = sample_expressions(index)
    assert said
    assert all(set(expression.targets) <= ids for expression in said)


def test_rgb_is_rgb() -> None:
    view = load_sample(0)
    (mug,) = [t for t in view.objects if (t.color, t.kind) == ("red", "mug")]
    red, green, blue = view.rgb[view.instances == mug.instance_id].mean(axis=0)
    assert red > 2 * max(green, blue)


def test_frames_stay_small() -> None:
    assert sum(path.stat().st_size for path in FRAMES.iterdir()) < 3e6


def test_unknown_frame_is_named() -> None:
    with pytest.raises(ValueError, match=f"sample frame is {N_SAMPLES}"):
        load_sample(N_SAMPLES)
    assert np.isfinite(load_sample(N_SAMPLES - 1).K).all()
