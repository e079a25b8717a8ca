# SPDX-License-Identifier: Apache-2.0
"""Images and answers into Rerun: a viewer, or a file to look at later.

Frames keep the names that they have in TF; time is the image's stamp. Knows neither ROS nor the
model. Needs the optional package rerun-sdk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["LoggedSegmentation", "RerunLog"]

try:
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as error:
    raise ValueError(
        f"{error}; install rerun-sdk: pip install 'mllmseg_ros[view]' or requirements/view.txt"
    ) from error

TIMELINE = "stamp"
_APPLICATION = "mllmseg"
_JPEG_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 85)
_MOST_CHARS = 48  # of an expression in the name of an entity


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box in space, m."""

    frame_id: str
    center: Sequence[float]  # x, y, z
    size: Sequence[float]  # edges along its own axes
    quaternion: Sequence[float]  # x, y, z, w


@dataclass(frozen=True, kw_only=True)
class LoggedSegmentation:
    """One entry of an answer."""

    segmentation: Segmentation
    track_id: str = ""
    box: Box | None = None


class RerunLog:
    """A recording that grows. To be used from one thread."""

    def __init__(self, save: Path | None = None) -> None:
        """Begin one.

        Args:
            save: file to write, usually ``.rrd``; None opens the viewer.

        Raises:
            OSError: if the file cannot be written.
            RuntimeError: if the viewer cannot be started.
        """
        self._stream = rr.RecordingStream(_APPLICATION)
        self._scene_frame = self._camera_frame = ""
        if save is None:
            self._stream.spawn(default_blueprint=_blueprint())
        else:
            with save.open("wb"):  # says what is wrong with the path
                pass
            self._stream.save(save, default_blueprint=_blueprint())

    def close(self) -> None:
        """Write what is left."""
        self._stream.flush()
        self._stream.disconnect()

    def log_image(self, stamp_ns: int, frame_id: str, rgb: NDArray[np.uint8]) -> None:
        """Log an image (H, W, 3) RGB, as JPEG."""
        self._camera_frame = frame_id
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG_QUALITY)
        picture = rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg", draw_order=0)
        self._log(stamp_ns, "camera/image", picture, rr.CoordinateFrame(_plane(frame_id)))

    def log_intrinsics(
        self, stamp_ns: int, frame_id: str, K: NDArray[np.float64], size_hw: tuple[int, int]
    ) -> None:
        """Log the camera's matrix (3, 3), without which the image has no place in space."""
        pinhole = rr.Pinhole(
            image_from_camera=K,
            width=size_hw[1],
            height=size_hw[0],
            camera_xyz=rr.ViewCoordinates.RDF,  # REP 103
            parent_frame=frame_id,
            child_frame=_plane(frame_id),
        )
        self._log(stamp_ns, "camera/lens", pinhole)

    def log_segmentations(
        self,
        stamp_ns: int,
        frame_id: str,
        size_hw: tuple[int, int],
        text: str,
        shown: Sequence[LoggedSegmentation],
    ) -> None:
        """Log an answer: masks with their names, scores over time, boxes, and the text.

        Args:
            stamp_ns: of the image.
            frame_id: of the image.
            size_hw: of the image, px.
            text: one line.
            shown: the answer's entries; at most 255 are drawn.
        """
        colors = choose_colors([each.track_id for each in shown])
        labels = np.zeros(size_hw, np.uint8)
        classes = [rr.AnnotationInfo(id=0, label="", color=(0, 0, 0, 0))]
        for label, (each, color) in enumerate(zip(shown[:255], colors, strict=False), start=1):
            if each.segmentation.status is Status.FOUND:
                labels[each.segmentation.mask & (labels == 0)] = label
            classes.append(rr.AnnotationInfo(id=label, label=_name(each), color=color))
        plane = rr.CoordinateFrame(_plane(frame_id))
        self._log(stamp_ns, "camera/answer", rr.AnnotationContext(classes))
        picture = rr.SegmentationImage(labels, opacity=0.5, draw_order=1)
        self._log(stamp_ns, "camera/answer", picture, plane)
        for each in shown:
            one = each.segmentation
            number = one.mask_score if np.isnan(one.score) else one.score
            path = f"scores/{rr.escape_entity_path_part(one.expression[:_MOST_CHARS])}"
            self._log(stamp_ns, path, rr.Scalars([number]))
        boxed = [(each, color) for each, color in zip(shown, colors, strict=True) if each.box]
        self._boxes(stamp_ns, boxed)
        self._log(stamp_ns, "answers", rr.TextLog(text, level="INFO"))

    def _boxes(
        self, stamp_ns: int, boxed: Sequence[tuple[LoggedSegmentation, tuple[int, int, int]]]
    ) -> None:
        boxes = [each.box for each, _ in boxed if each.box is not None]
        if not boxes:
            self._log(stamp_ns, "scene/boxes", rr.Clear(recursive=False))
            return
        frame = boxes[0].frame_id
        self._place_scene(frame)
        solid = rr.Boxes3D(
            centers=[box.center for box in boxes],
            sizes=[box.size for box in boxes],
            quaternions=[rr.Quaternion(xyzw=list(box.quaternion)) for box in boxes],
            colors=[color for _, color in boxed],
            labels=[_name(each) for each, _ in boxed],
        )
        self._log(stamp_ns, "scene/boxes", solid, rr.CoordinateFrame(frame))

    def log_points(
        self, stamp_ns: int, frame_id: str, points: NDArray[np.float32], rgb: NDArray[np.uint8]
    ) -> None:
        """Log the target's points (N, 3) m with their colours (N, 3)."""
        self._place_scene(frame_id)
        cloud = rr.Points3D(points, colors=rgb, radii=[0.001])
        self._log(stamp_ns, "scene/target", cloud, rr.CoordinateFrame(frame_id))

    def log_transform(
        self,
        stamp_ns: int | None,
        parent: str,
        child: str,
        translation: Sequence[float],
        quaternion: Sequence[float],
    ) -> None:
        """Log where a frame is in its parent, m and (x, y, z, w); no stamp: for ever."""
        pose = rr.Transform3D(
            translation=list(translation),
            quaternion=rr.Quaternion(xyzw=list(quaternion)),
            parent_frame=parent,
            child_frame=child,
        )
        self._log(stamp_ns, f"tf/{rr.escape_entity_path_part(child)}", pose)

    def log_command(self, stamp_ns: int, text: str) -> None:
        """Log what was said."""
        self._log(stamp_ns, "commands", rr.TextLog(text, level="INFO"))

    def _place_scene(self, frame_id: str) -> None:
        """Have the view in space look from the frame that positions are told in."""
        if frame_id != self._scene_frame:
            self._scene_frame = frame_id
            # REP 103: an optical frame's y points down, any other frame's z up.
            is_optical = frame_id == self._camera_frame
            axes = rr.ViewCoordinates.RDF if is_optical else rr.ViewCoordinates.FLU
            self._log(None, "scene", rr.CoordinateFrame(frame_id), axes)

    def _log(self, stamp_ns: int | None, path: str, *what: rr.AsComponents) -> None:
        if stamp_ns is not None:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.log(path, *what, static=stamp_ns is None)


def _plane(frame_id: str) -> str:
    """Name of a camera's image plane as a frame."""
    return f"{frame_id}/image"


def _name(shown: LoggedSegmentation) -> str:
    return f"{shown.segmentation.expression[:_MOST_CHARS]} {shown.track_id}".rstrip()


def _blueprint() -> rrb.Blueprint:
    """What the viewer shows at first."""
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(
                rrb.Spatial2DView(origin="camera/image", contents="camera/**", name="camera"),
                rrb.TextLogView(contents=["commands", "answers"], name="said and answered"),
                row_shares=[3, 1],
            ),
            rrb.Vertical(
                rrb.Spatial3DView(
                    origin="scene", contents=["scene/**", "camera/**", "tf/**"], name="space"
                ),
                rrb.TimeSeriesView(contents="scores/**", name="scores"),
                row_shares=[3, 1],
            ),
        ),
        collapse_panels=True,
    )
