# SPDX-License-Identifier: Apache-2.0
"""Referring expressions over one image, with their true targets.

Made of visible objects only, so that rendered images get new expressions each time. See
plain_expressions.py for the plain forms, fluent_expressions.py and wide_expressions.py for more
varied ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.language.vocabulary import PLAIN, Vocabulary
from mllmseg_ros.sim.fluent_expressions import FLUENT_FORMS, FluentExpressions
from mllmseg_ros.sim.plain_expressions import PLAIN_FORMS, PlainExpressions, ReferringExpression
from mllmseg_ros.sim.view import VisibleObject
from mllmseg_ros.sim.wide_expressions import WIDE_FORMS, WideExpressions

__all__ = ["draw_expressions", "mirror_objects"]

FORMS = (*PLAIN_FORMS[:-1], *FLUENT_FORMS, *WIDE_FORMS, "none")
_ROUNDS = 20  # forms tried before an expression without a target is drawn


def mirror_objects(objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
    """Mirror objects like a horizontally flipped image (positions_m stay as they are)."""
    return tuple(
        replace(thing, centroid_uv=(1 - thing.centroid_uv[0], thing.centroid_uv[1]))
        for thing in objects
    )


def draw_expressions(
    objects: Sequence[VisibleObject],
    rng: np.random.Generator,
    n: int,
    *,
    no_target_share: float = 0.2,
    forms: Sequence[str] | None = None,
    allow_held_out: bool = False,
    language: Vocabulary = PLAIN,
) -> list[ReferringExpression]:
    """Draw expressions for one image.

    Args:
        objects: all objects of the scene, including hidden ones.
        rng: random generator.
        n: number of expressions; repetitions are possible.
        no_target_share: share of expressions without a target.
        forms: draw only from these; None for all, in fixed shares.
        allow_held_out: whether HELD_OUT pairs may be used in expressions without a target; for
            visible objects they always are.
        language: vocabulary, and whether to use the fluent forms.

    Raises:
        ValueError: if a form is unknown, or forms is empty.
    """
    known = (*language.shares, "none")
    if forms is not None and (not forms or set(forms) - set(known)):
        raise ValueError(f"forms are {list(forms)}, expected some of {', '.join(known)}")
    kind = FluentExpressions if language.fluent else PlainExpressions
    generator = (WideExpressions if language.wide else kind)(
        objects, rng, language, allow_held_out=allow_held_out
    )
    drawn: list[ReferringExpression] = []
    names: Sequence[str]
    while len(drawn) < n:
        if forms is not None:
            names, shares = forms, None
        elif rng.random() < no_target_share:
            names, shares = ["none"], None
        else:
            names, shares = list(language.shares), list(language.shares.values())
        drawn.append(_draw_one(generator, names, shares, rng))
    return drawn


def _draw_one(
    generator: PlainExpressions,
    names: Sequence[str],
    shares: Sequence[float] | None,
    rng: np.random.Generator,
) -> ReferringExpression:
    """Draw an expression of one of these forms; one without a target if none is possible."""
    for _ in range(_ROUNDS):
        form = names[0] if len(names) == 1 else str(rng.choice(names, p=shares))
        expression = generator.draw(form)
        if expression is not None:
            return expression
    while True:
        expression = generator.draw("none")
        if expression is not None:
            return expression
