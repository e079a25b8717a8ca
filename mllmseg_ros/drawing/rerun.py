# SPDX-License-Identifier: Apache-2.0
"""Log images and results to Rerun: to its viewer or to a file.

Coordinate frames have their names in TF; the timeline is the image's stamp. Knows neither ROS nor
the model. Needs the optional package rerun-sdk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.drawing.overlay import choose_colors
from mllmseg_ros.files import write_file
from mllmseg_ros.segmentation import Segmentation, Status

__all__ = ["LoggedSegmentation", "RerunLog"]

try:
    import rerun as rr
    import rerun.blueprint as rrb
except ImportError as error:
    raise ValueError(
        f"{error}; install rerun-sdk: pip install '.[view]' in the repository"
    ) from error

TIMELINE = "stamp"
_APPLICATION = "mllmseg"
_JPEG_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 85)
_MAX_CHARS = 48  # of an expression in an entity path


@dataclass(frozen=True, kw_only=True)
class Box:
    """A 3D box, m."""

    frame_id: str
    center: Sequence[float]  # x, y, z
    size: Sequence[float]  # along its axes
    quaternion: Sequence[float]  # x, y, z, w


@dataclass(frozen=True, kw_only=True)
class LoggedSegmentation:
    """One segmentation of a result."""

    segmentation: Segmentation
    track_id: str = ""
    box: Box | None = None


class RerunLog:
    """A Rerun recording. Not thread-safe."""

    def __init__(self, save: Path | None = None) -> None:
        """Start a recording.

        Args:
            save: file to write, usually ``.rrd``; None starts the viewer.

        Raises:
            OSError, ValueError: if the file cannot be written.
            RuntimeError: if the viewer cannot be started.
        """
        self._stream = rr.RecordingStream(_APPLICATION)
        self._scene_frame = self._camera_frame = ""
        if save is None:
            self._stream.spawn(default_blueprint=_blueprint())
        else:
            write_file(save, b"")  # replaces a symbolic link; a clear error for a bad path
            self._stream.save(save, default_blueprint=_blueprint())

    def close(self) -> None:
        """Flush and end the recording."""
        self._stream.flush()
        self._stream.disconnect()

    def log_image(self, stamp_ns: int, frame_id: str, rgb: NDArray[np.uint8]) -> None:
        """Log an image (H, W, 3) RGB, as JPEG."""
        self._camera_frame = frame_id
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG_QUALITY)
        image = rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg", draw_order=0)
        self._log(stamp_ns, "camera/image", image, rr.CoordinateFrame(_image_plane(frame_id)))

    def log_intrinsics(
        self, stamp_ns: int, frame_id: str, K: NDArray[np.float64], size_hw: tuple[int, int]
    ) -> None:
        """Log the camera matrix (3, 3), which places the image in 3D."""
        pinhole = rr.Pinhole(
            image_from_camera=K,
            width=size_hw[1],
            height=size_hw[0],
            camera_xyz=rr.ViewCoordinates.RDF,  # REP 103
            parent_frame=frame_id,
            child_frame=_image_plane(frame_id),
        )
        self._log(stamp_ns, "camera/lens", pinhole)

    def log_segmentations(
        self,
        stamp_ns: int,
        frame_id: str,
        size_hw: tuple[int, int],
        text: str,
        segmentations: Sequence[LoggedSegmentation],
    ) -> None:
        """Log a result: labelled masks, scores over time, boxes, and a text.

        Args:
            stamp_ns: of the image.
            frame_id: of the image.
            size_hw: of the image, px.
            text: one line.
            segmentations: of the result; at most 255 are drawn.
        """
        colors = choose_colors([each.track_id for each in segmentations])
        labels = np.zeros(size_hw, np.uint8)
        classes = [rr.AnnotationInfo(id=0, label="", color=(0, 0, 0, 0))]
        for label, (each, color) in enumerate(
            zip(segmentations[:255], colors, strict=False), start=1
        ):
            if each.segmentation.status is Status.FOUND:
                labels[each.segmentation.mask & (labels == 0)] = label
            classes.append(rr.AnnotationInfo(id=label, label=_format_name(each), color=color))
        plane = rr.CoordinateFrame(_image_plane(frame_id))
        self._log(stamp_ns, "camera/answer", rr.AnnotationContext(classes))
        image = rr.SegmentationImage(labels, opacity=0.3, draw_order=1)
        self._log(stamp_ns, "camera/answer", image, plane)
        for each in segmentations:
            segmentation = each.segmentation
            score = segmentation.score
            if np.isnan(score):
                score = segmentation.mask_score
            name = rr.escape_entity_path_part(segmentation.expression[:_MAX_CHARS])
            self._log(stamp_ns, f"scores/{name}", rr.Scalars([score]))
        boxed = [
            (each, color) for each, color in zip(segmentations, colors, strict=True) if each.box
        ]
        self._log_boxes(stamp_ns, boxed)
        self._log(stamp_ns, "answers", rr.TextLog(text, level="INFO"))

    def _log_boxes(
        self, stamp_ns: int, boxed: Sequence[tuple[LoggedSegmentation, tuple[int, int, int]]]
    ) -> None:
        boxes = [each.box for each, _ in boxed if each.box is not None]
        if not boxes:
            self._log(stamp_ns, "scene/boxes", rr.Clear(recursive=False))
            return
        frame = boxes[0].frame_id
        self._set_scene_frame(frame)
        solid = rr.Boxes3D(
            centers=[box.center for box in boxes],
            sizes=[box.size for box in boxes],
            quaternions=[rr.Quaternion(xyzw=list(box.quaternion)) for box in boxes],
            colors=[color for _, color in boxed],
            labels=[_format_name(each) for each, _ in boxed],
        )
        self._log(stamp_ns, "scene/boxes", solid, rr.CoordinateFrame(frame))

    def log_points(
        self, stamp_ns: int, frame_id: str, points: NDArray[np.float32], rgb: NDArray[np.uint8]
    ) -> None:
        """Log the target's points (N, 3) m with their colours (N, 3)."""
        self._set_scene_frame(frame_id)
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
        """Log the pose of a frame in its parent, m and (x, y, z, w); static without a stamp."""
        pose = rr.Transform3D(
            translation=list(translation),
            quaternion=rr.Quaternion(xyzw=list(quaternion)),
            parent_frame=parent,
            child_frame=child,
        )
        self._log(stamp_ns, f"tf/{rr.escape_entity_path_part(child)}", pose)

    def log_command(self, stamp_ns: int, text: str) -> None:
        """Log the text of a command."""
        self._log(stamp_ns, "commands", rr.TextLog(text, level="INFO"))

    def _set_scene_frame(self, frame_id: str) -> None:
        """Set the frame of the 3D view to that of the positions."""
        if frame_id != self._scene_frame:
            self._scene_frame = frame_id
            # REP 103: an optical frame's y points down, any other frame's z up.
            is_optical = frame_id == self._camera_frame
            axes = rr.ViewCoordinates.RDF if is_optical else rr.ViewCoordinates.FLU
            self._log(None, "scene", rr.CoordinateFrame(frame_id), axes)

    def _log(self, stamp_ns: int | None, path: str, *components: rr.AsComponents) -> None:
        if stamp_ns is not None:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.log(path, *components, static=stamp_ns is None)


def _image_plane(frame_id: str) -> str:
    """Return the frame id of a camera's image plane."""
    return f"{frame_id}/image"


def _format_name(segmentation: LoggedSegmentation) -> str:
    expression = segmentation.segmentation.expression[:_MAX_CHARS]
    return f"{expression} {segmentation.track_id}".rstrip()


def _blueprint() -> rrb.Blueprint:
    """Return the initial layout of the viewer."""
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(
                rrb.Spatial2DView(origin="camera/image", contents="camera/**", name="camera"),
                rrb.TextLogView(contents=["commands", "answers"], name="commands and results"),
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
