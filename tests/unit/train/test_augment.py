# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps what is said about an image true."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.sim.view import VisibleObject
from mllmseg_ros.train.augment import cut_view, jitter_sharpness, jitter_tones


def scene() -> tuple[np.ndarray, np.ndarray, tuple[VisibleObject, ...]]:
    """A red square on the left, a blue one on the right; a third object is hidden."""
    instances = np.zeros((100, 100), np.uint8)
    instances[40:60, 10:30], instances[45:55, 80:90] = 1, 2
    rgb = np.full((100, 100, 3), 90, np.uint8)
    rgb[instances == 1], rgb[instances == 2] = (200, 0, 0), (0, 0, 200)
    places = {1: (0.2, 0.5), 2: (0.85, 0.5), 3: (-1.0, -1.0)}
    objects = tuple(
        VisibleObject(
            instance_id=k,
            kind="cube",
            color="red",
            size_name="small",
            scale=1.0,
            centroid_uv=places[k],
            area_share=float((instances == k).mean()),
            visible_share=1.0,
            depth_m=1.0,
            position_m=(0.0, 0.0, 1.0),
            nameable=k < 3,
        )
        for k in places
    )
    return rgb, instances, objects


def test_a_cut_view_describes_what_it_shows() -> None:
    cut_off, uncut = 0, 0
    for seed in range(60):
        rgb, instances, objects = scene()
        new_rgb, ids, described = cut_view(rgb, instances, objects, np.random.default_rng(seed))
        assert new_rgb.shape == (100, 100, 3)
        if new_rgb is rgb:
            uncut += 1
            assert described == objects
            continue
        assert {each.instance_id for each in described} == set(np.unique(ids)) - {0}
        for each in described:
            mask = ids == each.instance_id
            rows, columns = np.nonzero(mask)
            assert each.area_share == pytest.approx(mask.mean())
            assert each.centroid_uv == pytest.approx(
                ((columns.mean() + 0.5) / 100, (rows.mean() + 0.5) / 100)
            )
            channel = 0 if each.instance_id == 1 else 2
            assert np.median(new_rgb[mask][:, channel]) > 150
            if not each.nameable:
                cut_off += 1
                assert each.visible_share < 0.35 or each.area_share < 0.003
    assert 10 < uncut < 35
    assert cut_off > 0


def test_tones_and_sharpness_vary_but_colours_keep_their_names() -> None:
    rgb, instances, _ = scene()
    results = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        new = jitter_sharpness(jitter_tones(rgb, rng), rng)
        assert new.dtype == np.uint8
        red, blue = (np.median(new[instances == k], axis=0) for k in (1, 2))
        assert red.argmax() == 0
        assert blue.argmax() == 2
        results.append(new.astype(float))
    assert np.std(results, axis=0).mean() > 4
