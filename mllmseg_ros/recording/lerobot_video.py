# SPDX-License-Identifier: Apache-2.0
"""Read the frames of a LeRobot data set's videos by their times, and write videos of masks.

The package's videos are AV1, which OpenCV's build of FFmpeg does not read: PyAV does. Frames are
decoded where they are asked for, one after the other, so that no more than one is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import open_file, show
from mllmseg_ros.recording.lerobot_metadata import check_inside

__all__ = ["MASK_VIDEO_INFO", "FrameReader", "MaskVideo"]

_MAX_AHEAD_S = 2.0  # farther ahead, a key frame is looked for instead of decoding all in between
# Lossless, smaller than FFV1, and a codec that the lerobot package also writes: where it encodes a
# video again, it does so with these values.
MASK_VIDEO_INFO = {"video.codec": "h264", "video.crf": 0, "video.g": 10}


class FrameReader:
    """Reads frames of one camera; fastest in the order of their times."""

    def __init__(self, folder: Path, rate_hz: float) -> None:
        """Set up.

        Args:
            folder: of the data set, which no video may lie outside of.
            rate_hz: frames per second; a frame is found within half of a frame's duration.
        """
        self._folder, self._tolerance_s = folder, 0.5 / rate_hz
        self._path: Path | None = None
        self._file: Any = None
        self._container: Any = None
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._last: tuple[float, Any] | None = None  # time and frame

    def read(self, path: Path, time_s: float) -> NDArray[np.uint8]:
        """Decode the frame at a time, RGB (H, W, 3).

        Raises:
            ValueError: the video is missing or damaged, or has no frame at that time.
        """
        try:
            if path != self._path:
                self._open(path)
            frame = self._find(time_s)
            if frame.width * frame.height > MAX_COMPRESSED_PX:
                raise ValueError(f"a frame of {frame.width} x {frame.height} px")
            return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        except MemoryError:
            raise
        except Exception as error:  # damaged videos raise all kinds of errors
            self.close()
            reason = one_line(error, with_type=False, max_chars=300)
            name = show(path)
            raise ValueError(reason if name in reason else f"{name}: {reason}") from error

    def _find(self, time_s: float) -> Any:
        low_s, high_s = time_s - self._tolerance_s, time_s + self._tolerance_s
        if self._last is None or not low_s - _MAX_AHEAD_S <= self._last[0] <= high_s:
            self._seek(max(0.0, low_s))
        elif self._last[0] >= low_s:
            return self._last[1]
        for frame_s, frame in self._frames:
            self._last = (frame_s, frame)
            if frame_s > high_s:
                break
            if frame_s >= low_s:
                return frame
        raise ValueError(f"no frame at {time_s:.3f} s")

    def _open(self, path: Path) -> None:
        self.close()
        check_inside(self._folder, path)
        self._file = open_file(path)
        # By its format, and not by its name: a playlist would name other files.
        self._container = av.open(self._file, "r", format="mp4", metadata_errors="ignore")
        if not self._container.streams.video:
            raise ValueError("no video in it")
        self._container.streams.video[0].codec_context.options = {
            "max_pixels": str(MAX_COMPRESSED_PX)
        }
        self._path = path

    def _seek(self, time_s: float) -> None:
        stream = self._container.streams.video[0]
        self._container.seek(int(time_s / stream.time_base), stream=stream)
        self._frames = (
            (float(frame.pts * stream.time_base), frame)
            for frame in self._container.decode(stream)
            if frame.pts is not None
        )

    def close(self) -> None:
        """Close the video."""
        if self._container is not None:
            self._container.close()
        if self._file is not None:
            self._file.close()
        self._path = self._file = self._container = self._last = None
        self._frames = iter(())


class MaskVideo:
    """Writes masks as a lossless video (H.264, MP4): white on black."""

    def __init__(self, path: Path, size_hw: tuple[int, int], rate_hz: float) -> None:
        """Create the file.

        Raises:
            OSError: it exists, or cannot be written.
        """
        self.rate = Fraction(rate_hz).limit_denominator(1001)
        self.n_frames = 0
        self._file = path.open("xb")
        self._container = av.open(self._file, "w", format="mp4")
        options = {"crf": "0", "g": str(MASK_VIDEO_INFO["video.g"]), "threads": "1"}
        self._stream: Any = self._container.add_stream("libx264", rate=self.rate, options=options)
        self._stream.height, self._stream.width = size_hw
        self._stream.pix_fmt = mask_pixel_format(size_hw)

    def write(self, mask: NDArray[np.bool_]) -> None:
        """Add a frame, (H, W)."""
        grey = mask.astype(np.uint8) * np.uint8(255)
        frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(
            format=self._stream.pix_fmt
        )
        frame.pts, frame.time_base = self.n_frames, 1 / self.rate
        self._container.mux(self._stream.encode(frame))
        self.n_frames += 1

    def close(self) -> None:
        """Write the remaining frames and close the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()


def mask_pixel_format(size_hw: tuple[int, int]) -> str:
    """Choose a pixel format: yuv420p needs an even height and width."""
    return "yuv444p" if size_hw[0] % 2 or size_hw[1] % 2 else "yuv420p"
