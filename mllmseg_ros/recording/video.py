# SPDX-License-Identifier: Apache-2.0
"""Read a video as a recording, and write overlays as a video."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX
from mllmseg_ros.files import open_file
from mllmseg_ros.frame import Frame
from mllmseg_ros.recording.folder import CAMERA, FIRST_NS, FRAME_ID, RATE_HZ
from mllmseg_ros.recording.recorded_image import RecordedImage, no_depth

__all__ = ["VideoSource", "VideoWriter"]

_TICKS_PER_S = 1000
_MAX_MS = 1e12  # of a frame's time; stamps are of less than 2^31 s
_MAX_RATE_HZ = 1e4
_MAX_BOXES = 10_000  # that are searched for the index
_LARGE = (b"mdat", b"moov", b"moof")  # boxes that make up nearly all of it
_BOX = struct.Struct(">I4s")  # of an MP4 or MOV: length, with this head, and kind
# Not OpenCV's own choice: what no video reader opens, it takes for one of a series of images.
_BACKENDS = (cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER)
# Where a file of each kind has what: a playlist under the name of a video would name other files.
_MAGIC = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),  # MP4, MOV
    (0, (b"RIFF", b"\x1aE\xdf\xa3")),  # AVI; MKV and WebM
)


class VideoSource:
    """The frames of a video file. Their stamps are its own times, plus one second."""

    def __init__(self, path: Path) -> None:
        """Read the properties of the file.

        Raises:
            ValueError: OpenCV cannot read it.
        """
        self.path = path
        video = self._open()
        try:
            rate_hz = float(video.get(cv2.CAP_PROP_FPS))
            # Only for frames without a time of their own.
            self.rate_hz = rate_hz if 0 < rate_hz < _MAX_RATE_HZ else RATE_HZ
            self.n_frames = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
            _check_size(
                path, video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT)
            )
            readable = video.grab()
        finally:
            video.release()
        truncated = _read_boxes(path)[1]
        if not readable:
            reason = "truncated before its first frame" if truncated else "no frame can be read"
            raise ValueError(f"{path}: a video without readable frames ({reason})")
        if truncated:
            print(f"{path}: truncated; using the readable part", file=sys.stderr)

    def images(self, every: int) -> Iterator[RecordedImage]:
        """Yield every n-th frame. A frame can be decoded until the next one is taken."""
        video = self._open()
        number, stamp_ns = 0, 0
        try:
            while video.grab():
                # Of a variable frame rate, each frame has its own time.
                position_ms = video.get(cv2.CAP_PROP_POS_MSEC)
                known = 0 <= position_ms < _MAX_MS
                known_ns = FIRST_NS + round(position_ms * 1e6) if known else 0
                step_ns = round(1e9 / self.rate_hz)
                stamp_ns = known_ns if known_ns > stamp_ns else stamp_ns + step_ns
                if number % every == 0:
                    yield RecordedImage(
                        camera=CAMERA,
                        stamp_ns=stamp_ns,
                        frame_id=FRAME_ID,
                        recorded_ns=stamp_ns,
                        decode=lambda stamp_ns=stamp_ns: self._decode(video, stamp_ns),  # type: ignore[misc]
                        find_depth=no_depth,
                    )
                number += 1
        finally:
            video.release()

    def expect_images(self, every: int) -> int:
        """How many images there will be, as the file says; 0 if it does not."""
        return -(-self.n_frames // every)

    def identity(self) -> dict[str, object]:
        """Get name and size of the file."""
        return {"name": self.path.name, "bytes": self.path.stat().st_size}

    def _open(self) -> cv2.VideoCapture:
        with open_file(self.path) as file:
            head = file.read(8)
        if not any(head[at:].startswith(each) for at, magic in _MAGIC for each in magic):
            raise ValueError(f"{self.path}: not a video; accepted: MP4, MOV, AVI, MKV, WebM")
        for backend in _BACKENDS:
            video = cv2.VideoCapture(str(self.path), backend)
            if video.isOpened():
                break
        else:
            kinds, _ = _read_boxes(self.path)
            lacks_index = b"ftyp" in kinds and b"moov" not in kinds  # recorders write it at the end
            reason = "truncated: its index (moov) is missing" if lacks_index else ""
            raise ValueError(f"{self.path}: {reason or 'not a video that OpenCV can read'}")
        return video

    def _decode(self, video: cv2.VideoCapture, stamp_ns: int) -> Frame:
        ok, bgr = video.retrieve()
        if not ok or bgr is None:
            raise ValueError(f"{self.path}: the frame at {stamp_ns / 1e9:.3f} s is broken")
        _check_size(self.path, bgr.shape[0] * bgr.shape[1])  # it may change within the video
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        return Frame(rgb=rgb, stamp_ns=stamp_ns, frame_id=FRAME_ID)


def _read_boxes(path: Path) -> tuple[set[bytes], bool]:
    """Read the kinds of an MP4's or MOV's boxes, and whether the last one is cut off.

    No kind, and False, of other files.
    """
    with open_file(path) as file:
        end, kinds = os.fstat(file.fileno()).st_size, set[bytes]()
        begin, is_cut_off = 0, False
        if not file.read(8)[4:].startswith(_MAGIC[0][1]):
            return kinds, False
        for _ in range(_MAX_BOXES):
            if begin >= end:
                break
            file.seek(begin)
            head = file.read(_BOX.size + 8)
            if len(head) < _BOX.size:
                break
            n_bytes, kind = _BOX.unpack_from(head)
            kinds.add(kind)
            if n_bytes == 1 and len(head) == _BOX.size + 8:  # the length follows, in 64 bits
                n_bytes = int.from_bytes(head[_BOX.size :], "big")
            if n_bytes < _BOX.size:
                break
            begin += n_bytes
            is_cut_off = begin > end and kind in _LARGE  # data appended to a video is not a box
    return kinds, is_cut_off


def _check_size(path: Path, n_px: float) -> None:
    if n_px > MAX_COMPRESSED_PX:
        raise ValueError(f"{path}: frames of {n_px:.0f} px; accepted: up to {MAX_COMPRESSED_PX} px")


class VideoWriter:
    """Writes an H.264 video (MP4) whose frames keep their times."""

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            OSError: It exists, or cannot be written.
        """
        import av

        self._target = path.open("xb")
        self._file = av.open(self._target, "w", format="mp4")
        self._stream = self._file.add_stream("libx264", rate=_TICKS_PER_S)
        self._stream.pix_fmt = "yuv420p"
        # One thread, so that the same frames give the same file.
        self._stream.options = {"crf": "23", "preset": "veryfast", "threads": "1"}
        self._size: tuple[int, int] | None = None  # width and height, px
        self._first_ns, self._tick = 0, -1

    def write(self, rgb: NDArray[np.uint8], stamp_ns: int) -> None:
        """Add a frame, RGB (H, W, 3). Frames of another size are scaled to that of the first."""
        import av

        if self._size is None:
            # H.264 (yuv420p) needs an even width and height.
            self._size = (rgb.shape[1] // 2 * 2 or 2, rgb.shape[0] // 2 * 2 or 2)
            self._stream.width, self._stream.height = self._size
            self._stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
            self._first_ns = stamp_ns
        if (rgb.shape[1], rgb.shape[0]) != self._size:
            rgb = np.asarray(cv2.resize(rgb, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        # Times must increase, even if the clock was set back.
        tick = round((stamp_ns - self._first_ns) * _TICKS_PER_S / 1e9)
        self._tick = max(self._tick + 1, tick)
        frame.pts, frame.time_base = self._tick, Fraction(1, _TICKS_PER_S)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the remaining frames and close the file."""
        if self._size is not None:
            self._file.mux(self._stream.encode(None))
        self._file.close()
        self._target.close()
