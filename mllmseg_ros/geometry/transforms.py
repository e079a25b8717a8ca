# SPDX-License-Identifier: Apache-2.0
"""A tree of coordinate frames with a short history of rigid transforms.

Metres, quaternions (x, y, z, w), right-handed frames (REP 103, REP 105). A matrix ``a_from_b`` (4,
4) transforms points from frame b into frame a. Knows nothing of messages.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mllmseg_ros.frame import bare_frame_id

__all__ = ["TransformBuffer", "TransformError", "pose_to_matrix"]

HISTORY_NS = 10_000_000_000
MAX_AHEAD_NS = 10_000_000_000  # of a pose's stamp, ahead of the clock
_MAX_FRAMES = 10_000
_MAX_SAMPLES = 20_000  # of one frame: 10 s at 2 kHz
_MIN_NORM = 1e-6  # of a quaternion; others are normalised, as in tf2
_MAX_NAMES, _MAX_NAME_CHARS = 8, 64  # in error messages


class TransformError(ValueError):
    """A transform is not available; the text says why."""


class TransformExpiredError(TransformError):
    """The time is older than the history: waiting does not help."""


class TransformBuffer:
    """A tree of frames, each with its recent poses in its parent.

    All methods may be called from any thread.
    """

    def __init__(self, history_ns: int = HISTORY_NS) -> None:
        """Set up without frames.

        Args:
            history_ns: ns, maximum age of a transform relative to the newest of the same frame.
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
        now_ns: int | None = None,
    ) -> None:
        """Add the pose of a frame in its parent.

        A frame has one parent: with a new parent its history starts again. It also starts again
        with the first pose that is older than the whole history where nothing but a single pose
        says that time has gone on since: that one had a wrong stamp.

        Args:
            parent: name of the parent frame.
            child: name of the frame.
            stamp_ns: ns, time of the pose.
            translation: (3,) m, the child's origin.
            quaternion: (4,) x, y, z, w, the child's orientation; of any norm but 0.
            static: valid at any time.
            now_ns: ns, the time now, where it is known; a moving frame's pose must not be farther
                ahead of it than :data:`MAX_AHEAD_NS`.

        Raises:
            ValueError: if the pose is malformed, too old or too far ahead, would close a loop, or
                there are too many frames.
        """
        if now_ns is not None and not static:
            check_stamp(parent, child, stamp_ns, now_ns)
        parent, child = bare_frame_id(parent), bare_frame_id(child)
        pose = _check_pose(parent, child, translation, quaternion)
        with self._lock:
            edge = self._edges.get(child)
            if edge is None or (edge.parent, edge.static) != (parent, static):
                if edge is None and len(self._edges) >= _MAX_FRAMES:
                    raise ValueError(f"there are {_MAX_FRAMES} frames already")
                if child in self._path_to_root(parent):
                    raise ValueError(
                        f"frame {_quote(child)} in {_quote(parent)} would close a loop: "
                        f"{_quote(parent)} is in the tree below {_quote(child)}"
                    )
                edge = self._edges[child] = _Edge(parent, static)
            edge.put(child, stamp_ns, pose, self._history_ns)

    def lookup(self, target: str, source: str, stamp_ns: int) -> NDArray[np.float64]:
        """Look up the transform between two frames, interpolated at a time.

        Between two poses that are farther apart than the history nothing is known.

        Args:
            target: name of the frame to transform points into.
            source: name of the frame that they are given in.
            stamp_ns: ns, the time.

        Returns:
            ``target_from_source`` (4, 4).

        Raises:
            TransformError: if a frame is unknown, the two are not connected, or the time is after
                the newest transform or in a gap.
            TransformExpiredError: if it is before the oldest.
        """
        target, source = bare_frame_id(target), bare_frame_id(source)
        with self._lock:
            for name in (target, source):
                if name not in self._edges and not any(
                    edge.parent == name for edge in self._edges.values()
                ):
                    raise TransformError(
                        f"frame {_quote(name)} is unknown; known: {self._list_names()}"
                    )
            source_path, target_path = self._path_to_root(source), self._path_to_root(target)
            if source_path[-1] != target_path[-1]:
                raise TransformError(
                    f"frames {_quote(target)} and {_quote(source)} are not connected: one is in "
                    f"the tree of {_quote(target_path[-1])}, the other in that of "
                    f"{_quote(source_path[-1])}"
                )
            common = next(name for name in source_path if name in target_path)
            from_source = self._compose(source_path[: source_path.index(common)], stamp_ns)
            from_target = self._compose(target_path[: target_path.index(common)], stamp_ns)
        return invert_transform(from_target) @ from_source

    def clear(self) -> None:
        """Drop all but static transforms, which are published only once."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def _path_to_root(self, name: str) -> list[str]:
        """Return the frame, its parent, and so on."""
        names = [name]
        while (edge := self._edges.get(names[-1])) is not None:
            names.append(edge.parent)
        return names

    def _compose(self, children: Sequence[str], stamp_ns: int) -> NDArray[np.float64]:
        """Compose poses: of the first of these frames in the parent of the last."""
        matrix = np.eye(4)
        for child in children:
            edge = self._edges[child]
            translation, quaternion = edge.interpolate(child, stamp_ns, self._history_ns)
            matrix = pose_to_matrix(translation, quaternion) @ matrix
        return matrix

    def _list_names(self) -> str:
        names = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
        if not names:
            return "none, no transform was received"
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        return ", ".join(map(_quote, names[:_MAX_NAMES])) + more


Pose = tuple[tuple[float, ...], tuple[float, ...]]  # translation, unit quaternion


class _Edge:
    """The poses of one frame in its parent, by time."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent, self.static = parent, static
        self._stamps: list[int] = []  # ns, ascending
        self._poses: list[Pose] = []

    def put(self, child: str, stamp_ns: int, pose: Pose, history_ns: int) -> None:
        stamps, poses = self._stamps, self._poses
        if self.static:
            stamps[:], poses[:] = [stamp_ns], [pose]
            return
        while stamps and stamp_ns < stamps[-1] - history_ns:
            if len(stamps) == 1 or stamps[-2] < stamps[-1] - history_ns:  # alone with its stamp
                del stamps[-1], poses[-1]
                continue
            raise ValueError(
                f"the pose of frame {_quote(child)} at {_format_seconds(stamp_ns)} is "
                f"{_format_seconds(stamps[-1] - stamp_ns)} older than its newest"
            )
        index = bisect.bisect_left(stamps, stamp_ns)
        if index < len(stamps) and stamps[index] == stamp_ns:
            poses[index] = pose
            return
        stamps.insert(index, stamp_ns)
        poses.insert(index, pose)
        # One older pose is kept, so that the whole history can be interpolated.
        n_old = bisect.bisect_right(stamps, stamps[-1] - history_ns) - 1
        n_old = max(n_old, len(stamps) - _MAX_SAMPLES)
        if n_old > 0:
            del stamps[:n_old], poses[:n_old]

    def interpolate(self, child: str, stamp_ns: int, max_gap_ns: int) -> Pose:
        stamps, poses = self._stamps, self._poses
        if self.static:
            return poses[0]
        index = bisect.bisect_left(stamps, stamp_ns)
        if index < len(stamps) and stamps[index] == stamp_ns:
            return poses[index]
        if 0 < index < len(stamps):
            if stamps[index] - stamps[index - 1] > max_gap_ns:
                raise TransformError(
                    f"frame {_quote(child)} in {_quote(self.parent)} is not known at "
                    f"{_format_seconds(stamp_ns)}: no pose came between "
                    f"{_format_seconds(stamps[index - 1])} and {_format_seconds(stamps[index])}"
                )
            fraction = (stamp_ns - stamps[index - 1]) / (stamps[index] - stamps[index - 1])
            return _interpolate(poses[index - 1], poses[index], fraction)
        late = index > 0
        off_ns = stamp_ns - stamps[-1] if late else stamps[0] - stamp_ns
        raise (TransformError if late else TransformExpiredError)(
            f"frame {_quote(child)} in {_quote(self.parent)} is known from "
            f"{_format_seconds(stamps[0])} to {_format_seconds(stamps[-1])}; "
            f"{_format_seconds(stamp_ns)} is {_format_seconds(off_ns)} "
            f"{'into the future' if late else 'into the past'}"
        )


