# SPDX-License-Identifier: Apache-2.0
"""Perturbations do what their names say, and only that."""

from __future__ import annotations

import numpy as np
import pytest

from mllmseg_ros.eval import perturb

TEXT = "the large red mug left of the bowl"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def distance(a: str, b: str) -> int:
    """Edit distance, a swap of neighbours counting two."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        row, last = [i, *[0] * len(b)], row
        for j, y in enumerate(b, start=1):
            row[j] = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
    return row[-1]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_typos_are_as_many_as_asked_for(n: int, rng: np.random.Generator) -> None:
    for _ in range(50):
        typed = perturb.add_typos(TEXT, rng, n)
        assert distance(TEXT, typed) <= 2 * n
        assert (typed == TEXT) == (n == 0)
    assert perturb.add_typos("a", rng, 5) == "a"


def test_words(rng: np.random.Generator) -> None:
    assert perturb.remove_articles(TEXT) == "large red mug left of bowl"
    assert perturb.remove_articles("the ") == "the "
    assert perturb.make_vague(TEXT) == "the large red mug left of the thing"
    assert perturb.make_vague("mug.") == "thing"
    assert all(TEXT in perturb.paraphrase(TEXT, rng) for _ in range(20))
    heard = {perturb.mishear("the red mug", rng, 1) for _ in range(60)}
    assert {"the read mug", "the red mud", "a red mug"} <= heard
    assert any("um" in each.split() for each in heard)
    assert perturb.mishear("spanner", np.random.default_rng(1), 2).replace("um", "").strip()


def test_images(rng: np.random.Generator) -> None:
    rgb = np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (80, 1, 3))
    rgb[20:40, 20:40] = (200, 30, 30)
    noise = perturb.add_noise(rgb, rng, 10).astype(int) - rgb
    assert 5 < noise[50:, 30:100].std() < 12
    assert perturb.darken(rgb, 0.5).mean() == pytest.approx(rgb.mean() / 2, abs=1)
    steep = np.abs(np.diff(rgb[30, :, 1].astype(int))).max()
    assert np.abs(np.diff(perturb.blur(rgb, 0.05)[30, :, 1].astype(int))).max() < steep / 2
    fine, coarse = (np.abs(perturb.compress_jpeg(rgb, q).astype(int) - rgb).mean() for q in (95, 8))
    assert fine < coarse
    for each in perturb.PERTURBATIONS:
        if each.image:
            changed = each.image(rgb, rng)
            assert (changed.shape, changed.dtype) == (rgb.shape, rgb.dtype)
            assert not np.array_equal(changed, rgb)


def test_every_perturbation_changes_one_thing() -> None:
    for each in perturb.PERTURBATIONS:
        assert sum((each.text is not None, each.image is not None, each.margin > 0)) == 1
    named = [(each.name, each.strength) for each in perturb.PERTURBATIONS]
    assert len(set(named)) == len(named)
