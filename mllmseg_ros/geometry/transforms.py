# SPDX-License-Identifier: Apache-2.0
"""Where coordinate frames were at a moment: a tree of rigid transforms with a short past.

Metres, quaternions (x, y, z, w), right-handed frames (REP 103, REP 105). A matrix ``a_from_b`` (4,
4) takes a point given in frame b to the same point given in frame a. Knows nothing of messages.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["TransformBuffer", "TransformError", "matrix_of"]

HISTORY_NS = 10_000_000_000
_MAX_FRAMES = 10_000
_MAX_SAMPLES = 20_000  # of one frame: 10 s at 2 kHz
_SHORTEST = 1e-6  # a shorter quaternion points nowhere; any other is brought to length 1, as in tf2
_NAMES_SHOWN, _CHARS_SHOWN = 8, 64


class TransformError(ValueError):
    """There is no such transform; the text says why."""


class TransformExpiredError(TransformError):
    """The moment lies before all that is remembered: waiting does not bring it back."""


class TransformBuffer:
    """A tree of frames, each with its place in its parent over the last seconds.

    All methods may be called from any thread.
    """

    def __init__(self, history_ns: int = HISTORY_NS) -> None:
        """Set up without any frame.

        Args:
            history_ns: ns, how much older than a frame's newest transform the ones kept may be.
        """
        self._history_ns = history_ns
        self._lock = threading.Lock()
        self._edges: dict[str, _Edge] = {}  # by the name of the child

    def put(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Sequence[float],
        quaternion: Sequence[float],
        *,
        static: bool = False,
    ) -> None:
        """Take in where a frame lies in its parent.

        A frame has one parent: under another one its past begins anew.

        Args:
            parent: name of the frame that the rest is given in.
            child: name of the frame.
            stamp_ns: ns, when it lay there.
            translation: (3,) m, the child's origin.
            quaternion: (4,) x, y, z, w, the child's orientation; of any length but 0.
            static: it lies there always.

        Raises:
            ValueError: saying what is malformed, or that this would close a loop, is too old or one
                frame too many.
        """
        parent, child = parent.removeprefix("/"), child.removeprefix("/")  # as tf2 does
        pose = _checked(parent, child, translation, quaternion)
        with self._lock:
            edge = self._edges.get(child)
            if edge is None or (edge.parent, edge.static) != (parent, static):
                if edge is None and len(self._edges) >= _MAX_FRAMES:
                    raise ValueError(f"there are {_MAX_FRAMES} frames already")
                if child in self._to_root(parent):
                    raise ValueError(
                        f"frame {_shown(child)} in {_shown(parent)} would close a loop: "
                        f"{_shown(parent)} is in the tree below {_shown(child)}"
                    )
                edge = self._edges[child] = _Edge(parent, static)
            edge.put(child, stamp_ns, pose, self._history_ns)

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """Tell where a frame was, interpolating between the transforms before and after.

        Args:
            target: name of the frame to express points in.
            source: name of the frame that they are given in.
            stamp_ns: ns, the moment; none is the latest.

        Returns:
            ``target_from_source`` (4, 4).

        Raises:
            TransformError: if a frame is unknown, the two are not connected, or the moment lies
                after what is known.
            TransformExpiredError: if it lies before.
        """
        with self._lock:
            for name in (target, source):
                if name not in self._edges and not any(
                    edge.parent == name for edge in self._edges.values()
                ):
                    raise TransformError(f"frame {_shown(name)} is unknown; known: {self._names()}")
            up, down = self._to_root(source), self._to_root(target)
            if up[-1] != down[-1]:
                raise TransformError(
                    f"frames {_shown(target)} and {_shown(source)} are not connected: one is in "
                    f"the tree of {_shown(down[-1])}, the other in that of {_shown(up[-1])}"
                )
            meeting = next(name for name in up if name in down)
            from_source = self._chain(up[: up.index(meeting)], stamp_ns)
            from_target = self._chain(down[: down.index(meeting)], stamp_ns)
        return inverse(from_target) @ from_source

    def clear(self) -> None:
        """Forget all but what is static, which nobody would say again."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def _to_root(self, name: str) -> list[str]:
        """The frame, its parent, and so on."""
        names = [name]
        while (edge := self._edges.get(names[-1])) is not None:
            names.append(edge.parent)
        return names

    def _chain(self, children: Sequence[str], stamp_ns: int) -> NDArray[np.float64]:
        """Pose of the first of these frames in the parent of the last."""
        matrix = np.eye(4)
        for child in children:
            translation, quaternion = self._edges[child].at(child, stamp_ns)
            matrix = matrix_of(translation, quaternion) @ matrix
        return matrix

    def _names(self) -> str:
        names = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
        if not names:
            return "none, no transform has come"
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return ", ".join(map(_shown, names[:_NAMES_SHOWN])) + more


