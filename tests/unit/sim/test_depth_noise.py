# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from mllmseg_ros.sim.depth_noise import add_stereo_noise

FOCAL = 600.0


def wall(z: float) -> np.ndarray:
    return np.full((120, 160), z, np.float32)


def test_noise_grows_with_the_square_of_the_distance() -> None:
    rng = np.random.default_rng(0)
    spread = [np.nanstd(add_stereo_noise(wall(z), FOCAL, rng) - z) for z in (0.5, 1.0)]
    assert 0.0004 < spread[0] < 0.0015
    assert 3 < spread[1] / spread[0] < 5
    bias = np.nanmean(add_stereo_noise(wall(1.0), FOCAL, rng)) - 1.0
    assert abs(bias) < 0.001


def test_depth_comes_in_steps_of_disparity() -> None:
    noisy = add_stereo_noise(wall(1.0), FOCAL, np.random.default_rng(1))
    disparity = FOCAL * 0.05 / noisy[np.isfinite(noisy)].astype(np.float64)
    assert np.abs(disparity * 32 - np.round(disparity * 32)).max() < 0.01


def test_outlines_have_holes_and_flying_pixels_and_a_shadow_on_one_side() -> None:
    depth = wall(1.2)
    depth[30:90, 60:100] = 0.6
    noisy = add_stereo_noise(depth, FOCAL, np.random.default_rng(2))
    lost = ~np.isfinite(noisy)
    assert lost[40:80, 40:59].mean() > 5 * lost[40:80, 101:120].mean()
    between = (noisy > 0.65) & (noisy < 1.15)
    assert 10 < between.sum() < 400
    assert lost[:, :30].mean() < 0.02


def test_nothing_hit_gives_no_depth() -> None:
    depth = wall(1.0)
    depth[:20] = 0
    noisy = add_stereo_noise(depth, FOCAL, np.random.default_rng(3))
    assert np.isnan(noisy[:20]).all()
    assert np.isfinite(noisy[30:]).mean() > 0.95
