# SPDX-License-Identifier: Apache-2.0
"""A ray tracer of distance functions, on purpose another renderer than the simulator's.

Soft shadows, ambient occlusion, highlights; optionally flat tones with ink outlines. NumPy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.sim.unseen.solids import RGB, Points, Thing, Values

__all__ = ["Place", "Style", "trace"]

_STEPS, _SHADOW_STEPS = 64, 28
_NEAR_M = 0.0008  # a ray this near to a surface has met it
_SUPERSAMPLING = 2

Paint = Callable[[Points], NDArray[np.float32]]  # points on the ground or directions -> RGB


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a scene is rendered."""

    size: tuple[int, int]  # width, height, px
    elevation_rad: float
    vertical_fov_rad: float
    distance_m: float
    ground: Paint  # of points (N, 3) with z = 0
    background: Paint  # of directions (N, 3)
    table_m: float  # half its side; beyond it is background
    light: tuple[float, float, float]  # direction to the lamp
    light_rgb: RGB
    ambient: float
    softness: float  # of shadows, the higher the harder
    gloss: float  # of highlights
    ink: bool = False  # flat tones, outlines


@dataclass(frozen=True, kw_only=True)
class Place:
    """A thing on the table."""

    thing: Thing
    xy_m: tuple[float, float]
    yaw_rad: float

    def to_local(self, points: Points) -> Points:
        """World points in the thing's frame."""
        p = points - np.array([*self.xy_m, 0.0], np.float32)
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turned = np.stack(
            [cos * p[:, 0] + sin * p[:, 1], -sin * p[:, 0] + cos * p[:, 1], p[:, 2]], 1
        )
        return turned.astype(np.float32)

    def near(self, origin: Points, direction: Points) -> tuple[NDArray[np.bool_], Values, Values]:
        """Which rays pass the sphere around the thing, and where they enter and leave it."""
        middle = np.array([*self.xy_m, self.thing.height / 2], np.float32)
        radius = 1.03 * math.hypot(self.thing.reach, self.thing.height / 2)
        to = middle - origin
        along = (to * direction).sum(1)
        inside = radius**2 - ((to**2).sum(1) - along**2)
        half = np.sqrt(np.maximum(inside, 0))
        return (inside > 0) & (along + half > 0), np.maximum(along - half, 0), along + half


def trace(
    places: list[Place], style: Style
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Render a scene.

    Returns:
        RGB (H, W, 3); instance ids (H, W), 0 = background, k = k-th place; depth (H, W) in metres
        along the optical axis, 0 beyond the table.
    """
    width, height = (_SUPERSAMPLING * side for side in style.size)
    eye, rays, forward = _rays(style, width, height)
    n = len(rays)
    eyes = np.broadcast_to(eye, rays.shape)
    with np.errstate(divide="ignore"):
        depth = np.where(rays[:, 2] < -1e-6, -eye[2] / rays[:, 2], np.inf).astype(np.float32)
    at = eye + np.where(np.isfinite(depth), depth, 0)[:, None] * rays
    on_table = np.isfinite(depth) & (np.abs(at[:, :2]).max(1) < style.table_m)
    depth[~on_table] = np.inf
    owner = np.zeros(n, np.uint8)
    for index, place in enumerate(places):
        passes, enter, leave = place.near(eyes, rays)
        hit = np.flatnonzero(passes)
        t = _march(place, eyes[hit], rays[hit], enter[hit], np.minimum(leave[hit], depth[hit]))
        met = np.isfinite(t)
        depth[hit[met]], owner[hit[met]] = t[met], index + 1
    seen = np.isfinite(depth)
    points = (eye + depth[seen, None] * rays[seen]).astype(np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (len(points), 1))
    rgb = style.ground(points)
    for index, place in enumerate(places):
        mine = owner[seen] == index + 1
        if mine.any():
            local = place.to_local(points[mine])
            rgb[mine] = place.thing.colors(local)
            normals[mine] = _normals(place, points[mine])
    lit = _shade(places, style, points, normals, rays[seen], rgb, owner[seen])
    image = style.background(rays).astype(np.float32)
    image[seen] = lit
    image = image.reshape(height, width, 3)
    ids = owner.reshape(height, width)
    metres = np.where(seen, depth * (rays @ forward), 0).reshape(height, width)
    if style.ink:
        image = _draw_ink(image, ids)
    small = cv2.resize(image, style.size, interpolation=cv2.INTER_AREA)
    pixels = np.round(255 * np.clip(small, 0, 1)).astype(np.uint8)
    step = np.s_[::_SUPERSAMPLING, ::_SUPERSAMPLING]
    return pixels, np.ascontiguousarray(ids[step]), metres[step].astype(np.float32)


def camera_axes(style: Style) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The camera's position (3,), and its axes right, down, forward as columns (3, 3)."""
    elevation = style.elevation_rad
    forward = np.array([0.0, math.cos(elevation), -math.sin(elevation)])
    right = np.array([1.0, 0.0, 0.0])
    position = np.array([0.0, 0.0, 0.03]) - style.distance_m * forward
    return position, np.stack([right, np.cross(forward, right), forward], axis=1)


def _rays(style: Style, width: int, height: int) -> tuple[NDArray[np.float32], Points, Values]:
    position, axes = camera_axes(style)
    tangent = math.tan(style.vertical_fov_rad / 2)
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * tangent * width / height
    y = ((np.arange(height) + 0.5) / height * 2 - 1) * tangent
    grid = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1).reshape(-1, 3)
    rays = grid @ axes.T
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    return position.astype(np.float32), rays.astype(np.float32), axes[:, 2].astype(np.float32)


