# SPDX-License-Identifier: Apache-2.0
"""Shapes of household things, by families of random profiles: no two mugs are alike.

Each family draws proportions, parts and colours of parts anew. Handles, spouts and beaks point
along +x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.language.vocabulary import CLUTTER
from mllmseg_ros.sim.parts import RGB, Ball, Box, Part, Point, Revolved, Rod, Shape, Skin
from mllmseg_ros.sim.skins import DECORS, MATERIALS

__all__ = ["SHAPES", "Look", "random_shape"]

Profile = list[tuple[float, float]]

_DARK: RGB = (0.09, 0.09, 0.1)
_STEEL: RGB = (0.66, 0.67, 0.7)
_PAPER: RGB = (0.88, 0.85, 0.76)
_LEAF: RGB = (0.2, 0.42, 0.14)
_STALK: RGB = (0.35, 0.24, 0.12)
_FLAME: RGB = (1.0, 0.75, 0.25)


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours and surface of a thing."""

    rgb: RGB  # of its named colour
    accent: RGB  # of handles and lids
    decor: str  # of its main part; a key of skins.DECORS or MATERIALS
    second: RGB  # of that decor
    seed: int


class _Maker:
    """Draws the parts of one thing."""

    def __init__(self, look: Look) -> None:
        self.rng = np.random.default_rng(look.seed)
        self.parts: list[Part] = []
        self.base = Skin(rgb=look.rgb)
        self.accent = Skin(rgb=look.accent)
        self.main = Skin(
            rgb=look.rgb, name=look.decor, second=look.second, seed=int(self.rng.integers(2**31))
        )

    def u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def turned(self, profile: Sequence[tuple[float, float]], skin: Skin | None = None) -> None:
        self.parts.append(Revolved(skin=skin or self.main, profile=tuple(profile)))

    def box(self, center: Point, half: Point, skin: Skin | None = None, **turns: float) -> None:
        self.parts.append(Box(skin=skin or self.base, center=center, half=half, **turns))

    def ball(self, center: Point, half: Point, skin: Skin | None = None, **turns: float) -> None:
        self.parts.append(Ball(skin=skin or self.base, center=center, half=half, **turns))

    def rod(self, start: Point, end: Point, radius: float, skin: Skin | None = None) -> None:
        self.parts.append(Rod(skin=skin or self.base, start=start, end=end, radius=radius))

    def chain(self, points: NDArray[np.float64], radius: float, skin: Skin) -> None:
        places = [(float(x), float(y), float(z)) for x, y, z in points]
        for start, end in itertools.pairwise(places):
            self.rod(start, end, radius, skin)

    def any_skin(self) -> Skin:
        """Of the thing's own colour, of its second one, or white."""
        share = self.rng.random()
        if share < 0.45:
            return self.base
        return self.accent if share < 0.6 else Skin(rgb=(0.93, 0.93, 0.91))

    def vessel(self, outer: Profile, wall: float, inside: Skin | None = None) -> None:
        """Add an open vessel: its outside, and its inside in a colour of its own."""
        self.turned([(0.0, 0.0), *outer])
        top_r, top_z = outer[-1]
        floor = 0.06 * top_z + 0.002
        inner = [(max(r - wall, 0.0005), max(z, floor)) for r, z in reversed(outer)]
        skin = inside or self.any_skin()
        self.turned([(top_r, top_z), *inner, (0.0, floor)], skin)

    def handle(
        self, x: float, low: float, high: float, out: float, radius: float, skin: Skin
    ) -> None:
        """Add a handle at +x between two heights."""
        middle, half = (low + high) / 2, (high - low) / 2
        if self.chance(0.25):  # angular
            corners = [(x, low), (x + out, low), (x + out, high), (x, high)]
            points = np.array([(a, 0.0, z) for a, z in corners])
        else:
            turn = np.linspace(-np.pi / 2, np.pi / 2, 7)
            lean = self.u(-0.25, 0.35)
            points = np.stack(
                [
                    x + out * np.cos(turn) * (1 + lean * np.sin(turn)),
                    0 * turn,
                    middle + half * np.sin(turn),
                ],
                axis=1,
            )
        self.chain(points, radius, skin)


def _shade(rgb: RGB, light: float) -> RGB:
    r, g, b = (min(1.0, light * c) for c in rgb)
    return r, g, b