Pose = tuple[tuple[float, ...], tuple[float, ...]]  # translation, unit quaternion


class _Edge:
    """One frame's places in its parent, by time."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent, self.static = parent, static
        self._stamps: list[int] = []  # ns, rising
        self._poses: list[Pose] = []

    def put(self, child: str, stamp_ns: int, pose: Pose, history_ns: int) -> None:
        stamps, poses = self._stamps, self._poses
        if self.static:
            stamps[:], poses[:] = [stamp_ns], [pose]
            return
        if stamps and stamp_ns < stamps[-1] - history_ns:
            raise ValueError(
                f"the place of frame {_shown(child)} at {_seconds(stamp_ns)} is "
                f"{_seconds(stamps[-1] - stamp_ns)} older than its newest"
            )
        index = bisect.bisect_left(stamps, stamp_ns)
        if index < len(stamps) and stamps[index] == stamp_ns:
            poses[index] = pose
            return
        stamps.insert(index, stamp_ns)
        poses.insert(index, pose)
        # The last one from before stays, so that the whole of the history lies between two.
        n_old = bisect.bisect_right(stamps, stamps[-1] - history_ns) - 1
        n_old = max(n_old, len(stamps) - _MAX_SAMPLES)
        if n_old > 0:
            del stamps[:n_old], poses[:n_old]

    def at(self, child: str, stamp_ns: int) -> Pose:
        stamps, poses = self._stamps, self._poses
        if self.static:
            return poses[0]
        index = bisect.bisect_left(stamps, stamp_ns)
        if index < len(stamps) and stamps[index] == stamp_ns:
            return poses[index]
        if 0 < index < len(stamps):
            share = (stamp_ns - stamps[index - 1]) / (stamps[index] - stamps[index - 1])
            return _between(poses[index - 1], poses[index], share)
        late = index > 0
        off_ns = stamp_ns - stamps[-1] if late else stamps[0] - stamp_ns
        raise (TransformError if late else TransformExpiredError)(
            f"frame {_shown(child)} in {_shown(self.parent)} is known from {_seconds(stamps[0])} "
            f"to {_seconds(stamps[-1])}; {_seconds(stamp_ns)} is {_seconds(off_ns)} "
            f"{'into the future' if late else 'into the past'}"
        )


def matrix_of(translation: Sequence[float], quaternion: Sequence[float]) -> NDArray[np.float64]:
    """Pose as a matrix (4, 4), from translation (3,) m and unit quaternion x, y, z, w."""
    x, y, z, w = quaternion
    matrix = np.eye(4)
    matrix[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    matrix[:3, 3] = translation
    return matrix


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a rigid transform (4, 4)."""
    turned = np.eye(4)
    turned[:3, :3] = matrix[:3, :3].T
    turned[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return turned


def slerp(a: Sequence[float], b: Sequence[float], share: float) -> tuple[float, ...]:
    """Turn from one unit quaternion to another at constant speed, the short way.

    Args:
        a: where share is 0.
        b: where it is 1.
        share: 0 to 1.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    sign = math.copysign(1.0, dot)  # a quaternion and its negative are one rotation
    angle = math.acos(min(1.0, abs(dot)))
    if angle < 1e-6:  # too small to divide by: the straight way is as good
        from_a, from_b = 1 - share, share
    else:
        from_a = math.sin((1 - share) * angle) / math.sin(angle)
        from_b = math.sin(share * angle) / math.sin(angle)
    return _unit([from_a * p + sign * from_b * q for p, q in zip(a, b, strict=True)])


def _between(a: Pose, b: Pose, share: float) -> Pose:
    translation = tuple((1 - share) * p + share * q for p, q in zip(a[0], b[0], strict=True))
    return translation, slerp(a[1], b[1], share)


def _unit(quaternion: Sequence[float]) -> tuple[float, ...]:
    length = math.hypot(*quaternion)
    return tuple(value / length for value in quaternion)


def _checked(
    parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]
) -> Pose:
    """A pose to keep.

    Raises:
        ValueError: saying what is malformed.
    """
    if not parent or not child:
        raise ValueError(f"frame {_shown(child)} in {_shown(parent)}: both need a name")
    if parent == child:
        raise ValueError(f"frame {_shown(child)} is given in itself")
    values = [*translation, *quaternion]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"frame {_shown(child)} in {_shown(parent)} has {values}, not all finite")
    if not _SHORTEST < math.hypot(*quaternion) < math.inf:
        raise ValueError(
            f"frame {_shown(child)} in {_shown(parent)} has quaternion {list(quaternion)}, no "
            "orientation"
        )
    return tuple(translation), _unit(quaternion)


def _shown(name: str) -> str:
    """A name from outside, for one line of text."""
    return ascii(name[:_CHARS_SHOWN])


def _seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:.3f} s"