def _march(place: Place, origin: Points, direction: Points, start: Values, end: Values) -> Values:
    """Distance along each ray to the thing, inf where it is missed."""
    t, found = start.copy(), np.full(len(start), np.inf, np.float32)
    active = np.arange(len(t))
    for _ in range(_STEPS):
        d = place.thing.distance(
            place.to_local(origin[active] + t[active, None] * direction[active])
        )
        met = d < _NEAR_M
        found[active[met]] = t[active[met]]
        t[active] += np.maximum(0.9 * d, 0.0004)
        active = active[~met & (t[active] < end[active])]
        if not len(active):
            break
    return found


def _normals(place: Place, points: Points) -> Points:
    corners = np.array([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)], np.float32)
    total = np.zeros_like(points)
    for corner in corners:
        total += corner * place.thing.distance(place.to_local(points + 0.0007 * corner))[:, None]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def _shade(
    places: list[Place],
    style: Style,
    points: Points,
    normals: Points,
    rays: Points,
    rgb: NDArray[np.float32],
    owner: NDArray[np.uint8],
) -> NDArray[np.float32]:
    to_light = np.array(style.light, np.float32)
    to_light /= np.linalg.norm(to_light)
    facing = np.maximum(normals @ to_light, 0)
    origin = points + 0.003 * normals
    lit, open_sky = np.ones(len(points), np.float32), np.ones(len(points), np.float32)
    for place in places:
        passes, enter, leave = place.near(origin, np.broadcast_to(to_light, origin.shape))
        hit = np.flatnonzero(passes & (facing > 0))
        if len(hit):
            t = np.maximum(enter[hit], 0.002)
            light = np.ones(len(hit), np.float32)
            for _ in range(_SHADOW_STEPS):
                d = place.thing.distance(place.to_local(origin[hit] + t[:, None] * to_light))
                light = np.where(t < leave[hit], np.minimum(light, style.softness * d / t), light)
                t += np.clip(d, 0.003, 0.03)
            lit[hit] = np.minimum(lit[hit], np.clip(light, 0, 1))
        near = np.flatnonzero(
            np.hypot(*(points[:, :2] - np.array(place.xy_m)).T) < place.thing.reach + 0.06
        )
        if len(near):
            reach = 0.03
            d = place.thing.distance(place.to_local(points[near] + reach * normals[near]))
            open_sky[near] = np.minimum(open_sky[near], 0.45 + 0.55 * np.clip(d / reach, 0, 1))
    direct = lit * facing
    if style.ink:
        direct = np.where(direct > 0.55, 1.0, np.where(direct > 0.18, 0.6, 0.2)).astype(np.float32)
        open_sky[:] = 1
    half = to_light - rays
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = style.gloss * lit * np.maximum((normals * half).sum(1), 0) ** 50 * (owner > 0)
    sky = style.ambient * open_sky * (0.75 + 0.25 * normals[:, 2])
    light = sky[:, None] + direct[:, None] * np.array(style.light_rgb, np.float32)
    return rgb * light + shine[:, None]


def _draw_ink(image: NDArray[np.float32], ids: NDArray[np.uint8]) -> NDArray[np.float32]:
    edges = cv2.morphologyEx(ids, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    thick = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(thick[..., None], np.float32(0.05), image)
