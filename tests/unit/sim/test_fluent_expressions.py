# SPDX-License-Identifier: Apache-2.0
"""Freely worded expressions are true too: texts are parsed again by independent rules."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mllmseg_ros.language.vocabulary import (
    CLUTTER,
    COLORS,
    VARIED,
    VARIED_KINDS,
    WORKSHOP,
    get_vocabulary,
)
from mllmseg_ros.sim import fluent_expressions
from mllmseg_ros.sim.expressions import FORMS, draw_expressions
from mllmseg_ros.sim.fluent_expressions import FLUENT_FORMS
from mllmseg_ros.sim.plain_expressions import ReferringExpression
from mllmseg_ros.sim.view import VisibleObject
from mllmseg_ros.sim.wide_expressions import WIDE_FORMS

KIND_OF = {
    noun: kind for kind, nouns in VARIED.nouns.items() for pair in nouns for noun in pair
} | dict.fromkeys(("object", "objects", "thing", "things", "item", "items"))
NOUN = "|".join(sorted(KIND_OF, key=len, reverse=True))
COLOR = "|".join((*COLORS, "violet"))
PHRASE = (
    rf"(?:(?P<c%d>{COLOR})(?: colored)? )?(?P<n%d>{NOUN})\b"
    rf"(?: (?:that is|which is|that are|which are) (?P<p%d>{COLOR}))?"
)
Said = list[tuple[tuple[VisibleObject, ...], ReferringExpression]]


def phrase(number: int) -> str:
    return PHRASE.replace("%d", str(number))


def color_name(word: str | None) -> str | None:
    return "purple" if word == "violet" else word


def what(found: re.Match[str], number: int) -> tuple[str | None, str | None]:
    """Colour and kind of one noun phrase."""
    color = found[f"c{number}"] or found[f"p{number}"]
    return color_name(color), KIND_OF[found[f"n{number}"]]


def fits(one: VisibleObject, description: tuple[str | None, str | None]) -> bool:
    return description[0] in (None, one.color) and description[1] in (None, one.kind)


def scene(rng: np.random.Generator) -> tuple[VisibleObject, ...]:
    kinds, colors = rng.choice(VARIED_KINDS, 3, replace=False), rng.choice(COLORS, 3, replace=False)
    objects = []
    for instance_id in range(1, int(rng.integers(4, 10))):
        size, scale = (("small", 0.8), ("large", 1.2))[int(rng.integers(2))]
        objects.append(
            VisibleObject(
                instance_id=instance_id,
                kind=str(rng.choice(kinds)),
                color=str(rng.choice(colors)),
                size_name=size,
                scale=scale,
                centroid_uv=(float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
                area_share=0.03,
                visible_share=1.0,
                depth_m=float(rng.uniform(0.5, 1.3)),
                position_m=(0.0, 0.0, 0.8),
                nameable=bool(rng.random() < 0.9),
            )
        )
    if rng.random() < 0.3:
        objects[0] = replace(objects[0], kind=CLUTTER, color=CLUTTER, nameable=False)
    return tuple(objects)


@pytest.fixture(scope="module")
def said() -> Said:
    rng = np.random.default_rng(3)
    scenes = [scene(rng) for _ in range(1500)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fluent_expressions, "_TYPO_SHARE", 0.0)
        return [(s, e) for s in scenes for e in draw_expressions(s, rng, 12, language=VARIED)]


def checked(said: Said, form: str, pattern: str, at_least: int = 30) -> list:
    """Those of a form that the pattern reads, typos and dropped articles left aside."""
    read = [
        (objects, e, found)
        for objects, e in said
        if e.form == form and (found := re.search(pattern, e.text.lower()))
    ]
    assert len(read) > at_least
    return read


def ids(objects: tuple[VisibleObject, ...]) -> tuple[int, ...]:
    return tuple(one.instance_id for one in objects)


def test_every_form_occurs_and_names_what_shows(said: Said) -> None:
    share = {form: n / len(said) for form, n in Counter(e.form for _, e in said).items()}
    assert set(share) == set(FORMS) - set(WIDE_FORMS)
    assert min(share[form] for form in FLUENT_FORMS) > 0.005
    for objects, e in said:
        assert bool(e.targets) == (e.form != "none"), e
        assert set(e.targets) <= {one.instance_id for one in objects if one.nameable}, e


def test_negation(said: Said) -> None:
    pattern = rf"(?P<n0>{NOUN}) (?:that|which) (?:is|are) not (?P<c>{COLOR})"
    for objects, e, found in checked(said, "negation", pattern):
        kind, color = KIND_OF[found["n0"]], color_name(found["c"])
        meant = tuple(one for one in objects if one.kind == kind and one.color != color)
        assert e.targets == ids(meant), e


def test_none_of_a_negation(said: Said) -> None:
    pattern = rf"(?P<n0>{NOUN}) (?:that|which) is not (?P<c>{COLOR})"
    for objects, e, found in checked(said, "none", pattern):
        kind, color = KIND_OF[found["n0"]], color_name(found["c"])
        assert all(one.color == color for one in objects if one.kind == kind), e


def test_ordinals(said: Said) -> None:
    pattern = rf"(?P<rank>second|third|fourth) {phrase(0)} from the (?P<side>left|right)"
    for objects, e, found in checked(said, "ordinal", pattern):
        row = sorted(
            (one for one in objects if fits(one, what(found, 0))),
            key=lambda one: one.centroid_uv[0],
            reverse=found["side"] == "right",
        )
        rank = ("first", "second", "third", "fourth").index(found["rank"])
        assert e.targets == (row[rank].instance_id,), e


def test_none_of_an_ordinal(said: Said) -> None:
    pattern = rf"(?P<rank>second|third|fourth) {phrase(0)} from the (?:left|right)"
    for objects, e, found in checked(said, "none", pattern):
        rank = ("first", "second", "third", "fourth").index(found["rank"])
        assert sum(fits(one, what(found, 0)) for one in objects) <= rank, e


def test_counts(said: Said) -> None:
    for objects, e, found in checked(said, "count", rf"(?P<n>two|three|four|five) {phrase(0)}"):
        meant = tuple(one for one in objects if fits(one, what(found, 0)))
        assert len(meant) == ("two", "three", "four", "five").index(found["n"]) + 2, e
        assert e.targets == ids(meant), e


def test_between(said: Said) -> None:
    pattern = rf"{phrase(0)} between the {phrase(1)} and the {phrase(2)}"
    for objects, e, found in checked(said, "compound", pattern):
        (a,), (b,) = ([one for one in objects if fits(one, what(found, n))] for n in (1, 2))
        (target,) = [one for one in objects if one.instance_id in e.targets]
        assert fits(target, what(found, 0)), e
        for axis in (0, 1):  # inside the box that the two span, widened a little
            low, high = sorted((a.centroid_uv[axis], b.centroid_uv[axis]))
            assert low - 0.1 < target.centroid_uv[axis] < high + 0.1, e


def test_two_relations(said: Said) -> None:
    place = r"(?P<s%d>left of|right of|in front of|behind)"
    pattern = (
        rf"{phrase(0)} (?:to the )?{place % 1} the {phrase(1)}"
        rf" and (?:to the )?{place % 2} the {phrase(2)}"
    )

    def offset(side: str, one: VisibleObject, other: VisibleObject) -> float:
        u, z = one.centroid_uv[0] - other.centroid_uv[0], one.depth_m - other.depth_m
        return {"left of": -u, "right of": u, "in front of": -z, "behind": z}[side]

    for objects, e, found in checked(said, "compound", pattern, 15):
        anchors = [next(o for o in objects if fits(o, what(found, n))) for n in (1, 2)]
        holding = [
            one
            for one in objects
            if one not in anchors
            and fits(one, what(found, 0))
            and all(offset(found[f"s{n + 1}"], one, anchors[n]) > 0 for n in (0, 1))
        ]
        assert e.targets == ids(tuple(holding)), e


def test_exceptions(said: Said) -> None:
    but = r"(?:except for|except|but|other than)"
    for objects, e, found in checked(
        said, "except", rf"all the (?P<n0>{NOUN}) {but} the (?P<c>{COLOR}) one"
    ):
        meant = [
            one
            for one in objects
            if one.kind == KIND_OF[found["n0"]] and one.color != color_name(found["c"])
        ]
        assert e.targets == ids(tuple(meant)), e
    everything = rf"(?:everything|all objects|all things) {but} the {phrase(0)}"
    for objects, e, found in checked(said, "except", everything, 10):
        assert e.targets == ids(tuple(o for o in objects if not fits(o, what(found, 0)))), e


def test_a_typo_swaps_two_letters_of_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = scene(np.random.default_rng(5))
    once = draw_expressions(objects, np.random.default_rng(5), 1, language=VARIED)
    monkeypatch.setattr(fluent_expressions, "_TYPO_SHARE", 1.0)
    (mistyped,) = draw_expressions(objects, np.random.default_rng(5), 1, language=VARIED)
    assert mistyped.targets == once[0].targets
    assert mistyped.text != once[0].text
    assert sorted(mistyped.text) == sorted(once[0].text)


def test_each_split_has_its_language() -> None:
    assert get_vocabulary("varied_test") is VARIED
    assert get_vocabulary("workshop") is WORKSHOP
    assert not get_vocabulary("test").fluent


def test_plain_language_knows_no_fluent_form() -> None:
    with pytest.raises(ValueError, match="forms are \\['ordinal'\\], expected some of color, kind"):
        draw_expressions(
            scene(np.random.default_rng(0)), np.random.default_rng(0), 1, forms=("ordinal",)
        )
