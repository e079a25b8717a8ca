# SPDX-License-Identifier: Apache-2.0
"""Wide scenes: what is drawn, how parts reach into space, what the words for them mean."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from mllmseg_ros.language.household import (
    ABSENT_NOUNS,
    CATEGORIES,
    CONFUSABLE,
    DECOR_WORDS,
    HOUSEHOLD,
    HOUSEHOLD_COLORS,
    HOUSEHOLD_KINDS,
    LOOK_ALIKES,
)
from mllmseg_ros.language.vocabulary import CLUTTER, COLORS, VARIED_KINDS
from mllmseg_ros.sim.camera import TabletopCamera
from mllmseg_ros.sim.expressions import FORMS, draw_expressions
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.parts import Ball, Box, Revolved, Rod, Shape, Skin
from mllmseg_ros.sim.random_scenes import random_scene
from mllmseg_ros.sim.skins import DECORS, GROUNDS, MATERIALS, draw_ground, draw_skin
from mllmseg_ros.sim.view import View, VisibleObject
from mllmseg_ros.sim.wide_shapes import SHAPES, Look, random_shape

RED, WHITE = (0.8, 0.1, 0.1), (1.0, 1.0, 1.0)


def test_vocabulary_shapes_and_dense_classes_agree() -> None:
    assert {*HOUSEHOLD_KINDS, CLUTTER} == set(SHAPES)
    # The plain and varied tabletop keep the numbers of their kinds and colours.
    assert HOUSEHOLD_KINDS[: len(VARIED_KINDS)] == VARIED_KINDS
    assert HOUSEHOLD_COLORS[: len(COLORS)] == COLORS
    assert sum(HOUSEHOLD.shares.values()) == pytest.approx(1)
    assert set(HOUSEHOLD.shares) | {"none"} == set(FORMS)
    assert set(DECOR_WORDS) <= {*DECORS, *MATERIALS}
    for category in CATEGORIES:
        assert category.kinds | category.debatable <= set(HOUSEHOLD_KINDS) | {CLUTTER}
    named = {noun for nouns in HOUSEHOLD.nouns.values() for pair in nouns for noun in pair}
    assert not named & set(ABSENT_NOUNS)


@pytest.mark.parametrize("kind", SHAPES)
def test_no_two_of_a_kind_are_alike_and_all_stand_on_the_table(kind: str) -> None:
    def draw(seed: int) -> Shape:
        look = Look(rgb=RED, accent=WHITE, decor="plain", second=WHITE, seed=seed)
        return random_shape(kind, look)

    shapes = [draw(seed) for seed in range(12)]
    assert draw(3) == shapes[3]
    ratios = [shape.height_m / shape.radius_m for shape in shapes]
    sizes = [shape.radius_m for shape in shapes]
    assert max(ratios) > 1.04 * min(ratios) or max(sizes) > 1.15 * min(sizes)
    for shape in shapes:
        assert 0.008 < shape.radius_m < 0.3, shape
        assert 0.005 < shape.height_m < 0.4, shape


def test_reach_of_parts() -> None:
    skin = Skin(rgb=RED)
    parts = (
        Revolved(skin=skin, profile=((0.0, 0.0), (0.05, 0.0), (0.02, 0.1)), xy=(0.03, 0.04)),
        Box(skin=skin, center=(0.0, 0.0, 0.05), half=(0.03, 0.04, 0.05)),
        Ball(skin=skin, center=(0.1, 0.0, 0.2), half=(0.01, 0.02, 0.03)),
        Rod(skin=skin, start=(0.0, 0.0, 0.0), end=(0.0, 0.12, 0.25), radius=0.01),
    )
    expected = ((0.1, 0.1), (0.05, 0.1), (0.12, 0.23), (0.13, 0.26))
    for part, (radius, height) in zip(parts, expected, strict=True):
        shape = Shape(parts=(part,))
        assert (shape.radius_m, shape.height_m) == pytest.approx((radius, height))
    upright = Box(skin=skin, center=(0.0, 0.0, 0.05), half=(0.01, 0.02, 0.05), tilt_rad=np.pi / 2)
    assert Shape(parts=(upright,)).height_m == pytest.approx(0.06)


@pytest.mark.parametrize("name", [*DECORS, *MATERIALS])
def test_the_main_colour_covers_most_of_a_skin(name: str) -> None:
    for seed in range(5):
        skin = draw_skin(name, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), 64, seed)
        assert skin.shape == (64, 64, 3)
        assert (skin[..., 0] > skin[..., 2]).mean() >= 0.5
        assert (skin.std() > 5) == (name == "plain") or skin[..., 2].max() > 20


@pytest.mark.parametrize("name", GROUNDS)
def test_grounds_are_drawn_from_a_seed(name: str) -> None:
    first, same, other = (draw_ground(name, WHITE, RED, 64, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_scenes_are_wide_and_keep_held_out_pairs_and_confusable_colours_apart() -> None:
    kinds: Counter[str] = Counter()
    for split in ("wide_train", "wide_validation", "wide_test"):
        scenes = [random_scene(seed, split) for seed in range(120)]
        pairs = {(thing.color, thing.kind) for scene in scenes for thing in scene.objects}
        assert bool(pairs & HELD_OUT) == (split == "wide_test"), split
        for scene in scenes:
            kinds.update(thing.kind for thing in scene.objects)
            named = {thing.color for thing in scene.objects if thing.kind != CLUTTER}
            close = {frozenset(pair) for pair in itertools.combinations(named, 2)} & CONFUSABLE
            assert not close or split == "wide_test"
    assert set(kinds) == {*HOUSEHOLD_KINDS, CLUTTER}
    assert max(kinds.values()) < 0.2 * sum(kinds.values())
    assert {scene.surface.pattern for scene in scenes} == set(GROUNDS)


def thing(
    number: int, kind: str, color: str, at: tuple[float, float], **more: str
) -> VisibleObject:
    return VisibleObject(
        instance_id=number,
        kind=kind,
        color=color,
        size_name="small",
        scale=0.5,
        centroid_uv=at,
        area_share=0.02,
        visible_share=1.0,
        depth_m=1.0 - at[1] / 2,
        position_m=(at[0] - 0.5, 0.0, 1.0),
        nameable=kind != CLUTTER,
        **more,
    )


TABLE = (
    thing(1, "mug", "red", (0.2, 0.2), decor="striped", accent="white"),
    thing(2, "mug", "blue", (0.8, 0.25), accent="pink"),
    thing(3, "apple", "green", (0.5, 0.52), accent="black"),
    thing(4, "pear", "yellow", (0.2, 0.8), accent="black"),
    thing(5, "jar", "white", (0.85, 0.8), accent="black"),
)


def draw(form: str, n: int = 300) -> dict[str, tuple[int, ...]]:
    drawn = draw_expressions(
        TABLE, np.random.default_rng(1), n, forms=[form], no_target_share=0.0, language=HOUSEHOLD
    )
    return {each.text.lower(): each.targets for each in drawn if each.form == form}


def targets_of(words: str, drawn: dict[str, tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {targets for text, targets in drawn.items() if words in text}


def test_surfaces_uses_and_places_mean_the_right_things() -> None:
    attributes = draw("attribute")
    assert targets_of("stripe", attributes) == {(1,)}
    assert targets_of("lid", attributes) == {(5,)}
    assert set(attributes.values()) == {(1,), (5,)}
    categories = draw("category")
    assert targets_of("fruit", categories) == {(3, 4)}
    assert targets_of("drink", categories) == set()  # is the jar one of them?
    assert targets_of("vegetable", categories) == set()
    places = draw("place", 600)
    assert targets_of("middle", places) == {(3,)}
    assert targets_of("top left", places) == {(1,)}
    assert targets_of("lower right", places) == {(5,)}


def test_what_is_not_there_is_mostly_nearly_there() -> None:
    absent = draw("none", 1500)
    assert set(absent.values()) == {()}
    assert "the red mug" not in absent
    assert "the white mug" not in absent  # its stripes are white
    assert "the pink mug" not in absent  # its handle is
    assert sum(any(noun in text for noun in ABSENT_NOUNS) for text in absent) > 50
    assert targets_of("yellow mug", absent) == {()}
    assert targets_of("something to read", absent) == {()}
    assert not targets_of("something to eat", absent)


def test_look_alikes_of_what_is_there_are_asked_for() -> None:
    assert {kind for group in LOOK_ALIKES for kind in group} == set(HOUSEHOLD_KINDS)
    there = {each.kind for each in TABLE}
    alike = {kind for group in LOOK_ALIKES if there & set(group) for kind in group} - there
    absent = draw("none", 1500)

    def share(kind: str) -> float:
        nouns = [noun for pair in HOUSEHOLD.nouns[kind] for noun in pair]
        return sum(any(noun in text for noun in nouns) for text in absent) / len(absent)

    others = set(HOUSEHOLD_KINDS) - there - alike
    assert np.mean([share(kind) for kind in alike]) > 2 * np.mean([share(kind) for kind in others])


def test_no_wording_dominates() -> None:
    language = HOUSEHOLD
    drawn = draw_expressions(TABLE, np.random.default_rng(0), 4000, language=language)
    known = {noun for nouns in language.nouns.values() for pair in nouns for noun in pair}
    pattern = {*HOUSEHOLD_COLORS, *(word for noun in known for word in noun.split())}
    templates = Counter(
        " ".join("_" if word in pattern else word for word in each.text.lower().split())
        for each in drawn
    )
    (_, most), *_ = templates.most_common(1)
    assert most < 0.1 * len(drawn)
    assert len(templates) > 1000


@pytest.fixture(scope="module")
def views() -> list[View]:
    try:
        camera = TabletopCamera(240, 180)
    except RuntimeError as error:
        pytest.skip(str(error))
    rendered = []
    with camera:
        for seed in range(8):
            camera.load(random_scene(seed, "wide_train"))
            rendered.append(camera.render())
    return rendered


def test_rendered_things_have_names_surfaces_and_fit_into_the_image(views: list[View]) -> None:
    objects = [each for view in views for each in view.objects]
    named = [each for each in objects if each.kind != CLUTTER]
    assert sum(each.nameable for each in named) > 0.5 * len(named)
    assert not any(each.nameable for each in objects if each.kind == CLUTTER)
    assert any(each.decor in DECOR_WORDS for each in named)
    assert all(each.accent in HOUSEHOLD_COLORS for each in objects)
    for view in views:
        assert view.rgb.std() > 5
        assert VisibleObject.from_dict(view.objects[0].to_dict()) == view.objects[0]