def check_stamp(parent: str, child: str, stamp_ns: int, now_ns: int) -> None:
    """Check that the stamp of a pose is not too far ahead of the time now, both in ns.

    Raises:
        ValueError: naming the frames, how far it is ahead, and how far it may be.
    """
    if stamp_ns > now_ns + MAX_AHEAD_NS:
        raise ValueError(
            f"the pose of frame {_quote(child)} in {_quote(parent)} is stamped "
            f"{_format_seconds(stamp_ns - now_ns)} ahead of time, accepted are up to "
            f"{_format_seconds(MAX_AHEAD_NS)}; synchronise the clocks"
        )


def pose_to_matrix(
    translation: Sequence[float], quaternion: Sequence[float]
) -> NDArray[np.float64]:
    """Convert a pose, translation (3,) m and quaternion x, y, z, w, to a matrix (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def invert_transform(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert a rigid transform (4, 4)."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def slerp(a: Sequence[float], b: Sequence[float], fraction: float) -> tuple[float, ...]:
    """Interpolate between two unit quaternions on the shortest path, at constant speed.

    Not by scipy's Slerp, which takes 65 times as long (0.4 ms) for a single pair, and a lookup does
    this for every frame between camera and target.

    Args:
        a: at fraction 0.
        b: at fraction 1.
        fraction: 0 to 1.

    Source: Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.
    """
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    sign = math.copysign(1.0, dot)  # a quaternion and its negative are one rotation
    angle = math.acos(min(1.0, abs(dot)))
    if angle < 1e-6:  # avoids division by zero; linear interpolation is exact enough
        from_a, from_b = 1 - fraction, fraction
    else:
        from_a = math.sin((1 - fraction) * angle) / math.sin(angle)
        from_b = math.sin(fraction * angle) / math.sin(angle)
    return _normalize([from_a * p + sign * from_b * q for p, q in zip(a, b, strict=True)])


def _interpolate(a: Pose, b: Pose, fraction: float) -> Pose:
    translation = tuple((1 - fraction) * p + fraction * q for p, q in zip(a[0], b[0], strict=True))
    return translation, slerp(a[1], b[1], fraction)


def _normalize(quaternion: Sequence[float]) -> tuple[float, ...]:
    norm = math.hypot(*quaternion)
    return tuple(value / norm for value in quaternion)


def _check_pose(
    parent: str, child: str, translation: Sequence[float], quaternion: Sequence[float]
) -> Pose:
    """Check a pose and normalise its quaternion.

    Raises:
        ValueError: if it is malformed.
    """
    if not parent or not child:
        raise ValueError(f"frame {_quote(child)} in {_quote(parent)}: both need a name")
    if parent == child:
        raise ValueError(f"frame {_quote(child)} is its own parent")
    values = [*translation, *quaternion]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"frame {_quote(child)} in {_quote(parent)} has {values}, not all finite")
    if not _MIN_NORM < math.hypot(*quaternion) < math.inf:
        raise ValueError(
            f"frame {_quote(child)} in {_quote(parent)} has quaternion {list(quaternion)}, no "
            "orientation"
        )
    return tuple(translation), _normalize(quaternion)


def _quote(name: str) -> str:
    """Quote a received name for an error message."""
    return ascii(name[:_MAX_NAME_CHARS])


def _format_seconds(time_ns: int) -> str:
    return f"{time_ns / 1e9:.3f} s"