def _curve(points: Sequence[tuple[float, float]], n: int = 4) -> Profile:
    """Smooth a profile by Catmull-Rom splines with n points per piece."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, n, endpoint=False)[:, None]
    pieces = [
        0.5
        * (
            2 * p[i]
            + (p[i + 1] - p[i - 1]) * t
            + (2 * p[i - 1] - 5 * p[i] + 4 * p[i + 1] - p[i + 2]) * t**2
            + (3 * p[i] - p[i - 1] - 3 * p[i + 1] + p[i + 2]) * t**3
        )
        for i in range(1, len(p) - 2)
    ]
    smooth = np.concatenate([*pieces, p[-1:]])
    return [(max(float(r), 0.0005), max(float(z), 0.0)) for r, z in smooth]


# ---- vessels


def _mug(m: _Maker) -> None:
    bottom, height = m.u(0.029, 0.05), m.u(0.065, 0.15)
    top, belly = bottom * m.u(0.88, 1.35), m.u(0.93, 1.16)
    middle = (bottom + top) / 2 * belly
    outer = [(bottom * 0.95, 0.0), *_curve([(bottom, 0.003), (middle, height / 2), (top, height)])]
    m.vessel(outer, m.u(0.002, 0.005))
    if m.chance(0.92):
        reach = m.u(0.02, 0.042)
        low, high = height * m.u(0.12, 0.3), height * m.u(0.68, 0.92)
        skin = m.base if m.chance(0.75) else m.accent
        m.handle(min(bottom, top, middle) * 0.96, low, high, reach, m.u(0.0035, 0.009), skin)


def _bowl(m: _Maker) -> None:
    radius = m.u(0.045, 0.11)
    height, foot, power = radius * m.u(0.4, 0.95), radius * m.u(0.35, 0.88), m.u(0.35, 1.0)
    up = np.linspace(0, 1, 7)
    outer = [
        (foot + (radius - foot) * float(t) ** power, 0.004 + (height - 0.004) * float(t))
        for t in up
    ]
    m.vessel([(foot * 0.96, 0.0), *outer], m.u(0.002, 0.006))


def _plate(m: _Maker) -> None:
    radius, height = m.u(0.06, 0.145), m.u(0.008, 0.028)
    flat = radius * m.u(0.55, 0.8)
    middle = m.any_skin() if m.chance(0.4) else m.base
    m.turned([(0.0, 0.0), (flat * 0.9, 0.0), (flat, height * 0.35), (radius, height)], m.base)
    m.turned(
        [(radius, height), (radius * 0.985, height), (flat, height * 0.5), (flat * 0.93, 0.005)],
        replace(m.main, name=m.main.name if m.chance(0.6) else "plain"),
    )
    m.turned([(flat * 0.93, 0.005), (0.0, 0.004)], middle)
    if m.chance(0.2):
        m.turned([(flat * 0.97, height * 0.52), (flat * 0.9, height * 0.5)], m.accent)


def _bottle(m: _Maker) -> None:
    radius, height = m.u(0.024, 0.043), m.u(0.16, 0.32)
    neck = radius * m.u(0.26, 0.5)
    shoulder, start = height * m.u(0.42, 0.68), height * m.u(0.7, 0.84)
    waist = radius * m.u(0.9, 1.05)
    outer = [
        (radius * 0.92, 0.0),
        (radius, 0.005),
        (waist, shoulder / 2),
        (radius, shoulder),
        ((radius + neck) / 2 * m.u(0.9, 1.1), (shoulder + start) / 2),
        (neck, start),
        (neck * m.u(0.85, 1.0), height * 0.93),
    ]
    top = height * 0.93
    m.turned([(0.0, 0.0), *outer, (0.0, top)], m.base if m.main.name == "labelled" else m.main)
    if m.main.name == "labelled" or m.chance(0.3):  # a band of paper around the body
        low, high = shoulder * m.u(0.1, 0.35), shoulder * m.u(0.6, 0.97)
        paper = Skin(rgb=m.accent.rgb, name="labelled", second=m.any_skin().rgb, seed=m.main.seed)
        m.turned([(radius * 1.025, low), (radius * 1.025, high)], paper)
    cap = m.accent if m.chance(0.6) else Skin(rgb=_STEEL) if m.chance(0.4) else m.base
    wide = neck * m.u(1.0, 1.5)
    m.turned([(wide, height * 0.9), (wide, height), (0.0, height)], cap)


def _can(m: _Maker) -> None:
    radius, height = m.u(0.024, 0.047), m.u(0.055, 0.16)
    steel = Skin(rgb=_STEEL if m.chance(0.8) else m.accent.rgb)
    rim = radius * m.u(0.85, 0.98)
    m.turned([(radius, 0.004), (radius, height - 0.004)])
    m.turned([(0.0, 0.0), (rim, 0.0), (radius, 0.004)], steel)
    m.turned(
        [(radius, height - 0.004), (rim, height), (rim * 0.95, height), (0.0, height - 0.003)],
        steel,
    )


def _jar(m: _Maker) -> None:
    radius, height = m.u(0.03, 0.055), m.u(0.06, 0.14)
    neck, top = radius * m.u(0.72, 0.95), height * m.u(0.74, 0.86)
    m.turned(
        [
            (0.0, 0.0),
            *_curve([(radius * 0.95, 0.0), (radius, height * 0.3), (radius, top * 0.85)]),
            (neck, top),
            (neck, height * 0.9),
        ]
    )
    lid = neck * m.u(1.03, 1.15)
    m.turned([(lid, top), (lid, height), (0.0, height)], m.accent)


def _glass(m: _Maker) -> None:
    radius, height = m.u(0.026, 0.045), m.u(0.12, 0.21)
    stem, foot = height * m.u(0.35, 0.55), radius * m.u(0.8, 1.1)
    clear = replace(m.base, opacity=1.0 if m.chance(0.5) else m.u(0.4, 0.8))
    thin = m.u(0.003, 0.006)
    m.turned([(0.0, 0.0), (foot, 0.0), (foot, 0.003), (thin, 0.008), (thin, stem)], clear)
    belly = radius * m.u(1.0, 1.25)
    bowl = _curve([(thin, stem), (belly, stem + (height - stem) * 0.4), (radius, height)])
    m.turned([*bowl, *[(max(r - 0.002, 0.0004), z) for r, z in reversed(bowl)]], clear)


def _jug(m: _Maker) -> None:
    bottom, height = m.u(0.04, 0.058), m.u(0.13, 0.22)
    belly, neck = bottom * m.u(1.0, 1.3), bottom * m.u(0.65, 0.95)
    outer = _curve(
        [
            (bottom, 0.0),
            (belly, height * m.u(0.25, 0.45)),
            (neck, height * 0.8),
            (neck * 1.15, height),
        ]
    )
    m.vessel(outer, 0.003)
    m.handle(
        -neck * 0.9, height * 0.25, height * 0.88, -m.u(0.035, 0.06), m.u(0.005, 0.008), m.base
    )
    m.rod((neck * 0.9, 0, height * 0.9), (neck * 1.45, 0, height * 0.99), 0.009)


def _vase(m: _Maker) -> None:
    height, radius = m.u(0.12, 0.26), m.u(0.035, 0.06)
    neck = radius * m.u(0.3, 0.65)
    outer = _curve(
        [
            (radius * m.u(0.5, 0.85), 0.0),
            (radius, height * m.u(0.25, 0.5)),
            (neck, height * m.u(0.72, 0.88)),
            (neck * m.u(1.1, 1.8), height),
        ]
    )
    m.vessel(outer, 0.003, Skin(rgb=_DARK) if m.chance(0.5) else m.base)


def _pot(m: _Maker) -> None:
    radius, height = m.u(0.06, 0.1), m.u(0.055, 0.12)
    m.vessel([(radius * 0.95, 0.0), (radius, 0.006), (radius, height)], 0.003)
    skin = m.accent if m.chance(0.6) else m.base
    for side in (-1, 1):
        at = height * m.u(0.7, 0.85)
        points = np.array(
            [
                (side * radius, -0.02, at),
                (side * (radius + 0.022), -0.015, at),
                (side * (radius + 0.022), 0.015, at),
                (side * radius, 0.02, at),
            ]
        )
        m.chain(points, 0.0045, skin)
    if m.chance(0.6):
        m.turned([(radius * 1.02, height), (radius * 0.6, height * 1.1), (0.0, height * 1.14)])
        m.ball((0, 0, height * 1.2), (0.011, 0.011, 0.009), skin)


def _pan(m: _Maker) -> None:
    radius, height = m.u(0.06, 0.105), m.u(0.022, 0.045)
    inside = Skin(rgb=_DARK) if m.chance(0.5) else m.base
    m.vessel([(radius * m.u(0.78, 0.95), 0.0), (radius, height)], 0.003, inside)
    skin = m.base if m.chance(0.4) else m.accent if m.chance(0.5) else Skin(rgb=_DARK)
    reach = radius + m.u(0.08, 0.15)
    m.rod((radius * 0.97, 0, height * 0.85), (reach, 0, height * m.u(0.9, 1.5)), 0.008, skin)


def _teapot(m: _Maker) -> None:
    radius, height = m.u(0.045, 0.068), m.u(0.075, 0.125)
    base = radius * m.u(0.55, 0.9)
    outer = _curve(
        [(base, 0.0), (radius, height * m.u(0.35, 0.6)), (radius * m.u(0.5, 0.8), height)]
    )
    m.turned([(0.0, 0.0), *outer])
    top_r = outer[-1][0]
    lid = m.accent if m.chance(0.3) else m.base
    m.turned([(top_r, height), (top_r * 0.6, height * 1.1), (0.0, height * 1.13)], lid)
    m.ball((0, 0, height * 1.19), (0.009, 0.009, 0.009), m.accent)
    m.rod(
        (radius * 0.8, 0, height * 0.35),
        (radius * m.u(1.5, 1.9), 0, height * m.u(0.75, 1.0)),
        m.u(0.007, 0.011),
    )
    skin = m.accent if m.chance(0.3) else m.base
    m.handle(-radius * 0.9, height * 0.2, height * 0.9, -m.u(0.03, 0.05), 0.0065, skin)


def _basket(m: _Maker) -> None:
    x, y, height = m.u(0.06, 0.1), m.u(0.05, 0.085), m.u(0.05, 0.12)
    skin = replace(m.main, name="weave", second=_shade(m.base.rgb, 0.6))
    m.box((0, 0, 0.004), (x, y, 0.004), skin)
    for side in (-1, 1):
        m.box((side * x, 0, height / 2), (0.004, y, height / 2), skin, tilt_rad=side * 0.12)
        m.box((0, side * y, height / 2), (x, 0.004, height / 2), skin)
    if m.chance(0.4):
        turn = np.linspace(0, np.pi, 8)
        points = np.stack([x * np.cos(turn), 0 * turn, height + 0.07 * np.sin(turn)], axis=1)
        m.chain(points, 0.004, m.base)


def _tray(m: _Maker) -> None:
    x, y, height = m.u(0.09, 0.14), m.u(0.07, 0.11), m.u(0.01, 0.022)
    m.box((0, 0, 0.004), (x, y, 0.003), m.main)
    for side in (-1, 1):
        m.box((side * x, 0, height / 2), (0.004, y, height / 2))
        m.box((0, side * y, height / 2), (x, 0.004, height / 2))


def _plant(m: _Maker) -> None:
    radius, height = m.u(0.03, 0.05), m.u(0.05, 0.09)
    m.vessel([(radius * 0.75, 0.0), (radius, height)], 0.004, Skin(rgb=_STALK))
    leaf = Skin(rgb=_shade(_LEAF, m.u(0.8, 1.3)))
    for _ in range(int(m.rng.integers(4, 9))):
        turn, tall = m.u(0, 2 * np.pi), m.u(0.02, 0.09)
        x, y = 0.03 * math.cos(turn), 0.03 * math.sin(turn)
        m.ball(
            (x, y, height + tall * 0.7),
            (m.u(0.01, 0.02), m.u(0.006, 0.012), tall * 0.6),
            leaf,
            yaw_rad=turn,
            tilt_rad=m.u(0.1, 0.8),
        )


# ---- fruit and food


def _round_fruit(m: _Maker, flat: float, stalk: RGB, stalk_m: float) -> None:
    radius = m.u(0.028, 0.045)
    turn = np.linspace(-np.pi / 2, np.pi / 2, 11)
    dent = m.u(0.1, 0.3)
    profile = [
        (
            radius * float(np.cos(t)),
            radius * flat * (1 + float(np.sin(t)))
            - (dent * radius * float(np.exp(-8 * np.cos(t) ** 2)) if t > 0 else 0.0),
        )
        for t in turn
    ]
    blush = replace(m.base, name="worn", second=_shade(m.base.rgb, 0.85), seed=m.main.seed)
    m.turned(profile, blush)
    top = profile[-1][1]
    m.rod((0, 0, top), (0.004, 0.002, top + stalk_m), 0.0022, Skin(rgb=stalk))


def _apple(m: _Maker) -> None:
    _round_fruit(m, m.u(0.85, 1.0), _STALK, 0.016)
    if m.chance(0.3):
        top = m.parts[0].profile[-1][1]  # type: ignore[union-attr]
        m.ball((0.014, 0, top + 0.012), (0.014, 0.007, 0.002), Skin(rgb=_LEAF))


def _tomato(m: _Maker) -> None:
    _round_fruit(m, m.u(0.72, 0.88), _LEAF, 0.008)
    top = m.parts[0].profile[-1][1]  # type: ignore[union-attr]
    for turn in np.arange(5) * 2 * np.pi / 5:
        x, y = 0.011 * math.cos(turn), 0.011 * math.sin(turn)
        m.ball((x, y, top + 0.003), (0.011, 0.0035, 0.002), Skin(rgb=_LEAF), yaw_rad=float(turn))


def _orange(m: _Maker) -> None:
    radius = m.u(0.033, 0.045)
    skin = replace(m.base, name="speckle", second=_shade(m.base.rgb, 0.93), seed=m.main.seed)
    m.ball((0, 0, radius), (radius, radius, radius * m.u(0.93, 1.0)), skin)
    m.ball((0.002, 0, 2 * radius - 0.001), (0.004, 0.004, 0.002), Skin(rgb=_LEAF))


def _lemon(m: _Maker) -> None:
    length, radius = m.u(0.034, 0.045), m.u(0.024, 0.03)
    m.ball((0, 0, radius), (length, radius, radius))
    for side in (-1, 1):
        m.ball((side * length * 0.95, 0, radius), (0.009, 0.006, 0.006))


def _pear(m: _Maker) -> None:
    radius, height = m.u(0.028, 0.038), m.u(0.08, 0.11)
    m.turned(
        _curve(
            [
                (radius * 0.4, 0.0),
                (radius, height * 0.28),
                (radius * 0.62, height * 0.62),
                (radius * 0.42, height * 0.88),
                (0.0, height * 0.96),
            ]
        ),
        replace(m.base, name="worn", second=_shade(m.base.rgb, 0.85), seed=m.main.seed),
    )
    m.rod((0, 0, height * 0.95), (0.006, 0, height * 1.1), 0.002, Skin(rgb=_STALK))


def _banana(m: _Maker) -> None:
    reach, bend, thick = m.u(0.07, 0.1), m.u(0.75, 1.35), m.u(0.014, 0.022)
    turn = np.linspace(-bend, bend, 9)
    arc = reach / math.sin(bend)
    points = np.stack(
        [arc * np.sin(turn), arc * (np.cos(turn) - math.cos(bend / 2)), 0 * turn + thick], axis=1
    )
    for index in range(8):
        radius = thick * (0.62 + 0.38 * math.sin(math.pi * (index + 0.5) / 8))
        a, b = ((float(x), float(y), float(z)) for x, y, z in points[index : index + 2])
        m.rod(a, b, radius)
    x, y, z = (float(value) for value in points[-1])
    m.rod((x, y, z), (x + 0.008, y - 0.016, z), thick * 0.35, Skin(rgb=_STALK))


def _carrot(m: _Maker) -> None:
    length, thick = m.u(0.07, 0.11), m.u(0.013, 0.02)
    for index in range(5):
        x = -length + 2 * length * index / 5
        m.rod((x, 0, thick), (x + 0.4 * length, 0, thick), thick * (0.35 + 0.16 * index))
    for y in (-0.012, 0, 0.012):
        m.rod((length, 0, thick), (length + 0.045, y, thick + 0.008), 0.004, Skin(rgb=_LEAF))


def _egg(m: _Maker) -> None:
    length, radius = m.u(0.027, 0.034), m.u(0.02, 0.025)
    m.ball((0, 0, radius), (length, radius, radius))
    m.ball((-0.004, 0, radius), (length * 0.86, radius * 1.02, radius * 1.02))


def _mushroom(m: _Maker) -> None:
    radius, height = m.u(0.025, 0.042), m.u(0.04, 0.065)
    m.turned([(0.011, 0.0), (0.009, height * 0.6), (0.0, height * 0.6)], Skin(rgb=_PAPER))
    m.turned(_curve([(radius, height * 0.5), (radius * 0.8, height * 0.85), (0.0, height)]))


def _bread(m: _Maker) -> None:
    x, y, z = m.u(0.07, 0.11), m.u(0.04, 0.055), m.u(0.028, 0.04)
    skin = replace(m.base, name="worn", second=_shade(m.base.rgb, 0.6))
    m.ball((0, 0, z), (x, y, z), replace(skin, seed=m.main.seed))
    for at in np.linspace(-0.5, 0.5, int(m.rng.integers(2, 5))):
        slash = Skin(rgb=_PAPER)
        m.ball((float(at) * x, 0, 2 * z - 0.006), (0.006, y * 0.6, 0.005), slash, yaw_rad=0.5)


# ---- cutlery and tools


def _spoon(m: _Maker) -> None:
    length, width = m.u(0.025, 0.042), m.u(0.016, 0.028)
    m.ball((0.07, 0, 0.009), (length, width, m.u(0.005, 0.009)))
    skin = m.base if m.chance(0.75) else m.accent
    m.rod((0.07 - length * 0.8, 0, 0.009), (-m.u(0.06, 0.12), 0, 0.01), m.u(0.003, 0.008), skin)


def _knife(m: _Maker) -> None:
    blade = Skin(rgb=_STEEL)
    length, wide = m.u(0.06, 0.1), m.u(0.008, 0.015)
    m.box((length, 0, 0.006), (length, wide, 0.0012), blade)
    m.ball((2 * length, 0, 0.006), (0.02, wide, 0.0014), blade)
    m.rod((-0.005, 0, 0.008), (-m.u(0.08, 0.11), 0, 0.008), m.u(0.007, 0.011))


def _fork(m: _Maker) -> None:
    wide, reach = m.u(0.009, 0.014), m.u(0.1, 0.13)
    m.box((0.055, 0, 0.008), (0.012, wide, 0.0015))
    for y in np.linspace(-wide, wide, int(m.rng.integers(3, 5))):
        m.rod((0.062, float(y), 0.008), (reach, float(y), 0.011), 0.0017)
    skin = m.base if m.chance(0.7) else m.accent
    m.rod((0.045, 0, 0.008), (-m.u(0.07, 0.11), 0, 0.008), m.u(0.003, 0.006), skin)


def _pen(m: _Maker) -> None:
    length, thick = m.u(0.055, 0.08), m.u(0.004, 0.007)
    m.rod((-length, 0, thick), (length * 0.7, 0, thick), thick)
    m.rod((length * 0.7, 0, thick), (length, 0, thick), thick * 0.5, m.accent)
    m.rod((-length, 0, thick), (-length * 0.45, 0, thick), thick * 1.12, m.accent)


def _remote(m: _Maker) -> None:
    x, y, z = m.u(0.06, 0.095), m.u(0.018, 0.026), m.u(0.006, 0.012)
    m.box((0, 0, z), (x, y, z))
    button = Skin(rgb=m.accent.rgb if m.chance(0.5) else _PAPER)
    for column in np.linspace(-0.7, 0.7, int(m.rng.integers(4, 8))):
        for row in (-0.5, 0.0, 0.5):
            m.ball((float(column) * x, row * y, 2 * z), (0.0035, 0.0035, 0.002), button)


def _phone(m: _Maker) -> None:
    x, y, z = m.u(0.065, 0.082), m.u(0.033, 0.04), 0.0045
    m.box((0, 0, z), (x, y, z))
    screen = Skin(rgb=_DARK if m.chance(0.6) else (0.35, 0.5, 0.7))
    m.box((0, 0, 2 * z), (x * m.u(0.82, 0.95), y * 0.9, 0.0006), screen)


# ---- things on a shelf


def _book(m: _Maker) -> None:
    x, y, z = m.u(0.05, 0.085), m.u(0.065, 0.115), m.u(0.006, 0.024)
    cover, thin = m.main, 0.0016
    if m.chance(0.5):  # lying
        m.box((0.001, 0, z), (x - 0.003, y - 0.003, z - thin), Skin(rgb=_PAPER))
        m.box((0, 0, 2 * z - thin), (x, y, thin), cover)
        m.box((0, 0, thin), (x, y, thin), m.base)
        m.box((-x, 0, z), (thin, y, z))
        return
    # standing, its covers apart by up to a few degrees
    lean = m.u(0, 0.12) if m.chance(0.5) else 0.0
    m.box((0, 0.001, y), (z - thin, x - 0.003, y - 0.003), Skin(rgb=_PAPER))
    for side in (-1, 1):
        m.box((side * (z + lean * 0.3 * y), 0, y), (thin, x, y), cover, tilt_rad=-side * lean)
    m.box((0, -x, y), (z, thin, y))


def _box(m: _Maker) -> None:
    x, y, z = m.u(0.018, 0.06), m.u(0.035, 0.075), m.u(0.03, 0.11)
    m.box((0, 0, z), (x, y, z), m.main)
    if m.chance(0.4):
        tape = Skin(rgb=_PAPER) if m.chance(0.6) else m.accent
        m.box((0, 0, 2 * z), (x * 0.25, y * 1.005, 0.0008), tape)
        for side in (-1, 1):
            m.box((0, side * y, z * 1.7), (x * 0.25, 0.0008, z * 0.3), tape)


def _cube(m: _Maker) -> None:
    half = m.u(0.018, 0.045)
    m.box((0, 0, half), (half, half, half), m.main)


def _ball(m: _Maker) -> None:
    radius = m.u(0.022, 0.06)
    m.ball((0, 0, radius), (radius, radius, radius), m.main)


def _clock(m: _Maker) -> None:
    radius, thick = m.u(0.035, 0.06), m.u(0.01, 0.02)
    side = np.linspace(0, 2 * np.pi, 13)
    ring = np.stack([0 * side, radius * np.cos(side), radius * (1.08 + np.sin(side))], axis=1)
    m.ball((0, 0, radius * 1.08), (thick, radius, radius), Skin(rgb=(0.95, 0.95, 0.93)))
    m.chain(ring, thick * 0.6, m.base)
    for angle, reach in ((m.u(0, 6.28), 0.75), (m.u(0, 6.28), 0.5)):
        tip = (
            thick * 1.05,
            radius * reach * math.cos(angle),
            radius * (1.08 + reach * math.sin(angle)),
        )
        m.rod((thick * 1.05, 0, radius * 1.08), tip, 0.0018, Skin(rgb=_DARK))
    for y in (-0.5, 0.5):
        m.rod((0, y * radius, 0.004), (0, y * radius * 0.7, radius * 0.3), 0.004, m.accent)


def _candle(m: _Maker) -> None:
    radius, height = m.u(0.01, 0.036), m.u(0.05, 0.2)
    if m.chance(0.3):
        m.turned([(0.0, 0.0), (radius * 2, 0.0), (radius * 2.1, 0.008), (radius, 0.008)], m.accent)
    m.turned(
        [(0.0, 0.0), (radius, 0.0), (radius, height), (radius * 0.8, height), (0, height * 0.98)]
    )
    m.rod((0, 0, height), (0.001, 0, height + 0.008), 0.0012, Skin(rgb=_DARK))
    if m.chance(0.5):
        m.ball((0, 0, height + 0.017), (0.005, 0.005, 0.011), Skin(rgb=_FLAME))


def _lamp(m: _Maker) -> None:
    height, shade = m.u(0.19, 0.3), m.u(0.05, 0.085)
    foot = m.u(0.03, 0.055)
    stand = m.accent
    m.turned([(0.0, 0.0), (foot, 0.0), (foot, 0.01), (0.006, 0.016), (0.006, height * 0.7)], stand)
    top = shade * m.u(0.4, 0.9)
    low = height * m.u(0.58, 0.68)
    m.turned([(shade, low), (top, height), (top - 0.002, height), (shade - 0.002, low)])
    m.turned([(0.0, height * 0.97), (top, height * 0.97)], Skin(rgb=(1.0, 0.95, 0.8)))


def _shaker(m: _Maker) -> None:
    radius, height = m.u(0.015, 0.026), m.u(0.06, 0.11)
    body = height * m.u(0.65, 0.8)
    m.turned(
        [(0.0, 0.0), *_curve([(radius, 0.0), (radius * m.u(0.6, 1), body / 2), (radius, body)])]
    )
    cap = Skin(rgb=_STEEL) if m.chance(0.6) else m.accent
    m.turned(_curve([(radius, body), (radius * 0.9, height * 0.93), (0.0, height)]), cap)


def _bell(m: _Maker) -> None:
    radius, height = m.u(0.03, 0.045), m.u(0.05, 0.07)
    m.turned(
        _curve([(radius, 0.0), (radius * 0.75, height * 0.3), (radius * 0.5, height), (0, height)])
    )
    m.rod((0, 0, height), (0, 0, height + m.u(0.012, 0.05)), 0.007, m.accent)


# ---- toys


def _duck(m: _Maker) -> None:
    k, head = m.u(0.8, 1.2), m.u(0.026, 0.036)
    m.ball((0, 0, 0.038 * k), (0.058, 0.044, 0.038 * k))
    m.ball((-0.052, 0, 0.055 * k), (0.022, 0.016, 0.014))
    top = 0.074 * k + head * 0.6
    m.ball((0.03, 0, top), (head, head, head))
    beak = Skin(rgb=(0.85, 0.45, 0.1))
    m.ball((0.03 + head, 0, top - 0.006), (m.u(0.014, 0.022), 0.015, 0.006), beak)
    for side in (-1, 1):
        m.ball((0.03 + head * 0.7, side * head * 0.6, top + 0.008), (0.005,) * 3, Skin(rgb=_DARK))
        m.ball((-0.006, side * 0.04, 0.043 * k), (0.03, 0.011, 0.02))


def _bear(m: _Maker) -> None:
    fat, head = m.u(0.036, 0.05), m.u(0.03, 0.042)
    fur = replace(m.base, name="worn", second=_shade(m.base.rgb, 0.75), seed=m.main.seed)
    m.ball((0, 0, 0.05), (fat, fat * 1.08, 0.05), fur)
    top = 0.088 + head * 0.8
    m.ball((0.008, 0, top), (head * 0.97, head * 1.05, head * 0.93), fur)
    snout = Skin(rgb=_PAPER) if m.chance(0.7) else fur
    m.ball((0.008 + head, 0, top - 0.008), (0.012, 0.014, 0.011), snout)
    for side in (-1, 1):
        ear = m.u(0.012, 0.017)
        m.ball((0.0, side * head * 0.8, top + head * 0.85), (0.009, ear, ear), fur)
        m.ball((0.008 + head * 0.85, side * 0.014, top + 0.01), (0.0045,) * 3, Skin(rgb=_DARK))
        m.ball((fat * 1.1, side * 0.032, 0.019), (0.033, 0.018, 0.019), fur)
        m.ball((fat * 0.5, side * fat * 1.1, 0.066), (0.018, 0.015, 0.03), fur)


def _car(m: _Maker) -> None:
    x, y, z = m.u(0.055, 0.085), m.u(0.026, 0.038), m.u(0.012, 0.02)
    wheel = m.u(0.013, 0.02)
    m.box((0, 0, wheel + z), (x, y, z), m.main)
    cabin = m.u(0.35, 0.6) * x
    m.box((m.u(-0.35, 0.1) * x, 0, wheel + 2 * z + 0.012), (cabin, y * 0.85, 0.012))
    window = Skin(rgb=(0.25, 0.33, 0.4))
    m.box((m.u(-0.3, 0.05) * x, 0, wheel + 2 * z + 0.012), (cabin * 0.75, y * 0.87, 0.008), window)
    for side in (-0.6, 0.6):
        rubber = Skin(rgb=_DARK)
        m.rod((side * x, -y, wheel), (side * x, y, wheel), wheel, rubber)


def _cone(m: _Maker) -> None:
    radius, height = m.u(0.03, 0.05), m.u(0.08, 0.16)
    if m.chance(0.7):
        m.box((0, 0, 0.004), (radius * 1.2, radius * 1.2, 0.004))
    m.turned([(radius, 0.004), (radius * m.u(0.05, 0.25), height), (0.0, height)])


def _ring(m: _Maker) -> None:
    radius, thick = m.u(0.04, 0.07), m.u(0.008, 0.022)
    turn = np.linspace(-np.pi, np.pi, 11)
    m.turned([(radius + thick * math.cos(t), thick * (1 + math.sin(t))) for t in turn])


def _hat(m: _Maker) -> None:
    brim, crown, height = m.u(0.07, 0.1), m.u(0.042, 0.056), m.u(0.045, 0.085)
    m.turned([(0.0, 0.0), (brim, 0.0), (brim, 0.005), (crown, 0.008)], m.base)
    m.turned(
        _curve([(crown, 0.006), (crown * 0.95, height * 0.7), (crown * 0.6, height), (0, height)])
    )
    if m.chance(0.7):
        band = m.accent if m.chance(0.6) else Skin(rgb=_DARK)
        m.turned([(crown * 1.03, 0.01), (crown * 1.01, m.u(0.018, 0.03))], band)


# ---- things that are never named


def _clutter(m: _Maker) -> None:
    """A thing without a name: a body, and one to four parts about it."""
    style = int(m.rng.integers(5))
    if style == 0:  # turned, of any outline
        height, n = m.u(0.03, 0.2), int(m.rng.integers(3, 6))
        up = np.linspace(0, height, n)
        m.turned([(0.0, 0.0), *_curve([(m.u(0.012, 0.06), float(z)) for z in up]), (0.0, height)])
    elif style == 1:  # open and angular
        _basket(m) if m.chance(0.5) else _tray(m)
        return
    elif style == 2:  # a stack of slabs
        z = 0.0
        for _ in range(int(m.rng.integers(2, 5))):
            half = (m.u(0.015, 0.06), m.u(0.015, 0.06), m.u(0.004, 0.03))
            skin = (m.main, m.base, m.accent)[int(m.rng.integers(3))]
            m.box((m.u(-0.01, 0.01), m.u(-0.01, 0.01), z + half[2]), half, skin, yaw_rad=m.u(0, 3))
            z += 2 * half[2]
    else:
        half = (m.u(0.02, 0.06), m.u(0.015, 0.05), m.u(0.01, 0.06))
        (m.box if m.chance(0.5) else m.ball)((0, 0, half[2]), half, m.main, yaw_rad=m.u(0, 3))
    tall = max(0.02, Shape(parts=tuple(m.parts)).height_m)
    for _ in range(int(m.rng.integers(1, 5))):
        skin = (m.accent, m.base, Skin(rgb=_STEEL), Skin(rgb=_DARK))[int(m.rng.integers(4))]
        turn, reach, at = m.u(0, 2 * np.pi), m.u(0.01, 0.06), m.u(0.1, 1.0) * tall
        x, y = reach * math.cos(turn), reach * math.sin(turn)
        if m.chance(0.5):
            m.rod((x / 3, y / 3, at), (1.4 * x, 1.4 * y, m.u(0.01, tall)), m.u(0.003, 0.011), skin)
        else:
            m.ball((x, y, max(at, 0.02)), (m.u(0.006, 0.02),) * 3, skin)


SHAPES: dict[str, Callable[[_Maker], None]] = {
    "mug": _mug,
    "bowl": _bowl,
    "bottle": _bottle,
    "can": _can,
    "box": _box,
    "cube": _cube,
    "ball": _ball,
    "plate": _plate,
    "banana": _banana,
    "book": _book,
    "duck": _duck,
    "pan": _pan,
    "vase": _vase,
    "cone": _cone,
    "ring": _ring,
    "car": _car,
    "bear": _bear,
    "spoon": _spoon,
    "teapot": _teapot,
    "hat": _hat,
    "jar": _jar,
    "glass": _glass,
    "jug": _jug,
    "pot": _pot,
    "basket": _basket,
    "tray": _tray,
    "plant": _plant,
    "apple": _apple,
    "tomato": _tomato,
    "citrus": _orange,
    "lemon": _lemon,
    "pear": _pear,
    "carrot": _carrot,
    "egg": _egg,
    "mushroom": _mushroom,
    "bread": _bread,
    "knife": _knife,
    "fork": _fork,
    "pen": _pen,
    "remote": _remote,
    "phone": _phone,
    "clock": _clock,
    "candle": _candle,
    "lamp": _lamp,
    "shaker": _shaker,
    "bell": _bell,
    CLUTTER: _clutter,
}
assert all(name not in MATERIALS for name in DECORS)


def random_shape(kind: str, look: Look, scale: float = 1.0) -> Shape:
    """Draw a thing of a kind; the same look gives the same shape.

    Args:
        kind: a key of SHAPES.
        look: its colours, its surface and the seed of its proportions.
        scale: of all lengths.
    """
    maker = _Maker(look)
    SHAPES[kind](maker)
    return Shape(parts=tuple(_scaled(part, scale) for part in maker.parts))


def _scaled(part: Part, scale: float) -> Part:
    if isinstance(part, Revolved):
        profile = tuple((scale * r, scale * z) for r, z in part.profile)
        return replace(part, profile=profile, xy=(scale * part.xy[0], scale * part.xy[1]))
    if isinstance(part, Rod):
        return replace(
            part,
            start=_times(part.start, scale),
            end=_times(part.end, scale),
            radius=scale * part.radius,
        )
    return replace(part, center=_times(part.center, scale), half=_times(part.half, scale))


def _times(point: Point, scale: float) -> Point:
    x, y, z = point
    return scale * x, scale * y, scale * z
