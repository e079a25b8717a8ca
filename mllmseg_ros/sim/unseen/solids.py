# SPDX-License-Identifier: Apache-2.0
"""Solids as distance functions, and the household things made of them.

A thing's origin is on the table under its centre, z up. Lengths are in metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLORS", "Solid", "Thing", "build_thing"]

Points = NDArray[np.float32]  # (N, 3)
Values = NDArray[np.float32]  # (N,)
RGB = tuple[float, float, float]

COLORS: dict[str, RGB] = {
    "red": (0.75, 0.09, 0.08),
    "orange": (0.95, 0.45, 0.06),
    "yellow": (0.95, 0.8, 0.12),
    "green": (0.12, 0.5, 0.18),
    "blue": (0.1, 0.25, 0.7),
    "purple": (0.42, 0.14, 0.55),
    "pink": (0.95, 0.55, 0.68),
    "brown": (0.35, 0.19, 0.09),
    "black": (0.04, 0.04, 0.045),
    "white": (0.9, 0.9, 0.88),
    "silver": (0.6, 0.61, 0.63),
    "beige": (0.83, 0.73, 0.55),
    "turquoise": (0.1, 0.65, 0.63),
}
_STEEL, _DARK, _LEAF, _PAPER = (
    (0.6, 0.61, 0.63),
    (0.05, 0.05, 0.05),
    (0.15, 0.4, 0.1),
    COLORS["white"],
)


@dataclass(frozen=True)
class Solid:
    """One part of a thing."""

    distance: Callable[[Points], Values]
    rgb: RGB
    textured: bool = False  # the thing's texture is on it


@dataclass
class Thing:
    """Solids in a common frame, and a sphere around them."""

    solids: list[Solid] = field(default_factory=list)
    texture: str = ""
    second: RGB = (1.0, 1.0, 1.0)
    height: float = 0.1  # m
    reach: float = 0.1  # m, from the axis

    def distance(self, points: Points) -> Values:
        """Signed distance of points (N, 3) to the nearest solid."""
        return np.min([solid.distance(points) for solid in self.solids], axis=0)

    def colors(self, points: Points) -> NDArray[np.float32]:
        """Colours (N, 3) of points on the surface."""
        owner = np.argmin([solid.distance(points) for solid in self.solids], axis=0)
        rgb = np.array([solid.rgb for solid in self.solids], np.float32)[owner]
        if self.texture:
            on = np.array([solid.textured for solid in self.solids])[owner]
            mix = (on * _texture(self.texture, points, self.height))[:, None]
            rgb = rgb + mix * (np.array(self.second, np.float32) - rgb)
        return rgb


def _texture(name: str, points: Points, height: float) -> Values:
    x, y, z = points.T
    turn = np.arctan2(y, x)
    if name == "stripes":
        return ((z * 55) % 1 < 0.45).astype(np.float32)
    if name == "spots":
        a, b = (turn * 8 / np.pi) % 1 - 0.5, (z * 45) % 1 - 0.5
        return (np.hypot(a, b) < 0.3).astype(np.float32)
    if name == "checks":
        return ((np.floor(x * 40) + np.floor(y * 40)) % 2).astype(np.float32)
    if name == "rings":
        return (np.hypot(x, y) > 0.085).astype(np.float32)
    if name == "wood":
        return (0.5 + 0.5 * np.sin(180 * y + 9 * np.sin(25 * x + 14 * z))).astype(np.float32) * 0.4
    front = (np.abs(turn + 1.3) < 0.75) & (np.abs(z / height - 0.42) < 0.2)  # a label
    writing = (z * 150) % 1 < 0.35
    return np.where(front, np.where(writing, 0.55, 1.0), 0.0).astype(np.float32)


# ---- distance functions


def turned(profile: Sequence[tuple[float, float]]) -> Callable[[Points], Values]:
    """A solid of revolution, of a closed outline of (radius, z)."""
    corners = np.array(profile, np.float32)

    def distance(points: Points) -> Values:
        p = np.stack([np.hypot(points[:, 0], points[:, 1]), points[:, 2]], axis=1)
        squared = np.full(len(p), np.inf, np.float32)
        inside = np.zeros(len(p), np.bool_)
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            edge, to = b - a, p - a
            if a[0] or b[0]:  # the axis is not a surface
                along = np.clip(to @ edge / max(float(edge @ edge), 1e-12), 0, 1)
                squared = np.minimum(squared, ((to - along[:, None] * edge) ** 2).sum(1))
            crosses = (a[1] > p[:, 1]) != (b[1] > p[:, 1])
            rise = b[1] - a[1] if abs(b[1] - a[1]) > 1e-12 else np.float32(1e-12)
            inside ^= crosses & (p[:, 0] < a[0] + (p[:, 1] - a[1]) / rise * edge[0])
        return np.where(inside, -1, 1) * np.sqrt(squared)

    return distance


def ball(center: Sequence[float], half: Sequence[float]) -> Callable[[Points], Values]:
    """An ellipsoid; its distance is approximate."""
    c, h = np.array(center, np.float32), np.array(half, np.float32)

    def distance(points: Points) -> Values:
        p = points - c
        k0 = np.sqrt(((p / h) ** 2).sum(1))
        k1 = np.sqrt(((p / h**2) ** 2).sum(1))
        return 0.8 * k0 * (k0 - 1) / np.maximum(k1, 1e-6)

    return distance


def box(
    center: Sequence[float], half: Sequence[float], rounding: float = 0.002, yaw: float = 0.0
) -> Callable[[Points], Values]:
    """A box with rounded edges."""
    c, h = np.array(center, np.float32), np.array(half, np.float32) - rounding
    cos, sin = math.cos(yaw), math.sin(yaw)

    def distance(points: Points) -> Values:
        p = points - c
        p = np.stack([cos * p[:, 0] + sin * p[:, 1], -sin * p[:, 0] + cos * p[:, 1], p[:, 2]], 1)
        q = np.abs(p) - h
        outside = np.sqrt((np.maximum(q, 0) ** 2).sum(1))
        return outside + np.minimum(q.max(1), 0) - rounding

    return distance


def rod(
    start: Sequence[float], end: Sequence[float], radius: float, radius_end: float | None = None
) -> Callable[[Points], Values]:
    """A rod with round ends, thinner or thicker towards its end."""
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    thicker = (radius if radius_end is None else radius_end) - radius

    def distance(points: Points) -> Values:
        along = np.clip((points - a) @ (b - a) / max(float((b - a) @ (b - a)), 1e-12), 0, 1)
        off = points - a - along[:, None] * (b - a)
        return np.sqrt((off**2).sum(1)) - radius - thicker * along

    return distance


def loop(
    x: float, z: float, radius: float, thick: float, stretch: float = 1.0, side: float = 1.0
) -> Callable[[Points], Values]:
    """Half a ring in the plane y = 0, at x: a handle."""

    def distance(points: Points) -> Values:
        dx, dz = side * (points[:, 0] - x), (points[:, 2] - z) / stretch
        ring = np.hypot(np.hypot(dx, dz) - radius, points[:, 1]) - thick
        return np.maximum(ring, -dx - 0.004)

    return distance


def chain(places: NDArray[np.float64], radii: Sequence[float]) -> Callable[[Points], Values]:
    """Rods from place to place."""
    rods = [rod(places[k], places[k + 1], radii[k], radii[k + 1]) for k in range(len(places) - 1)]
    return lambda points: np.min([each(points) for each in rods], axis=0)


def blend(parts: Sequence[Callable[[Points], Values]], soft: float) -> Callable[[Points], Values]:
    """Parts that flow into each other."""

    def distance(points: Points) -> Values:
        total = parts[0](points)
        for part in parts[1:]:
            other = part(points)
            h = np.maximum(soft - np.abs(total - other), 0) / soft
            total = np.minimum(total, other) - h * h * soft / 4
        return total

    return distance


# ---- things


def build_thing(kind: str, color: str, second: str, texture: str, size: float) -> Thing:
    """Build a thing.

    Args:
        kind: a key of the functions below.
        color: a key of COLORS.
        second: likewise, of its texture or of a lid, cap, handle or stand; "" for none.
        texture: "" for none.
        size: times its usual size.
    """
    base = COLORS[color]
    extra = COLORS[second] if second else None
    thing = Thing(texture=texture, second=extra or _PAPER)
    _BUILD[kind](thing, base, extra if not texture else None)
    if size != 1.0:
        thing.solids = [
            Solid(_scaled(solid.distance, size), solid.rgb, solid.textured)
            for solid in thing.solids
        ]
        thing.height, thing.reach = thing.height * size, thing.reach * size
    return thing


def _scaled(distance: Callable[[Points], Values], size: float) -> Callable[[Points], Values]:
    return lambda points: size * distance(points / np.float32(size))


def _mug(t: Thing, c: RGB, s: RGB | None) -> None:
    outline = [(0, 0), (0.04, 0), (0.043, 0.004), (0.043, 0.097), (0.041, 0.1), (0.039, 0.097)]
    t.solids += [
        Solid(turned([*outline, (0.038, 0.008), (0, 0.007)]), c, True),
        Solid(loop(0.041, 0.052, 0.026, 0.0055, 1.15), s or c),
    ]
    t.height, t.reach = 0.1, 0.078


def _bowl(t: Thing, c: RGB, s: RGB | None) -> None:
    a = np.linspace(0.3, math.pi / 2, 8)
    outer = [(0.08 * math.sin(k), 0.058 * (1 - math.cos(k))) for k in a]
    inner = [(0.075 * math.sin(k), 0.005 + 0.053 * (1 - math.cos(k))) for k in a[::-1]]
    t.solids.append(Solid(turned([(0, 0), (0.024, 0), *outer, *inner, (0, 0.006)]), c, True))
    t.height, t.reach = 0.06, 0.082


def _plate(t: Thing, c: RGB, s: RGB | None) -> None:
    low = [(0, 0), (0.062, 0), (0.07, 0.008), (0.108, 0.016)]
    high = [(0.108, 0.019), (0.07, 0.012), (0.06, 0.005), (0, 0.005)]
    t.solids.append(Solid(turned([*low, *high]), c, True))
    if s:
        t.solids.append(
            Solid(turned([(0.098, 0.014), (0.11, 0.016), (0.11, 0.02), (0.098, 0.0178)]), s)
        )
    t.height, t.reach = 0.02, 0.112


def _bottle(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(
        Solid(
            turned(
                [
                    (0, 0),
                    (0.034, 0),
                    (0.037, 0.005),
                    (0.037, 0.14),
                    (0.03, 0.165),
                    (0.016, 0.185),
                    (0.0135, 0.2),
                    (0.0135, 0.255),
                    (0, 0.255),
                ]
            ),
            c,
            True,
        )
    )
    t.solids.append(
        Solid(turned([(0, 0.235), (0.0165, 0.235), (0.0165, 0.262), (0, 0.262)]), s or c)
    )
    t.height, t.reach = 0.262, 0.038


def _can(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(
        Solid(turned([(0, 0.004), (0.033, 0.004), (0.033, 0.112), (0, 0.112)]), c, True)
    )
    for low, high in ((0.0, 0.004), (0.112, 0.117)):
        t.solids.append(
            Solid(turned([(0, low), (0.031, low), (0.031, high), (0, high)]), s or _STEEL)
        )
    t.height, t.reach = 0.117, 0.034


def _jar(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(
        Solid(
            turned([(0, 0), (0.038, 0), (0.041, 0.006), (0.041, 0.075), (0.033, 0.09), (0, 0.09)]),
            c,
            True,
        )
    )
    t.solids.append(
        Solid(turned([(0, 0.088), (0.037, 0.088), (0.037, 0.108), (0, 0.108)]), s or _STEEL)
    )
    t.height, t.reach = 0.108, 0.042


def _wine_glass(t: Thing, c: RGB, s: RGB | None) -> None:
    outer = [(0.0045, 0.012), (0.0045, 0.085), (0.025, 0.1), (0.037, 0.13), (0.032, 0.18)]
    inner = [(0.029, 0.18), (0.034, 0.131), (0.022, 0.104), (0, 0.098)]
    t.solids.append(Solid(turned([(0, 0), (0.034, 0), (0.034, 0.003), *outer, *inner]), c, True))
    t.height, t.reach = 0.18, 0.038


def _vase(t: Thing, c: RGB, s: RGB | None) -> None:
    outer = [(0.028, 0), (0.044, 0.05), (0.046, 0.09), (0.028, 0.135), (0.02, 0.16), (0.03, 0.195)]
    inner = [(0.027, 0.195), (0.016, 0.16), (0, 0.15)]
    t.solids.append(Solid(turned([(0, 0), *outer, *inner]), c, True))
    t.height, t.reach = 0.195, 0.047


def _candle(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(turned([(0, 0), (0.022, 0), (0.022, 0.13), (0, 0.126)]), c, True),
        Solid(rod((0, 0, 0.12), (0, 0, 0.138), 0.0015), _DARK),
        Solid(ball((0, 0, 0.148), (0.006, 0.006, 0.013)), (1.0, 0.75, 0.3)),
    ]
    t.height, t.reach = 0.162, 0.025


def _lamp(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(
            turned([(0, 0), (0.045, 0), (0.045, 0.01), (0.006, 0.014), (0.006, 0.18), (0, 0.18)]),
            s or _STEEL,
        ),
        Solid(turned([(0.07, 0.15), (0.045, 0.24), (0.042, 0.24), (0.066, 0.15)]), c, True),
    ]
    t.height, t.reach = 0.24, 0.072


def _teapot(t: Thing, c: RGB, s: RGB | None) -> None:
    body = [(0.035, 0), (0.055, 0.03), (0.058, 0.055), (0.045, 0.085), (0.03, 0.098), (0, 0.104)]
    t.solids += [
        Solid(turned([(0, 0), *body]), c, True),
        Solid(ball((0, 0, 0.112), (0.01, 0.01, 0.01)), s or c),
        Solid(rod((0.045, 0, 0.035), (0.1, 0, 0.088), 0.014, 0.007), c),
        Solid(loop(-0.05, 0.055, 0.032, 0.006, 1.0, -1.0), s or c),
    ]
    t.height, t.reach = 0.122, 0.11


def _pan(t: Thing, c: RGB, s: RGB | None) -> None:
    outline = [(0, 0), (0.07, 0), (0.084, 0.033), (0.08, 0.033), (0.067, 0.005), (0, 0.005)]
    t.solids += [
        Solid(turned(outline), c, True),
        Solid(rod((0.08, 0, 0.028), (0.19, 0, 0.04), 0.008), s or c),
    ]
    t.height, t.reach = 0.048, 0.2


def _pot(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(turned([(0, 0), (0.075, 0), (0.078, 0.005), (0.078, 0.085), (0, 0.085)]), c, True),
        Solid(turned([(0, 0.085), (0.08, 0.085), (0.05, 0.098), (0, 0.102)]), c),
        Solid(ball((0, 0, 0.11), (0.012, 0.012, 0.01)), s or c),
        Solid(rod((-0.095, 0, 0.065), (-0.076, 0, 0.065), 0.009), s or c),
        Solid(rod((0.076, 0, 0.065), (0.095, 0, 0.065), 0.009), s or c),
    ]
    t.height, t.reach = 0.12, 0.104


def _box(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(Solid(box((0, 0, 0.075), (0.055, 0.03, 0.075)), c, True))
    t.height, t.reach = 0.15, 0.064


def _book(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(box((0.002, 0, 0.013), (0.066, 0.09, 0.01), 0.001), _PAPER),
        Solid(box((0, 0, 0.0018), (0.07, 0.094, 0.0018), 0.0005), c),
        Solid(box((0, 0, 0.0242), (0.07, 0.094, 0.0018), 0.0005), c, True),
        Solid(box((-0.07, 0, 0.013), (0.0018, 0.094, 0.013), 0.0005), c),
    ]
    if s:
        t.solids.append(Solid(box((0.005, 0.03, 0.0255), (0.04, 0.016, 0.0012), 0.0005), s))
    t.height, t.reach = 0.026, 0.12


def _cube(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(Solid(box((0, 0, 0.038), (0.038, 0.038, 0.038), 0.004), c, True))
    t.height, t.reach = 0.076, 0.055


def _ball(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids.append(Solid(ball((0, 0, 0.042), (0.042, 0.042, 0.042)), c, True))
    t.height, t.reach = 0.084, 0.043


def _cone(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(box((0, 0, 0.004), (0.055, 0.055, 0.004)), c),
        Solid(turned([(0, 0), (0.042, 0.0), (0.006, 0.13), (0, 0.13)]), c, True),
    ]
    t.height, t.reach = 0.13, 0.078


def _ring(t: Thing, c: RGB, s: RGB | None) -> None:
    a = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    t.solids.append(
        Solid(
            turned([(0.052 + 0.016 * math.cos(k), 0.016 + 0.016 * math.sin(k)) for k in a]), c, True
        )
    )
    t.height, t.reach = 0.032, 0.069


def _hat(t: Thing, c: RGB, s: RGB | None) -> None:
    crown = [(0.05, 0.006), (0.047, 0.055), (0.03, 0.068), (0, 0.07)]
    t.solids.append(Solid(turned([(0, 0), (0.085, 0), (0.085, 0.005), *crown]), c, True))
    t.solids.append(
        Solid(turned([(0.045, 0.008), (0.052, 0.008), (0.051, 0.022), (0.045, 0.022)]), s or _DARK)
    )
    t.height, t.reach = 0.07, 0.087


def _car(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(box((0, 0, 0.03), (0.075, 0.034, 0.015), 0.006), c, True),
        Solid(box((-0.008, 0, 0.055), (0.038, 0.029, 0.015), 0.008), s or (0.4, 0.5, 0.55)),
    ]
    for x in (-0.045, 0.045):
        t.solids.append(Solid(rod((x, -0.031, 0.017), (x, 0.031, 0.017), 0.017), _DARK))
    t.height, t.reach = 0.07, 0.085


def _duck(t: Thing, c: RGB, s: RGB | None) -> None:
    body = [
        ball((0, 0, 0.036), (0.056, 0.042, 0.036)),
        ball((-0.05, 0, 0.055), (0.022, 0.016, 0.014)),
    ]
    t.solids += [
        Solid(blend([*body, ball((0.028, 0, 0.088), (0.031, 0.031, 0.031))], 0.02), c, True),
        Solid(ball((0.063, 0, 0.083), (0.018, 0.014, 0.006)), (0.95, 0.4, 0.05)),
    ]
    for y in (-0.019, 0.019):
        t.solids.append(Solid(ball((0.05, y, 0.098), (0.006, 0.005, 0.006)), _DARK))
    t.height, t.reach = 0.12, 0.085


def _bear(t: Thing, c: RGB, s: RGB | None) -> None:
    limbs = [
        ball((0, 0, 0.05), (0.042, 0.045, 0.05)),
        ball((0.005, 0, 0.12), (0.036, 0.038, 0.035)),
    ]
    for y in (-1, 1):
        limbs += [
            ball((0, y * 0.031, 0.152), (0.01, 0.014, 0.014)),
            ball((0.045, y * 0.032, 0.018), (0.033, 0.018, 0.018)),
            ball((0.022, y * 0.05, 0.068), (0.018, 0.015, 0.03)),
        ]
        t.solids.append(Solid(ball((0.038, y * 0.013, 0.129), (0.005, 0.005, 0.005)), _DARK))
    t.solids += [
        Solid(blend(limbs, 0.012), c, True),
        Solid(ball((0.038, 0, 0.112), (0.014, 0.015, 0.012)), s or COLORS["beige"]),
        Solid(ball((0.052, 0, 0.115), (0.005, 0.006, 0.004)), _DARK),
    ]
    t.height, t.reach = 0.168, 0.095


def _round_fruit(t: Thing, c: RGB, s: RGB | None) -> None:
    outline = [(0, 0.006), (0.012, 0.001), (0.026, 0.006), (0.037, 0.03), (0.036, 0.045)]
    top = [(0.026, 0.064), (0.012, 0.068), (0.004, 0.062), (0, 0.058)]
    t.solids += [
        Solid(turned([*outline, *top]), c, True),
        Solid(rod((0, 0, 0.058), (0.004, 0, 0.078), 0.002), COLORS["brown"]),
    ]
    t.height, t.reach = 0.08, 0.038


def _orange(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(ball((0, 0, 0.037), (0.038, 0.038, 0.037)), c, True),
        Solid(ball((0, 0, 0.074), (0.004, 0.004, 0.0015)), _LEAF),
    ]
    t.height, t.reach = 0.076, 0.04


def _lemon(t: Thing, c: RGB, s: RGB | None) -> None:
    body = ball((0, 0, 0.027), (0.036, 0.027, 0.027))
    tips = [ball((x, 0, 0.027), (0.011, 0.007, 0.007)) for x in (-0.036, 0.036)]
    t.solids.append(Solid(blend([body, *tips], 0.012), c, True))
    t.height, t.reach = 0.055, 0.05


def _pear(t: Thing, c: RGB, s: RGB | None) -> None:
    body = [ball((0, 0, 0.034), (0.035, 0.035, 0.034)), ball((0, 0, 0.075), (0.018, 0.018, 0.026))]
    t.solids += [
        Solid(blend(body, 0.03), c, True),
        Solid(rod((0, 0, 0.098), (0.005, 0, 0.114), 0.002), COLORS["brown"]),
    ]
    t.height, t.reach = 0.116, 0.038


def _banana(t: Thing, c: RGB, s: RGB | None) -> None:
    a = np.linspace(-1.1, 1.1, 9)
    places = np.stack([0.095 * np.sin(a), 0.095 * np.cos(a) - 0.075, 0 * a + 0.02], axis=1)
    radii = [0.007, 0.013, 0.017, 0.019, 0.0195, 0.019, 0.017, 0.012, 0.006]
    t.solids.append(Solid(chain(places, radii), c, True))
    tip = places[-1]
    t.solids.append(Solid(rod(tip, tip + np.array([0.01, -0.016, 0]), 0.006), COLORS["brown"]))
    t.height, t.reach = 0.04, 0.11


def _spoon(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(ball((0, 0.075, 0.009), (0.024, 0.034, 0.008)), c, True),
        Solid(rod((0, 0.045, 0.009), (0, -0.1, 0.009), 0.005, 0.0075), c, True),
    ]
    t.height, t.reach = 0.018, 0.112


def _knife(t: Thing, c: RGB, s: RGB | None) -> None:
    t.solids += [
        Solid(box((0, 0.06, 0.006), (0.011, 0.075, 0.0015), 0.0008), c),
        Solid(rod((0, -0.02, 0.009), (0, -0.1, 0.009), 0.009), s or c),
    ]
    t.height, t.reach = 0.018, 0.138


_BUILD: dict[str, Callable[[Thing, RGB, RGB | None], None]] = {
    "mug": _mug,
    "bowl": _bowl,
    "plate": _plate,
    "bottle": _bottle,
    "can": _can,
    "jar": _jar,
    "wine glass": _wine_glass,
    "vase": _vase,
    "candle": _candle,
    "lamp": _lamp,
    "teapot": _teapot,
    "pan": _pan,
    "pot": _pot,
    "box": _box,
    "book": _book,
    "cube": _cube,
    "ball": _ball,
    "cone": _cone,
    "ring": _ring,
    "hat": _hat,
    "car": _car,
    "duck": _duck,
    "teddy bear": _bear,
    "apple": _round_fruit,
    "orange": _orange,
    "lemon": _lemon,
    "pear": _pear,
    "banana": _banana,
    "spoon": _spoon,
    "knife": _knife,
}
