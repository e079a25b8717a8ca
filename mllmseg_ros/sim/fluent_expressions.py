# SPDX-License-Identifier: Apache-2.0
"""Referring expressions in varied wording: requests, paraphrases and harder forms.

Beside the plain forms: negations, ordinals, counts, two relations at once, and exceptions. As with
those, every expression is clearly true or clearly false.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mllmseg_ros.language.vocabulary import (
    ALL_COLORED,
    ALL_NOT_COLORED,
    COLORED,
    COUNTS,
    EXCEPT,
    NOT_A_KIND,
    NOT_COLORED,
    ORDINALS,
    RELATIONS,
    SUPERLATIVES,
)
from mllmseg_ros.sim.plain_expressions import (
    CLEAR_M,
    CLEAR_UV,
    Description,
    Form,
    PlainExpressions,
    ReferringExpression,
    along,
    holds,
)
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["FluentExpressions"]

FLUENT_FORMS = ("negation", "ordinal", "count", "compound", "except")
_TYPO_SHARE = 0.03
_MIN_TYPO_LETTERS = 5  # of the word
# Between two things, as shares of the line from one to the other and of the image's height.
_MIN_LINE, _WELL_WITHIN, _OFF_LINE, _SURELY_OFF_LINE = 0.25, 0.2, 0.1, 0.2
_MAX_ALL = 8  # objects in an image of which "everything but" is said


class FluentExpressions(PlainExpressions):
    """Draws plain and fluent expressions for one image."""

    def _form_methods(self) -> dict[str, Form]:
        return super()._form_methods() | {
            "negation": self._negation,
            "ordinal": self._ordinal,
            "count": self._count,
            "compound": self._compound,
            "except": self._except,
        }

    # ---- pieces

    def _words(self, what: Description, *, plural: bool = False) -> str:
        if what.color is None or not self._chance(0.18):
            return super()._words(what, plural=plural)
        noun = super()._words(Description(color=None, kind=what.kind), plural=plural)
        return self._pick(ALL_COLORED if plural else COLORED).format(n=noun, c=what.color)

    def _build(
        self,
        phrase: str,
        form: str,
        targets: Sequence[VisibleObject],
        *mentioned: Description,
        article: str = "the ",
    ) -> ReferringExpression | None:
        plain = super()._build(phrase, form, targets, *mentioned, article=article)
        if plain is None:
            return None
        text = plain.text
        if self._chance(0.05):
            text = text.replace(" the ", " ")
        if text[0].islower() and self._chance(0.35):
            text = self._pick(self._language.requests).format(x=text)
        if self._chance(_TYPO_SHARE):
            text = self._add_typo(text)
        return ReferringExpression(
            text=text, form=form, targets=plain.targets, uses_held_out=plain.uses_held_out
        )

    def _add_typo(self, text: str) -> str:
        """Swap two letters of a longer word, but not the first."""
        words = text.split(" ")
        long = [index for index, word in enumerate(words) if len(word) >= _MIN_TYPO_LETTERS]
        if not long:
            return text
        index = long[int(self._rng.integers(len(long)))]
        word = words[index]
        at = int(self._rng.integers(1, len(word) - 1))
        words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return " ".join(words)

    # ---- forms

    def _size_kind(self) -> ReferringExpression | None:
        """Draw a plain one, or one with a superlative."""
        if self._chance(0.7):
            return super()._size_kind()
        chosen = self._some_object()
        what = Description(color=None, kind=chosen.kind)
        matching = self._matching(what)
        same_size = [thing for thing in matching if thing.size_name == chosen.size_name]
        if len(matching) < 2 or len(same_size) != 1:
            return None
        phrase = f"{self._pick(SUPERLATIVES[chosen.size_name])} {self._words(what)}"
        return self._build(phrase, "size_kind", [chosen], what)

    def _negation(self) -> ReferringExpression | None:
        chosen = self._some_object()
        if self._chance(0.3):
            return self._not_a_kind(chosen)
        what = Description(color=None, kind=chosen.kind)
        matching = self._matching(what)
        color = matching[int(self._rng.integers(len(matching)))].color
        targets = [thing for thing in matching if thing.color != color]
        if not targets or not all(thing.nameable for thing in targets):
            return None
        plural = len(targets) > 1
        options = ALL_NOT_COLORED if plural else NOT_COLORED
        phrase = self._pick(options).format(n=self._words(what, plural=plural), c=color)
        return self._build(phrase, "negation", targets, what)

    def _not_a_kind(self, chosen: VisibleObject) -> ReferringExpression | None:
        what = Description(color=chosen.color, kind=None)
        matching = self._matching(what)
        targets = [thing for thing in matching if thing.kind != chosen.kind]
        if len(targets) != 1 or not targets[0].nameable:
            return None
        kind = self._words(Description(color=None, kind=chosen.kind))
        phrase = self._pick(NOT_A_KIND).format(n=f"{chosen.color} thing", k=kind)
        return self._build(phrase, "negation", targets, what)

    def _ordinal(self) -> ReferringExpression | None:
        chosen = self._some_object()
        what = Description(color=chosen.color if self._chance(0.3) else None, kind=chosen.kind)
        if self._chance(0.2):
            what = Description(color=chosen.color, kind=None)
        side = str(self._rng.choice(("left", "right", "left", "right", "front")))
        order = sorted(self._matching(what), key=lambda thing: along(side, thing))
        if len(order) < 3 or not all(thing.nameable for thing in order):
            return None
        rank = int(self._rng.integers(1, min(len(order), len(ORDINALS))))
        clear = CLEAR_M if side == "front" else CLEAR_UV
        near = order[rank - 1 : rank + 2]
        gaps = [along(side, b) - along(side, a) for a, b in pairwise(near)]
        if min(gaps) < clear:
            return None
        words = self._words(what)
        if side == "front":
            phrase = f"{ORDINALS[rank]} closest {words}"
        elif len(order) == 3 and rank == 1 and self._chance(0.4):
            phrase = self._pick((f"middle {words}", f"{words} in the middle"))
        else:
            phrase = f"{ORDINALS[rank]} {words} from the {side}"
        return self._build(phrase, "ordinal", [order[rank]], what)

    def _count(self) -> ReferringExpression | None:
        chosen = self._some_object()
        share = self._rng.random()
        what = Description(
            color=chosen.color if share < 0.5 else None, kind=chosen.kind if share > 0.25 else None
        )
        matching = self._matching(what)
        if not 2 <= len(matching) < len(COUNTS) or not all(t.nameable for t in matching):
            return None
        article = str(self._rng.choice(("the ", "all ", "")))
        phrase = f"{COUNTS[len(matching)]} {self._words(what, plural=True)}"
        return self._build(phrase, "count", matching, what, article=article)

    def _compound(self) -> ReferringExpression | None:
        if len(self._nameable) < 3:
            return None
        chosen, a, b = (self._some_object() for _ in range(3))
        first, second = self._unique_description(a), self._unique_description(b)
        share = self._rng.random()
        what = Description(
            color=chosen.color if share < 0.35 else None, kind=chosen.kind if share < 0.8 else None
        )
        if len({chosen.instance_id, a.instance_id, b.instance_id}) < 3 or not (first and second):
            return None
        if what.kind is not None and (what.fits(a) or what.fits(b)):
            return None
        others = [thing for thing in self._matching(what) if thing not in (a, b)]
        if self._chance(0.45):
            holding = [_between(thing, a, b) for thing in others]
            phrase = (
                f"{self._words(what)} between the {self._words(first)}"
                f" and the {self._words(second)}"
            )
        else:
            sides = [str(side) for side in self._rng.choice(list(RELATIONS), 2)]
            holding = [
                _both(holds(sides[0], thing, a), holds(sides[1], thing, b)) for thing in others
            ]
            phrase = (
                f"{self._related(what, sides[0], first)} and"
                f" {self._pick(self._language.relations[sides[1]])} the {self._words(second)}"
            )
        if holding.count(True) != 1 or holding.count(None):
            return None
        target = others[holding.index(True)]
        if not target.nameable or (len(others) == 1 and self._chance(0.5)):
            return None
        return self._build(phrase, "compound", [target], what, first, second)

    def _except(self) -> ReferringExpression | None:
        chosen = self._some_object()
        but = self._pick(EXCEPT)
        if self._chance(0.4):
            what = self._unique_description(chosen)
            if what is None or len(self._objects) > _MAX_ALL:
                return None
            targets = [thing for thing in self._objects if thing is not chosen]
            everything = self._pick(("everything", "all objects", "all things"))
            phrase = f"{everything} {but} the {self._words(what)}"
        else:
            what = Description(color=None, kind=chosen.kind)
            matching = self._matching(what)
            targets = [thing for thing in matching if thing.color != chosen.color]
            if len(matching) != len(targets) + 1:
                return None
            words = self._words(what, plural=True)
            phrase = f"all the {words} {but} the {chosen.color} one"
        if len(targets) < 2 or not all(thing.nameable for thing in targets):
            return None
        return self._build(phrase, "except", targets, what, article="")

    def _none(self) -> ReferringExpression | None:
        share = self._rng.random()
        if share < 0.1:
            return self._no_negation()
        return self._no_ordinal() if share < 0.18 else super()._none()

    def _no_negation(self) -> ReferringExpression | None:
        """Draw a negation of the only colour that the kind has."""
        if not self._nameable:
            return None
        chosen = self._some_object()
        what = Description(color=None, kind=chosen.kind)
        if any(thing.color != chosen.color for thing in self._matching(what)):
            return None
        phrase = self._pick(NOT_COLORED).format(n=self._words(what), c=chosen.color)
        return self._build(phrase, "none", [], what)

    def _no_ordinal(self) -> ReferringExpression | None:
        """Draw an ordinal beyond the number of matching objects."""
        if not self._nameable:
            return None
        chosen = self._some_object()
        what = Description(color=chosen.color if self._chance(0.3) else None, kind=chosen.kind)
        n = len(self._matching(what))
        if n >= len(ORDINALS):
            return None
        rank = int(self._rng.integers(n, len(ORDINALS)))
        side = self._pick(("left", "right"))
        phrase = f"{ORDINALS[rank]} {self._words(what)} from the {side}"
        return self._build(phrase, "none", [], what)


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return True if first and second else None


def _between(thing: VisibleObject, a: VisibleObject, b: VisibleObject) -> bool | None:
    """Return whether an object is between two others in the image; None if debatable."""
    if not thing.nameable:
        return None
    at, start, end = (
        np.array((one.centroid_uv[0] * 4 / 3, one.centroid_uv[1])) for one in (thing, a, b)
    )
    line = end - start
    length = float(np.linalg.norm(line))
    if length < _MIN_LINE:
        return None
    along_line = float((at - start) @ line) / length**2
    off_line = abs(float(line[0] * (at - start)[1] - line[1] * (at - start)[0])) / length
    if _WELL_WITHIN < along_line < 1 - _WELL_WITHIN and off_line < _OFF_LINE:
        return True
    return False if off_line > _SURELY_OFF_LINE or not -0.05 < along_line < 1.05 else None
