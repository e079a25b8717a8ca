# SPDX-License-Identifier: Apache-2.0
"""Plain referring expressions: colours, kinds, sizes, positions, relations.

Every expression is clearly true or clearly false: a singular refers to exactly one object that is
well visible, positions hold by a margin, and an expression without a target does not fit hidden
objects either. Left and right refer to the image, front and behind to the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mllmseg_ros.language.vocabulary import (
    ANY,
    COLORS,
    EXTREMES,
    RELATIONS,
    SIZE_WORDS,
    Vocabulary,
)
from mllmseg_ros.sim.objects import HELD_OUT
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["PlainExpressions", "ReferringExpression"]

PLAIN_FORMS = ("color", "kind", "color_kind", "size_kind", "extreme", "relation", "several", "none")

CLEAR_UV = 0.06  # of the image: the least offset that counts as left or right
CLEAR_M = 0.05  # the least difference in depth that counts as in front or behind
_BESIDE, _APART = 0.22, 0.34  # of the image's height: next to, and clearly not next to
_TRIES = 15  # attempts at a form before another is drawn


@dataclass(frozen=True, kw_only=True)
class ReferringExpression:
    """An expression and its true targets in one image."""

    text: str
    form: str  # one of expressions.FORMS
    targets: tuple[int, ...]  # instance ids; empty without a target
    uses_held_out: bool  # it has a colour-kind pair that training never has


@dataclass(frozen=True, kw_only=True)
class Description:
    """A noun phrase without article, and the objects it fits."""

    color: str | None
    kind: str | None

    def fits(self, thing: VisibleObject) -> bool:
        """Return whether an object has this colour and kind."""
        return self.color in (None, thing.color) and self.kind in (None, thing.kind)


Form = Callable[[], ReferringExpression | None]


class PlainExpressions:
    """Draws plain expressions for one image."""

    def __init__(
        self,
        objects: Sequence[VisibleObject],
        rng: np.random.Generator,
        language: Vocabulary,
        *,
        allow_held_out: bool = False,
    ) -> None:
        """Set up for one image.

        Args:
            objects: all objects of the scene, including hidden ones.
            rng: random generator.
            language: vocabulary.
            allow_held_out: whether HELD_OUT pairs may be used in expressions without a target.
        """
        self._objects = objects
        self._language = language
        self._nameable = [thing for thing in objects if thing.nameable]
        self._rng = rng
        self._allow_held_out = allow_held_out
        self._forms = self._form_methods()

    def _form_methods(self) -> dict[str, Form]:
        return {
            "color": self._color,
            "kind": self._kind,
            "color_kind": self._color_kind,
            "size_kind": self._size_kind,
            "extreme": self._extreme,
            "relation": self._relation,
            "several": self._several,
            "none": self._none,
        }

    def draw(self, form: str) -> ReferringExpression | None:
        """Draw an expression of a form; None if no attempt succeeded."""
        if form != "none" and not self._nameable:
            return None
        for _ in range(_TRIES):
            expression = self._forms[form]()
            if expression is not None:
                return expression
        return None

    # ---- pieces

    def _pick(self, options: Sequence[str]) -> str:
        # The first option is the plain word, drawn half of the time.
        if len(options) == 1 or self._rng.random() < 0.5:
            return options[0]
        return options[int(self._rng.integers(1, len(options)))]

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _some_object(self) -> VisibleObject:
        return self._nameable[int(self._rng.integers(len(self._nameable)))]

    def _matching(self, what: Description) -> list[VisibleObject]:
        return [thing for thing in self._objects if what.fits(thing)]

    def _words(self, what: Description, *, plural: bool = False) -> str:
        nouns = self._language.nouns[what.kind] if what.kind else ANY
        pair = nouns[0] if self._chance(0.5) else nouns[int(self._rng.integers(len(nouns)))]
        noun = pair[1] if plural else pair[0]
        if what.color is None:
            return noun
        return f"{self._pick(self._language.color_words.get(what.color, (what.color,)))} {noun}"

    def _build(
        self,
        phrase: str,
        form: str,
        targets: Sequence[VisibleObject],
        *mentioned: Description,
        article: str = "the ",
    ) -> ReferringExpression | None:
        held_out = any((what.color, what.kind) in HELD_OUT for what in mentioned)
        if held_out and not targets and not self._allow_held_out:
            return None
        if article == "the " and self._chance(0.12):
            article = ""
        text = article + phrase
        if self._chance(0.04):
            text += " on the table"
        if self._chance(0.04):
            text = text[0].upper() + text[1:] + "."
        return ReferringExpression(
            text=text,
            form=form,
            targets=tuple(sorted(thing.instance_id for thing in targets)),
            uses_held_out=held_out,
        )

    def _only_match(self, what: Description) -> VisibleObject | None:
        """Return the object if exactly one fits and it is well visible."""
        matching = self._matching(what)
        return matching[0] if len(matching) == 1 and matching[0].nameable else None

    def _unique_description(self, thing: VisibleObject) -> Description | None:
        """Describe an object uniquely by kind, or by colour and kind; None if neither does."""
        options = [
            Description(color=None, kind=thing.kind),
            Description(color=thing.color, kind=thing.kind),
        ]
        if self._chance(0.4):
            options.reverse()
        return next((what for what in options if self._only_match(what) is thing), None)

    # ---- forms

    def _color(self) -> ReferringExpression | None:
        thing = self._some_object()
        what = Description(color=thing.color, kind=None)
        matching = self._matching(what)
        if not all(other.nameable for other in matching):
            return None
        if len(matching) == 1:
            phrase = f"{thing.color} one" if self._chance(0.4) else self._words(what)
            return self._build(phrase, "color", matching, what)
        if self._chance(0.3):
            return self._build(f"everything {thing.color}", "color", matching, what, article="")
        article = "the " if self._chance(0.5) else "all the "
        return self._build(self._words(what, plural=True), "color", matching, what, article=article)

    def _kind(self) -> ReferringExpression | None:
        what = Description(color=None, kind=self._some_object().kind)
        thing = self._only_match(what)
        return self._build(self._words(what), "kind", [thing], what) if thing else None

    def _color_kind(self) -> ReferringExpression | None:
        chosen = self._some_object()
        what = Description(color=chosen.color, kind=chosen.kind)
        thing = self._only_match(what)
        return self._build(self._words(what), "color_kind", [thing], what) if thing else None

    def _size_kind(self) -> ReferringExpression | None:
        chosen = self._some_object()
        color = chosen.color if self._chance(0.3) else None
        what = Description(color=color, kind=chosen.kind)
        matching = self._matching(what)
        same_size = [thing for thing in matching if thing.size_name == chosen.size_name]
        if len(matching) < 2 or len(same_size) != 1:
            return None
        size = SIZE_WORDS[chosen.size_name][: 3 if len(matching) == 2 else 2]
        return self._build(f"{self._pick(size)} {self._words(what)}", "size_kind", [chosen], what)

    def _extreme(self) -> ReferringExpression | None:
        chosen = self._some_object()
        share = self._rng.random()
        what = Description(
            color=chosen.color if share < 0.25 else None, kind=chosen.kind if share < 0.75 else None
        )
        matching = self._matching(what)
        if len(matching) < 2 or not all(thing.nameable for thing in matching):
            return None
        side = str(self._rng.choice(list(EXTREMES)))
        order = sorted(matching, key=lambda thing: along(side, thing))
        clear = CLEAR_UV if side in ("left", "right") else CLEAR_M
        if along(side, order[1]) - along(side, order[0]) < clear:
            return None
        options = self._language.extremes[side]
        if len(matching) == 2:
            options += self._language.of_two[side]
        phrase = self._pick(options).format(n=self._words(what))
        return self._build(phrase, "extreme", order[:1], what)

    def _relation(self) -> ReferringExpression | None:
        if len(self._nameable) < 2:
            return None
        chosen, anchor = self._some_object(), self._some_object()
        anchor_words = self._unique_description(anchor)
        share = self._rng.random()
        what = Description(
            color=chosen.color if share < 0.35 else None, kind=chosen.kind if share < 0.85 else None
        )
        if (
            chosen is anchor
            or anchor_words is None
            or (what.fits(anchor) and what.kind is not None)
        ):
            return None
        side = str(self._rng.choice(list(RELATIONS)))
        others = [thing for thing in self._matching(what) if thing is not anchor]
        holding = [holds(side, thing, anchor) for thing in others]
        if holding.count(True) != 1 or holding.count(None) or not chosen.nameable:
            return None
        target = others[holding.index(True)]
        # In most cases the relation must be needed to tell the target from similar objects.
        if not target.nameable or (len(others) == 1 and self._chance(0.5)):
            return None
        return self._build(
            self._related(what, side, anchor_words), "relation", [target], what, anchor_words
        )

    def _related(self, what: Description, side: str, anchor: Description) -> str:
        return (
            f"{self._words(what)} {self._pick(self._language.relations[side])}"
            f" the {self._words(anchor)}"
        )

    def _several(self) -> ReferringExpression | None:
        chosen = self._some_object()
        if self._chance(0.5):
            color = chosen.color if self._chance(0.3) else None
            what = Description(color=color, kind=chosen.kind)
            matching = self._matching(what)
            if len(matching) < 2 or not all(thing.nameable for thing in matching):
                return None
            article = str(self._rng.choice(("all the ", "the ", "all ")))
            if len(matching) == 2 and self._chance(0.3):
                article = "both "
            return self._build(
                self._words(what, plural=True), "several", matching, what, article=article
            )
        other = self._some_object()
        first, second = self._unique_description(chosen), self._unique_description(other)
        if chosen is other or first is None or second is None:
            return None
        phrase = f"{self._words(first)} and the {self._words(second)}"
        return self._build(phrase, "several", [chosen, other], first, second)

    def _none(self) -> ReferringExpression | None:
        share = self._rng.random()
        kinds = {thing.kind for thing in self._objects}
        colors = {thing.color for thing in self._objects}
        pairs = {(thing.color, thing.kind) for thing in self._objects}
        color = str(self._rng.choice(COLORS))
        kind = str(self._rng.choice(self._language.kinds))
        if share < 0.45:  # near misses: this kind in another colour, that colour on another kind
            if self._nameable and self._chance(0.5):
                kind = self._some_object().kind
            elif self._nameable:
                color = self._some_object().color
            if (color, kind) in pairs:
                return None
            what = Description(color=color, kind=kind)
        elif share < 0.68:
            if kind in kinds:
                return None
            what = Description(color=None, kind=kind)
        elif share < 0.78:
            if color in colors:
                return None
            what = Description(color=color, kind=None)
        elif share < 0.86:
            return self._no_size()
        else:
            return self._no_relation()
        plural = self._chance(0.1)
        article = "all the " if plural else "the "
        return self._build(self._words(what, plural=plural), "none", [], what, article=article)

    def _no_size(self) -> ReferringExpression | None:
        """Draw an existing colour and kind in the wrong size, which another of the kind has."""
        if not self._nameable:
            return None
        chosen = self._some_object()
        what = Description(color=chosen.color, kind=chosen.kind)
        same_kind = [thing for thing in self._objects if thing.kind == chosen.kind]
        if any(
            what.fits(thing) and thing.size_name != chosen.size_name for thing in same_kind
        ) or not any(thing.nameable and thing.size_name != chosen.size_name for thing in same_kind):
            return None
        size = "large" if chosen.size_name == "small" else "small"
        phrase = f"{self._pick(SIZE_WORDS[size][:2])} {self._words(what)}"
        return self._build(phrase, "none", [], what)

    def _no_relation(self) -> ReferringExpression | None:
        """Draw a wrong relation between two existing objects."""
        if len(self._nameable) < 2:
            return None
        chosen, anchor = self._some_object(), self._some_object()
        anchor_words = self._unique_description(anchor)
        what = Description(color=chosen.color if self._chance(0.4) else None, kind=chosen.kind)
        side = str(self._rng.choice(list(RELATIONS)))
        if chosen is anchor or anchor_words is None or what.fits(anchor):
            return None
        if any(holds(side, thing, anchor) is not False for thing in self._matching(what)):
            return None
        return self._build(self._related(what, side, anchor_words), "none", [], what, anchor_words)


def along(side: str, thing: VisibleObject) -> float:
    """Return a coordinate that is lowest for the object farthest to a side."""
    if side in ("left", "right"):
        return thing.centroid_uv[0] if side == "left" else -thing.centroid_uv[0]
    return thing.depth_m if side == "front" else -thing.depth_m


def holds(side: str, thing: VisibleObject, anchor: VisibleObject) -> bool | None:
    """Return whether a relation holds; None if people might disagree or cannot see it."""
    if not thing.nameable:
        return None
    if side == "beside":
        du = (thing.centroid_uv[0] - anchor.centroid_uv[0]) * 4 / 3  # images are 4:3
        dv = thing.centroid_uv[1] - anchor.centroid_uv[1]
        apart = float(np.hypot(du, dv))
        return True if apart < _BESIDE else False if apart > _APART else None
    clear = CLEAR_UV if side in ("left", "right") else CLEAR_M
    offset = along(side, anchor) - along(side, thing)
    return True if offset > clear else False if offset < 0 else None
