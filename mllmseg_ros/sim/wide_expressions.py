# SPDX-License-Identifier: Apache-2.0
"""Referring expressions about household tables, as people put them.

Beside the fluent forms: surfaces ("the striped mug"), what things are for ("something to drink
from"), places in the image, sizes as measured, many articles, requests and typos, and absent
targets that are near misses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mllmseg_ros.language.household import (
    ABSENT_NOUNS,
    ARTICLES,
    CATEGORIES,
    CONFUSABLE,
    DECOR_WORDS,
    HOUSEHOLD_COLORS,
    LID_WORDS,
    LIDS,
    LOOK_ALIKES,
    PLACES,
    SIMILAR_DECORS,
    Category,
)
from mllmseg_ros.language.vocabulary import CLUTTER, SUPERLATIVES
from mllmseg_ros.sim.fluent_expressions import FluentExpressions
from mllmseg_ros.sim.plain_expressions import Description, Form, ReferringExpression
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["WIDE_FORMS", "WideExpressions"]

WIDE_FORMS = ("attribute", "category", "place")
_CLEARLY_LARGER = 1.3
_TYPO_SHARE = 0.05
# Of the image's sides, from its middle: within is in the middle or a corner, beyond is not.
_MIDDLE, _NOT_MIDDLE, _CORNER, _NOT_CORNER = 0.14, 0.24, 0.12, 0.05
_SIZE_WORDS = {
    "small": ("small", "little", "smaller", "tiny"),
    "large": ("large", "big", "bigger", "larger"),
}


class WideExpressions(FluentExpressions):
    """Draws plain, fluent and wide expressions for one image."""

    def _form_methods(self) -> dict[str, Form]:
        return super()._form_methods() | {
            "attribute": self._attribute,
            "category": self._category,
            "place": self._place,
        }

    # ---- pieces

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self._rng.integers(len(options)))]  # none is the plain one

    def _build(
        self,
        phrase: str,
        form: str,
        targets: Sequence[VisibleObject],
        *mentioned: Description,
        article: str = "the ",
    ) -> ReferringExpression | None:
        if article == "the " and len(targets) <= 1 and self._chance(0.25):
            article = str(self._rng.choice(ARTICLES))
            if article == "a " and phrase[0] in "aeiou":
                article = "an "
        drawn = super()._build(phrase, form, targets, *mentioned, article=article)
        if drawn is None:
            return None
        text = drawn.text
        if self._chance(0.03):  # telegraphic
            text = " ".join(word for word in text.split() if word not in ("the", "a", "an"))
        if self._chance(0.04):
            text = text.upper() if self._chance(0.3) else text.title()
        if self._chance(_TYPO_SHARE):
            text = self._misspell(text)
        return ReferringExpression(
            text=text or drawn.text,
            form=form,
            targets=drawn.targets,
            uses_held_out=drawn.uses_held_out,
        )

    def _misspell(self, text: str) -> str:
        """Drop or double a letter of a longer word, but not the first."""
        words = text.split(" ")
        long = [index for index, word in enumerate(words) if len(word) >= 5]
        if not long:
            return text
        index = long[int(self._rng.integers(len(long)))]
        word = words[index]
        at = int(self._rng.integers(1, len(word)))
        words[index] = word[:at] + (word[at] if self._chance(0.5) else "") + word[at:][1:]
        if words[index] == word:
            words[index] = word[:at] + word[at] + word[at:]
        return " ".join(words)

    def _confusable(self, color: str | None, other: str) -> bool:
        return color == other or frozenset((color or "", other)) in CONFUSABLE

    # ---- forms

    def _size_kind(self) -> ReferringExpression | None:
        """Draw a size where the things of a kind differ clearly in it."""
        chosen = self._some_object()
        color = chosen.color if self._chance(0.25) else None
        what = Description(color=color, kind=chosen.kind)
        order = sorted(self._matching(what), key=lambda thing: thing.scale)
        if len(order) < 2 or not all(thing.nameable for thing in order):
            return None
        size = "large" if self._chance(0.5) else "small"
        if size == "large":
            target, clear = order[-1], order[-1].scale / order[-2].scale
        else:
            target, clear = order[0], order[1].scale / order[0].scale
        if clear < _CLEARLY_LARGER:
            return None
        words = SUPERLATIVES[size] if self._chance(0.4) else _SIZE_WORDS[size]
        return self._build(f"{self._pick(words)} {self._words(what)}", "size_kind", [target], what)

    def _attribute(self) -> ReferringExpression | None:
        chosen = self._some_object()
        color = chosen.color if self._chance(0.35) else None
        kind = chosen.kind if self._chance(0.9) else None
        what = Description(color=color, kind=kind)
        if chosen.kind in LIDS and chosen.accent:
            options = tuple(words.replace("{p}", LIDS[chosen.kind]) for words in LID_WORDS)
            what = Description(color=None, kind=chosen.kind)
            alike = [each for each in self._matching(what) if each.accent == chosen.accent]
        elif chosen.decor in DECOR_WORDS:
            options = DECOR_WORDS[chosen.decor]
            with_accent = tuple(each for each in options if "{a}" in each)
            if not chosen.accent:
                options = tuple(each for each in options if each not in with_accent)
            elif with_accent and self._chance(0.4):
                options = with_accent
            alike = [
                each for each in self._matching(what) if _similar_decor(each.decor, chosen.decor)
            ]
        else:
            return None
        if len(alike) != 1 or not alike[0].nameable:
            return None
        phrase = self._pick(options).format(n=self._words(what), a=chosen.accent)
        return self._build(phrase, "attribute", alike, what)

    def _category(self) -> ReferringExpression | None:
        kind = self._some_object().kind
        options = [each for each in CATEGORIES if kind in each.kinds]
        if not options:
            return None
        category = options[int(self._rng.integers(len(options)))]
        if any(self._debatable(category, thing) for thing in self._objects):
            return None
        matching = [thing for thing in self._objects if thing.kind in category.kinds]
        if not all(thing.nameable for thing in matching):
            return None
        if len(matching) == 1:
            return self._build_category(category, matching)
        if not category.plural:
            return None
        article = str(self._rng.choice(("the ", "all the ", "all ", "")))
        phrase = self._pick(category.plural)
        return self._build(phrase, "category", matching, article=article)

    def _debatable(self, category: Category, thing: VisibleObject) -> bool:
        return thing.kind == CLUTTER or thing.kind in category.debatable

    def _build_category(
        self, category: Category, targets: Sequence[VisibleObject]
    ) -> ReferringExpression | None:
        phrase = self._pick(category.singular)
        article = "" if phrase.startswith("some") else "the "
        form = "category" if targets else "none"
        return self._build(phrase, form, targets, article=article)

    def _place(self) -> ReferringExpression | None:
        chosen = self._some_object()
        share = self._rng.random()
        what = Description(
            color=chosen.color if share < 0.2 else None, kind=chosen.kind if share < 0.5 else None
        )
        matching = self._matching(what)
        place = str(self._rng.choice(list(PLACES)))
        inside = [_is_at(place, thing) for thing in matching]
        if len(matching) < 2 or inside.count(True) != 1 or inside.count(None):
            return None
        target = matching[inside.index(True)]
        if not target.nameable:
            return None
        phrase = self._pick(PLACES[place]).format(n=self._words(what))
        return self._build(phrase, "place", [target], what)

    # ---- absent targets

    def _none(self) -> ReferringExpression | None:
        share = self._rng.random()
        if share < 0.12:
            noun = str(self._rng.choice(ABSENT_NOUNS))
            color = str(self._rng.choice(HOUSEHOLD_COLORS)) + " " if self._chance(0.3) else ""
            return self._build(color + noun, "none", [])
        if share < 0.2:
            return self._no_category()
        if share < 0.28:
            return self._no_attribute()
        if share < 0.34:
            return self._no_negation() if self._chance(0.5) else self._no_ordinal()
        if share < 0.38:
            return self._no_color()
        return self._near_miss() if share < 0.86 else self._no_relation()

    def _near_miss(self) -> ReferringExpression | None:
        """Draw a kind that is absent, or that is there in other colours only."""
        kinds = {thing.kind for thing in self._objects}
        color: str | None = str(self._rng.choice(HOUSEHOLD_COLORS))
        kind = str(self._rng.choice(self._language.kinds))
        share = self._rng.random()
        if self._nameable and share < 0.35:
            kind = self._some_object().kind  # the right kind in the wrong colour
        elif self._nameable and share < 0.6:
            color = self._some_object().color  # the right colour on the wrong kind
        elif share < 0.95:
            color = None  # an absent kind
        if self._nameable and 0.5 < share < 0.85:
            kind = self._look_alike()
        if kind not in kinds:
            pass
        elif color is None or any(
            thing.kind == kind
            and (self._confusable(color, thing.color) or self._confusable(color, thing.accent))
            for thing in self._objects
        ):
            return None
        what = Description(color=color, kind=kind)
        plural = self._chance(0.08)
        article = "all the " if plural else "the "
        return self._build(self._words(what, plural=plural), "none", [], what, article=article)

    def _look_alike(self) -> str:
        """Choose a kind that looks like that of some thing."""
        present = self._some_object().kind
        groups = [group for group in LOOK_ALIKES if present in group]
        return self._pick(groups[int(self._rng.integers(len(groups)))])

    def _no_color(self) -> ReferringExpression | None:
        color = str(self._rng.choice(HOUSEHOLD_COLORS))
        if any(
            self._confusable(color, thing.color) or self._confusable(color, thing.accent)
            for thing in self._objects
        ):
            return None
        what = Description(color=color, kind=None)
        return self._build(self._words(what), "none", [], what)

    def _no_category(self) -> ReferringExpression | None:
        category = CATEGORIES[int(self._rng.integers(len(CATEGORIES)))]
        if any(
            thing.kind in category.kinds or self._debatable(category, thing)
            for thing in self._objects
        ):
            return None
        return self._build_category(category, [])

    def _no_attribute(self) -> ReferringExpression | None:
        """Draw a surface that the things of a kind do not have."""
        if not self._nameable:
            return None
        kind = self._some_object().kind
        decor = str(self._rng.choice(list(DECOR_WORDS)))
        accent = str(self._rng.choice(HOUSEHOLD_COLORS))
        if any(
            thing.kind == kind and _similar_decor(thing.decor, decor) for thing in self._objects
        ):
            return None
        what = Description(color=None, kind=kind)
        phrase = self._pick(DECOR_WORDS[decor]).format(n=self._words(what), a=accent)
        return self._build(phrase, "none", [], what)

    def _no_size(self) -> ReferringExpression | None:
        return None  # sizes are relative here: some thing of the kind always is the large one


def _similar_decor(a: str, b: str) -> bool:
    return a == b or any(a in group and b in group for group in SIMILAR_DECORS)


def _is_at(place: str, thing: VisibleObject) -> bool | None:
    """Return whether a thing is at a place of the image; None if debatable."""
    u, v = thing.centroid_uv[0] - 0.5, thing.centroid_uv[1] - 0.5
    if place == "middle":
        off = float(np.hypot(u, v))
        return True if off < _MIDDLE else False if off > _NOT_MIDDLE else None
    vertical, horizontal = place.split()
    right = u if horizontal == "right" else -u
    low = v if vertical == "bottom" else -v
    if right > _CORNER and low > _CORNER:
        return True
    return False if right < _NOT_CORNER or low < _NOT_CORNER else None
