# SPDX-License-Identifier: Apache-2.0
"""How one target has moved since its key image: one affine motion, from points tracked on it.

Dense flow mixes a thing with what is behind it, and composed over many images it drifts. So a
target's points, corners of its outline among them, are looked for directly in the newest image
(Lucas-Kanade), beginning where they were in the last one. A thing without corners moves as dense
flow says. What does not look like the target any more is covered by something. NumPy and OpenCV.

Entry point: :class:`TargetMotion`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.propagation import FlowMap, SoftMask

Affine = NDArray  # (2, 3) floats: small px of the newest image to small px of the key image

_MOST_POINTS, _LEAST_POINTS = 80, 6
_CORNER_QUALITY, _CORNER_DISTANCE_PX = 0.005, 2
_WINDOW_PX, _LEVELS = (9, 21), 2  # of Lucas-Kanade
_JUMP_PX = 10.0  # small px: a point that is farther from where it should be is not the same
_AGREE_PX = 1.0  # small px: a point so near to the common motion agrees with it
_LEAST_AGREED, _ENOUGH_AGREED = 0.4, 0.5  # share of the points; some lie on what is behind
_LEAST_STRETCH = 0.6
_DENSE_POINTS = 400  # small px of a mask that its motion is taken from while it has no points
_UNSURE = 0.6  # confidence where a motion could not be renewed
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_OFF_LEVELS = 60.0  # RGB levels: standard deviation of what a pixel of it may differ by


class TargetMotion:
    """Follows one target from image to image."""

    def __init__(self, soft: SoftMask) -> None:
        """Begin.

        Args:
            soft: mask in the key image.
        """
        self._soft = soft
        self._motion: Affine | None = None
        self._step = np.zeros(2, np.float32)  # small px, of the last image: the next is like it
        side_px = 0.4 * float(np.sqrt((soft.patch >= 0.5).sum())) / 2
        self._window_px = int(np.clip(side_px, *_WINDOW_PX)) | 1  # not much more than the target
        self._points: NDArray[np.float32] | None = None  # (N, 2) small px of the key image

    def carried(self, flow_map: FlowMap) -> tuple[NDArray[np.float32], float]:
        """Carry the mask into the newest image; to be called for each image that moved.

        Returns:
            Probabilities (H, W); and the confidence in [0, 1], 0 where it is lost.
        """
        nothing = np.zeros(flow_map.size_hw, np.float32)
        support = self._follow(flow_map)
        if self._motion is None:
            return nothing, 0.0
        low, high = self._bounds(flow_map)
        if (high <= low).any():
            return nothing, 0.0
        # Small pixels of the newest image's crop; whole ones of it; pixels of the patch.
        scale = flow_map.scale
        small_wh = (int(high[0] - low[0]), int(high[1] - low[1]))
        whole_low = np.round(low * scale).astype(int)
        whole_wh = np.round(high * scale).astype(int) - whole_low
        shrink = np.diag([1 / scale[0], 1 / scale[1], 1.0])
        shrink[:2, 2] = (whole_low + 0.5) / scale - 0.5
        grow = np.diag([scale[0], scale[1], 1.0])
        grow[:2, 2] = 0.5 * scale - 0.5 - self._soft.origin_uv
        to_patch = (grow @ np.vstack([self._motion, [0, 0, 1]]) @ shrink)[:2]
        drawn = cv2.warpAffine(self._soft.patch, to_patch, tuple(whole_wh.tolist()), flags=_WARP)
        alike = cv2.resize(
            self._alike(flow_map, low, small_wh),
            tuple(whole_wh.tolist()),
            interpolation=cv2.INTER_LINEAR,
        )
        total = float(drawn.sum())
        shown = float((drawn * alike).sum()) / total if total > 0 else 0.0
        (u0, v0), (width, height) = whole_low, whole_wh
        nothing[v0 : v0 + height, u0 : u0 + width] = drawn * (alike > 0.5)
        return nothing, min(support, shown)

    def _follow(self, flow_map: FlowMap) -> float:
        """Renew the motion; returns how far the points agree with it, in [0, 1]."""
        if self._motion is None:
            self._points = self._corners(flow_map)
            if self._points is not None and len(self._points) >= _LEAST_POINTS:
                return self._catch_up(flow_map)
        if self._points is None or len(self._points) < _LEAST_POINTS:
            self._motion = self._dense(flow_map)
            return 1.0 if self._motion is not None else 0.0
        return self._renew(flow_map.key_grey, flow_map.newest_grey)

    def _catch_up(self, flow_map: FlowMap) -> float:
        """Find the motion since the key image, along the images in between or by dense flow."""
        self._motion = np.eye(2, 3)
        for image in flow_map.between:
            self._renew(flow_map.key_grey, image)
        support = self._renew(flow_map.key_grey, flow_map.newest_grey)
        along = self._motion
        dense = self._dense(flow_map)
        if support == 1.0 or dense is None:
            return support
        self._motion, self._step = dense, np.zeros(2, np.float32)
        by_flow = self._renew(flow_map.key_grey, flow_map.newest_grey)
        if by_flow <= support:
            self._motion = along
        return max(support, by_flow)

    def _renew(self, key: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
        """Look for the points in an image, beginning where they were in the last one."""
        assert self._points is not None
        assert self._motion is not None
        points = self._points
        back = cv2.invertAffineTransform(self._motion)
        last = (points @ back[:, :2].T + back[:, 2]).astype(np.float32)
        expected = last + self._step
        found, there, _ = cv2.calcOpticalFlowPyrLK(
            key,
            image,
            points.reshape(-1, 1, 2),
            expected.reshape(-1, 1, 2).copy(),
            winSize=(self._window_px, self._window_px),
            maxLevel=_LEVELS,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
        )
        found = found.reshape(-1, 2)
        sound = there.ravel() > 0
        sound &= np.linalg.norm(found - expected, axis=1) < _JUMP_PX
        if sound.sum() < _LEAST_POINTS:
            return _UNSURE
        motion, agree = cv2.estimateAffine2D(
            found[sound], points[sound], method=cv2.RANSAC, ransacReprojThreshold=_AGREE_PX
        )
        if motion is None or np.mean(agree) < _LEAST_AGREED or not _is_sane(motion):
            return _UNSURE
        inliers = agree.ravel() > 0
        self._step = (found[sound][inliers] - last[sound][inliers]).mean(axis=0)
        self._motion = motion
        return min(1.0, float(np.mean(agree)) / _ENOUGH_AGREED)

    def _dense(self, flow_map: FlowMap) -> Affine | None:
        """Motion from the dense flow inside the mask."""
        inside = flow_map.sampled(self._soft) >= 0.5
        v, u = np.nonzero(inside & (flow_map.confidence > 0.05))
        if len(u) < _LEAST_POINTS:
            return None
        pick = np.linspace(0, len(u) - 1, min(len(u), _DENSE_POINTS)).astype(int)
        now = np.stack([u[pick], v[pick]], axis=-1).astype(np.float32)
        then = now + flow_map.displacement[v[pick], u[pick]]
        motion, _ = cv2.estimateAffinePartial2D(
            now, then, method=cv2.RANSAC, ransacReprojThreshold=_AGREE_PX
        )
        return motion if motion is not None and _is_sane(motion) else None

    def _corners(self, flow_map: FlowMap) -> NDArray[np.float32] | None:
        """Points on the target in the key image."""
        (height, width), (u0, v0) = flow_map.size_hw, self._soft.origin_uv
        patch_h, patch_w = self._soft.patch.shape
        mask = np.zeros((height, width), np.uint8)
        mask[v0 : v0 + patch_h, u0 : u0 + patch_w] = self._soft.patch >= 0.5
        small_h, small_w = flow_map.confidence.shape
        small = cv2.resize(mask, (small_w, small_h), interpolation=cv2.INTER_AREA)
        corners = cv2.goodFeaturesToTrack(
            flow_map.key_grey,
            _MOST_POINTS,
            _CORNER_QUALITY,
            _CORNER_DISTANCE_PX,
            mask=cv2.dilate(small, np.ones((3, 3), np.uint8)),
        )
        return None if corners is None else corners.reshape(-1, 2).astype(np.float32)

    def _bounds(self, flow_map: FlowMap) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Corners (u, v), small px, of the newest image's part that the patch can lie in."""
        assert self._motion is not None
        small_h, small_w = flow_map.confidence.shape
        patch_h, patch_w = self._soft.patch.shape
        corners = np.array([[0, 0], [patch_w, 0], [0, patch_h], [patch_w, patch_h]], np.float64)
        corners = (corners + self._soft.origin_uv + 0.5) / flow_map.scale - 0.5
        back = cv2.invertAffineTransform(self._motion)
        moved = corners @ back[:, :2].T + back[:, 2]
        low = np.clip(np.floor(moved.min(axis=0) - 1), 0, (small_w, small_h))
        high = np.clip(np.ceil(moved.max(axis=0) + 2), 0, (small_w, small_h))
        return low.astype(np.int64), high.astype(np.int64)

    def _alike(
        self, flow_map: FlowMap, low: NDArray[np.int64], size_wh: tuple[int, int]
    ) -> NDArray[np.float32]:
        """How much each small pixel of a part of the newest image looks like the target there."""
        assert self._motion is not None
        (u, v), (width, height) = low, size_wh
        motion = self._motion.copy()
        motion[:, 2] += motion[:, :2] @ low
        then = cv2.warpAffine(
            flow_map.key, motion, size_wh, flags=_WARP, borderMode=cv2.BORDER_REPLICATE
        )
        now = flow_map.newest[v : v + height, u : u + width].astype(np.float32)
        off = cv2.blur(now - then, (5, 5))
        off -= np.median(off[::2, ::2], axis=(0, 1))  # the light may have changed
        off = np.abs(off).max(axis=-1)
        return np.asarray(cv2.exp(-(off * off) / (2 * _OFF_LEVELS**2)))


def _is_sane(motion: Affine) -> bool:
    """Whether a thing can have moved so within the age of an answer: not shrunk to a sliver."""
    stretch = np.linalg.svd(motion[:, :2], compute_uv=False)
    return bool(stretch.min() > _LEAST_STRETCH and stretch.max() < 1 / _LEAST_STRETCH)
