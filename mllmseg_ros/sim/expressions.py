# SPDX-License-Identifier: Apache-2.0
"""Referring expressions over one image, with their true targets.

Works on visible objects alone, so expressions are drawn afresh for rendered images. What is said
plainly stands in speaker.py, what is said in more ways in fluent_speaker.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mllmseg_ros.language.vocabulary import PLAIN, Language
from mllmseg_ros.sim.fluent_expressions import FLUENT_FORMS, FluentSpeaker
from mllmseg_ros.sim.plain_expressions import PLAIN_FORMS, ReferringExpression, Speaker
from mllmseg_ros.sim.view import VisibleObject

__all__ = ["draw_expressions", "mirror_objects"]

FORMS = (*PLAIN_FORMS[:-1], *FLUENT_FORMS, "none")
_ROUNDS = 20  # forms drawn before it is said what is absent


def mirror_objects(objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
    """The same objects in the horizontally flipped image (positions_m keep the original's)."""
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
    language: Language = PLAIN,
) -> list[ReferringExpression]:
    """Draw expressions for one image.

    Args:
        objects: all objects of the scene, hidden ones included.
        rng: source of chance.
        n: how many; repetitions are possible.
        no_target_share: share that names nothing.
        forms: draw from these alone; default is all, in fixed shares.
        allow_held_out: whether HELD_OUT pairs may be said; they are whenever such an object is
            there, but name nothing only with this.
        language: the words, and whether they are put in more ways than the plain ones.

    Raises:
        ValueError: if a form is unknown, or forms are none.
    """
    known = (*language.shares, "none")
    if forms is not None and (not forms or set(forms) - set(known)):
        raise ValueError(f"forms are {list(forms)}, expected some of {', '.join(known)}")
    kind_of_speaker = FluentSpeaker if language.fluent else Speaker
    speaker = kind_of_speaker(objects, rng, language, allow_held_out=allow_held_out)
    drawn: list[ReferringExpression] = []
    names: Sequence[str]
    while len(drawn) < n:
        if forms is not None:
            names, shares = forms, None
        elif rng.random() < no_target_share:
            names, shares = ["none"], None
        else:
            names, shares = list(language.shares), list(language.shares.values())
        drawn.append(_one_of(speaker, names, shares, rng))
    return drawn


def _one_of(
    speaker: Speaker,
    names: Sequence[str],
    shares: Sequence[float] | None,
    rng: np.random.Generator,
) -> ReferringExpression:
    """Say something in one of these forms; what is absent where the image offers nothing else."""
    for _ in range(_ROUNDS):
        form = names[0] if len(names) == 1 else str(rng.choice(names, p=shares))
        said = speaker.say(form)
        if said is not None:
            return said
    while True:
        said = speaker.say("none")
        if said is not None:
            return said
