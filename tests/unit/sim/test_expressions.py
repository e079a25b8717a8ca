# SPDX-License-Identifier: Apache-2.0
"""Expressions are true: texts are parsed again by an independent reader and checked by rules."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mllmseg_ros.language.vocabulary import COLORS, KINDS
from mllmseg_ros.sim.expressions import draw_expressions, mirror_objects
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.plain_expressions import PLAIN_FORMS, ReferringExpression
from mllmseg_ros.sim.view import VisibleObject

NOUNS = {
    "mug": "coffee mug|mug|cup",
    "bowl": "soup bowl|bowl",
    "bottle": "bottle|flask",
    "can": "soda can|can|tin",
    "box": "box|carton|package",
    "cube": "cube|block",
    "ball": "ball|sphere",
    "plate": "plate|dish",
    "banana": "banana",
    "book": "book",
    "duck": "rubber duck|duck",
}
NOUN = re.compile(
    r"\b(?:(small|smaller|little|large|big|bigger) )?"
    rf"(?:({'|'.join(COLORS)}|violet) )?"
    rf"({'|'.join(NOUNS.values())}|object|thing|item|one)(?:e?s)?\b"
)


def thing(instance_id: int, color: str, kind: str, **fields: object) -> VisibleObject:
    plain = VisibleObject(
        instance_id=instance_id,
        kind=kind,
        color=color,
        size_name="large",
        scale=1.2,
        centroid_uv=(0.1 * instance_id, 0.5),
        area_share=0.03,
        visible_share=1.0,
        depth_m=0.6 + 0.1 * instance_id,
        position_m=(0.0, 0.0, 0.8),
        nameable=True,
    )
    return replace(plain, **fields)


def random_objects(rng: np.random.Generator) -> tuple[VisibleObject, ...]:
    kinds, colors = rng.choice(KINDS, 4, replace=False), rng.choice(COLORS, 4, replace=False)
    objects = []
    while len(objects) < int(rng.integers(3, 11)):
        color, kind = str(rng.choice(colors)), str(rng.choice(kinds))
        if (color, kind) in HELD_OUT:
            continue
        size, scale = (("small", 0.8), ("large", 1.2))[int(rng.integers(2))]
        objects.append(
            thing(
                len(objects) + 1,
                color,
                kind,
                size_name=size,
                scale=scale,
                centroid_uv=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
                depth_m=float(rng.uniform(0.5, 1.3)),
                nameable=bool(rng.random() < 0.85),
            )
        )
    return tuple(objects)


def mentions(text: str) -> list[tuple[str | None, str | None, str | None]]:
    """Size, colour and kind of each noun phrase."""
    found = []
    for size, color, noun in NOUN.findall(text.lower()):
        size_name = None
        if size:
            size_name = "small" if size in ("small", "smaller", "little") else "large"
        kind = next((kind for kind, nouns in NOUNS.items() if noun in nouns.split("|")), None)
        found.append((size_name, {"violet": "purple"}.get(color, color) or None, kind))
    return found


def fits(what: tuple[str | None, str | None, str | None], one: VisibleObject) -> bool:
    size, color, kind = what
    return size in (None, one.size_name) and color in (None, one.color) and kind in (None, one.kind)


SCENES = [random_objects(np.random.default_rng(seed)) for seed in range(150)]


@pytest.fixture(scope="module", params=[False, True], ids=["seen", "mirrored"])
def said(request: pytest.FixtureRequest) -> list[tuple[tuple, ReferringExpression]]:
    rng = np.random.default_rng(1)
    scenes = [mirror_objects(objects) if request.param else objects for objects in SCENES]
    return [(objects, e) for objects in scenes for e in draw_expressions(objects, rng, 24)]


def of_form(said: list, *forms: str) -> list[tuple[tuple, ReferringExpression]]:
    chosen = [(objects, e) for objects, e in said if e.form in forms]
    assert len(chosen) > 30
    return chosen


def test_shares(said: list) -> None:
    share = {form: n / len(said) for form, n in Counter(e.form for _, e in said).items()}
    assert share["none"] == pytest.approx(0.2, abs=0.04)
    assert min(share[form] for form in PLAIN_FORMS) > 0.02


def test_targets_show_well_and_none_has_none(said: list) -> None:
    for objects, e in said:
        nameable = {one.instance_id for one in objects if one.nameable}
        assert set(e.targets) <= nameable
        assert bool(e.targets) == (e.form != "none")


def test_words_that_describe_fit_the_targets_alone(said: list) -> None:
    for objects, e in of_form(said, "color", "kind", "color_kind", "size_kind"):
        text = e.text.lower()
        if "everything" in text:
            what = (None, next(color for color in COLORS if color in text), None)
        else:
            (what,) = mentions(text)
        assert {one.instance_id for one in objects if fits(what, one)} == set(e.targets), e.text


def test_several_names_each(said: list) -> None:
    for objects, e in of_form(said, "several"):
        matching = [
            {one.instance_id for one in objects if fits(what, one)} for what in mentions(e.text)
        ]
        assert set.union(*matching) == set(e.targets), e.text
        assert len(e.targets) >= 2
        if len(matching) == 2:
            assert all(len(group) == 1 for group in matching), e.text


@pytest.mark.parametrize(
    ("words", "key", "clear"),
    [
        ("left", lambda one: one.centroid_uv[0], 0.06),
        ("right", lambda one: -one.centroid_uv[0], 0.06),
        ("nearest|closest|front", lambda one: one.depth_m, 0.05),
        ("farthest|back", lambda one: -one.depth_m, 0.05),
    ],
)
def test_extremes_are_clear(said: list, words: str, key, clear: float) -> None:
    checked = 0
    for objects, e in of_form(said, "extreme"):
        if not re.search(words, e.text.lower()):
            continue
        (what,) = mentions(e.text)
        order = sorted((one for one in objects if fits(what, one)), key=key)
        assert e.targets == (order[0].instance_id,), e.text
        assert key(order[1]) - key(order[0]) >= clear
        checked += 1
    assert checked > 10


def related(side: str, one: VisibleObject, anchor: VisibleObject) -> float:
    """More than 0 where the relation holds."""
    if side == "next":
        du = (one.centroid_uv[0] - anchor.centroid_uv[0]) * 4 / 3
        return 0.3 - math.hypot(du, one.centroid_uv[1] - anchor.centroid_uv[1])
    return {
        "left": anchor.centroid_uv[0] - one.centroid_uv[0],
        "right": one.centroid_uv[0] - anchor.centroid_uv[0],
        "front": anchor.depth_m - one.depth_m,
        "behind": one.depth_m - anchor.depth_m,
    }[side]


def read_relation(text: str) -> tuple[str, tuple, tuple] | None:
    side = re.search(r"(left|right) of|in (front) of|(behind)|(next) to|(beside)", text.lower())
    if side is None:
        return None
    what, anchor = mentions(text)
    return next(s for s in side.groups() if s).replace("beside", "next"), what, anchor


def test_relations_hold_for_the_target_alone(said: list) -> None:
    for objects, e in of_form(said, "relation"):
        read = read_relation(e.text)
        assert read is not None
        side, what, anchor_words = read
        (anchor,) = [one for one in objects if fits(anchor_words, one)]
        holding = {
            one.instance_id
            for one in objects
            if one is not anchor and fits(what, one) and related(side, one, anchor) > 0
        }
        assert holding == set(e.targets), e.text


def test_what_is_called_absent_is_absent_even_from_hiding(said: list) -> None:
    sized = relations = 0
    for objects, e in of_form(said, "none"):
        read = read_relation(e.text)
        if read is None:
            (what,) = mentions(e.text)
            assert not any(fits(what, one) for one in objects), e.text
            sized += what[0] is not None
            continue
        relations += 1
        side, what, anchor_words = read
        (anchor,) = [one for one in objects if fits(anchor_words, one)]
        assert not any(related(side, one, anchor) > 0 for one in objects if fits(what, one))
    assert sized > 5
    assert relations > 5


def test_a_hidden_twin_forbids_the_singular() -> None:
    objects = (
        thing(1, "red", "mug"),
        thing(2, "red", "mug", nameable=False),
        thing(3, "blue", "can"),
    )
    rng = np.random.default_rng(0)
    drawn = draw_expressions(objects, rng, 300, no_target_share=0.0)
    assert {e.targets for e in drawn if e.targets} == {(3,)}


def test_held_out_pairs_are_said_only_where_allowed_or_there() -> None:
    rng = np.random.default_rng(2)
    for objects in SCENES[:60]:
        assert not any(e.uses_held_out for e in draw_expressions(objects, rng, 20))
    allowed = [
        e
        for objects in SCENES[:60]
        for e in draw_expressions(objects, rng, 20, allow_held_out=True, forms=["none"])
    ]
    assert any(e.uses_held_out for e in allowed)
    color, kind = sorted(HELD_OUT)[0]
    there = (thing(1, color, kind), thing(2, "red", "mug"))
    drawn = draw_expressions(there, rng, 50, forms=["color_kind"])
    assert {e.uses_held_out for e in drawn if e.targets == (1,)} == {True}


def test_mirrored_swaps_left_and_right() -> None:
    objects = (thing(1, "red", "mug"), thing(5, "blue", "mug"))
    flipped = mirror_objects(objects)
    assert [one.centroid_uv[0] for one in flipped] == pytest.approx([0.9, 0.5])
    assert mirror_objects(flipped)[0].centroid_uv == pytest.approx(objects[0].centroid_uv)


def test_same_seed_same_words() -> None:
    texts = [draw_expressions(SCENES[0], np.random.default_rng(9), 12) for _ in range(2)]
    assert texts[0] == texts[1]


def test_expressions_for_an_image_without_objects() -> None:
    objects = (thing(1, "red", "mug", nameable=False),)
    drawn = draw_expressions(objects, np.random.default_rng(0), 5)
    assert [e.targets for e in drawn] == [()] * 5


@pytest.mark.parametrize("forms", [["colour"], []])
def test_unknown_forms_are_named(forms: list[str]) -> None:
    with pytest.raises(ValueError, match="expected some of color, kind"):
        draw_expressions(SCENES[0], np.random.default_rng(0), 1, forms=forms)
