# SPDX-License-Identifier: Apache-2.0
"""Convert image and camera info messages to arrays.

Handles row padding, byte order and all encodings, and checks every size before memory is allocated:
messages may come from anyone on the network. Fields are read by their names in sensor_msgs, so that
messages of rclpy and of recorded bags work alike. Knows nothing of models.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.geometry.localization import Intrinsics

__all__ = [
    "depth_from_compressed",
    "depth_from_image",
    "intrinsics_from_info",
    "rgb_from_compressed",
    "rgb_from_image",
]

# Messages with the fields of sensor_msgs and builtin_interfaces, of any class.
Image: TypeAlias = Any
CompressedImage: TypeAlias = Any
CameraInfo: TypeAlias = Any
Time: TypeAlias = Any

Pixels: TypeAlias = NDArray[Any]  # uint8 or uint16, for depth also float32

MAX_COMPRESSED_PX = 64_000_000  # a few kB of PNG can ask for gigabytes
_DEPTH_HEADER = struct.Struct("<iff")  # of compressedDepth: format, a, b
_COMPRESSED_FORMATS = ("JPEG", "PNG")
_MM_PER_M = 1000.0
# Numbers of distortion coefficients that OpenCV accepts.
_PINHOLE_LENGTHS, _FISHEYE_LENGTHS = (4, 5, 8, 12, 14), (4,)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Memory layout of one encoding, and its conversion to RGB."""

    dtype: type[np.uint8] | type[np.uint16]
    channels: int
    to_rgb: Callable[[Pixels], NDArray[np.uint8]]  # (H, W) or (H, W, channels) -> (H, W, 3)
    smallest_hw: tuple[int, int] = (1, 1)  # px, smallest size that can be converted
    even_width: bool = False  # two pixels share their colour, so the width must be even


def _opencv_conversion(code: int) -> Callable[[Pixels], NDArray[np.uint8]]:
    return lambda pixels: to_8_bit(cv2.cvtColor(pixels, code))


def to_8_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """Scale uint16 to uint8 so that white stays white."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / 65535), dtype=np.uint8)


def _color_encoding(channels: int, code: int | None) -> Encoding:
    to_rgb = _opencv_conversion(code) if code is not None else to_8_bit
    return Encoding(dtype=np.uint8, channels=channels, to_rgb=to_rgb)


def _mono_encoding(dtype: type[np.uint8] | type[np.uint16]) -> Encoding:
    return Encoding(dtype=dtype, channels=1, to_rgb=_opencv_conversion(cv2.COLOR_GRAY2RGB))


def _bayer_encoding(dtype: type[np.uint8] | type[np.uint16], code: int) -> Encoding:
    return Encoding(dtype=dtype, channels=1, to_rgb=_opencv_conversion(code), smallest_hw=(3, 3))


def _yuv_encoding(code: int) -> Encoding:
    return Encoding(
        dtype=np.uint8,
        channels=2,
        to_rgb=_opencv_conversion(code),
        smallest_hw=(1, 2),
        even_width=True,
    )


# ROS names a Bayer pattern by its first row from the left, OpenCV by its second row from the
# second column: rggb is BayerBG.
ENCODINGS: dict[str, Encoding] = {
    "rgb8": _color_encoding(3, None),
    "bgr8": _color_encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": _color_encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _color_encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": _mono_encoding(np.uint8),
    "mono16": _mono_encoding(np.uint16),
    "bayer_rggb8": _bayer_encoding(np.uint8, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": _bayer_encoding(np.uint8, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": _bayer_encoding(np.uint8, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": _bayer_encoding(np.uint8, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": _bayer_encoding(np.uint16, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr16": _bayer_encoding(np.uint16, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg16": _bayer_encoding(np.uint16, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg16": _bayer_encoding(np.uint16, cv2.COLOR_BayerGB2RGB),
    "yuv422": _yuv_encoding(cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _yuv_encoding(cv2.COLOR_YUV2RGB_UYVY),  # the newer name of yuv422
    "yuv422_yuy2": _yuv_encoding(cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _yuv_encoding(cv2.COLOR_YUV2RGB_YUY2),  # the newer name of yuv422_yuy2
}


def check_image(msg: Image) -> Encoding:
    """Look up the encoding of a colour image and check the sizes of the message.

    Raises:
        ValueError: if the encoding is unknown or a size is wrong, with the accepted ones.
    """
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise ValueError(
            f"image encoding {msg.encoding[:64]!r} is not known; accepted: {', '.join(ENCODINGS)}"
        )
    _check_layout(msg, np.dtype(encoding.dtype).itemsize * encoding.channels)
    if msg.height < encoding.smallest_hw[0] or msg.width < encoding.smallest_hw[1]:
        raise ValueError(
            f"{msg.encoding} image is {msg.width} x {msg.height} px, accepted are at least "
            f"{encoding.smallest_hw[1]} x {encoding.smallest_hw[0]}"
        )
    if encoding.even_width and msg.width % 2:
        raise ValueError(f"{msg.encoding} image is {msg.width} px wide, its width must be even")
    return encoding


def rgb_from_image(msg: Image) -> NDArray[np.uint8]:
    """Convert a colour or grey image to RGB (H, W, 3) uint8.

    16-bit images are scaled by 255 / 65535. An rgb8 image without padding is not copied.

    Raises:
        ValueError: from :func:`check_image`.
    """
    encoding = check_image(msg)
    return encoding.to_rgb(_view_pixels(msg, encoding.dtype, encoding.channels))


def rgb_from_compressed(msg: CompressedImage) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG image to RGB (H, W, 3) uint8, ignoring EXIF orientation.

    Raises:
        ValueError: if the data is neither, larger than MAX_COMPRESSED_PX, or broken.
    """
    try:
        # Reads the header only; nothing is decoded yet.
        with PIL.Image.open(io.BytesIO(msg.data), formats=_COMPRESSED_FORMATS) as header:
            width, height = header.size
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(
            f"compressed image of format {msg.format[:64]!r} with {len(msg.data)} bytes cannot be "
            f"read; accepted: {', '.join(_COMPRESSED_FORMATS)} up to {MAX_COMPRESSED_PX} px"
        ) from error
    if width * height > MAX_COMPRESSED_PX:
        raise ValueError(
            f"compressed image is {width} x {height} px, accepted are up to {MAX_COMPRESSED_PX} px"
        )
    data = np.frombuffer(msg.data, dtype=np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"compressed image is broken: {error.err}") from error
    if bgr is None:
        raise ValueError(f"compressed image of {width} x {height} px is broken")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def depth_from_image(msg: Image) -> NDArray[np.float32]:
    """Convert a depth image to metres (H, W) float32, NaN where invalid.

    Source: REP 118; 16UC1 in millimetres with 0 as invalid, 32FC1 in metres.

    Raises:
        ValueError: for another encoding or sizes that do not fit it.
    """
    if msg.encoding in ("16UC1", "mono16"):
        _check_layout(msg, 2)
        depth = _view_pixels(msg, np.uint16, 1).astype(np.float32) / np.float32(_MM_PER_M)
    elif msg.encoding == "32FC1":
        _check_layout(msg, 4)
        depth = _view_pixels(msg, np.float32, 1).copy()
    else:
        raise ValueError(
            f"depth encoding {msg.encoding[:64]!r} is not known; accepted: 16UC1, mono16, 32FC1"
        )
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def depth_from_compressed(msg: CompressedImage) -> NDArray[np.float32]:
    """Decode a depth image of the compressedDepth transport to metres, NaN where invalid.

    The data are a header of 12 bytes (format, quantisation parameters a and b) and a 16-bit PNG:
    millimetres, or for 32FC1 numbers n for ``a / (n - b)`` metres; 0 is invalid.

    Raises:
        ValueError: if the format is unknown, or the PNG is broken or larger than MAX_COMPRESSED_PX.
    """
    encoding = msg.format.split(";")[0].strip()
    if "compressedDepth" not in msg.format or encoding not in ("16UC1", "32FC1"):
        raise ValueError(
            f"compressed depth of format {msg.format[:64]!r} is not known; accepted: "
            "16UC1 or 32FC1, compressedDepth png"
        )
    data = bytes(msg.data)
    if len(data) <= _DEPTH_HEADER.size:
        raise ValueError(f"compressed depth has {len(data)} bytes, its header alone needs 12")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    try:
        with PIL.Image.open(io.BytesIO(data[_DEPTH_HEADER.size :]), formats=("PNG",)) as png:
            if png.width * png.height > MAX_COMPRESSED_PX:
                raise ValueError(
                    f"compressed depth is {png.width} x {png.height} px, accepted are up to "
                    f"{MAX_COMPRESSED_PX} px"
                )
            stored = np.asarray(png)
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"compressed depth is no readable PNG: {error}") from error
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.dtype.itemsize < 2:
        raise ValueError(f"compressed depth is a PNG of {stored.dtype} {stored.shape}, not 16 bits")
    numbers = stored.astype(np.float32)
    if encoding == "16UC1":
        depth = numbers / np.float32(_MM_PER_M)
    else:
        with np.errstate(divide="ignore"):
            depth = np.float32(a) / (numbers - np.float32(b))
    depth[~((stored > 0) & np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def intrinsics_from_info(msg: CameraInfo, *, rectified: bool) -> Intrinsics | None:
    """Read the camera's intrinsics; None if it is not calibrated (K[0] = 0).

    Args:
        msg: the camera info.
        rectified: the images are rectified already, so P applies instead of K and D.

    Raises:
        ValueError: if D is not finite, or has the wrong length for its distortion model.
    """
    K = np.array(msg.p if rectified else msg.k, dtype=np.float64).reshape(3, -1)[:, :3]
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0):
        return None
    D = np.array([] if rectified else msg.d, dtype=np.float64)
    lengths = _FISHEYE_LENGTHS if msg.distortion_model == "equidistant" else _PINHOLE_LENGTHS
    if not np.isfinite(D).all() or (D.any() and len(D) not in lengths):
        accepted = " or ".join(map(str, lengths))
        raise ValueError(
            f"camera_info has distortion coefficients {D.tolist()[:16]} for model "
            f"{msg.distortion_model[:64]!r}, expected {accepted} finite numbers"
        )
    return Intrinsics(K=K, D=D, distortion_model=msg.distortion_model)


def nanoseconds(stamp: Time) -> int:
    """Convert a message's time to nanoseconds."""
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)


def _check_layout(msg: Image, bytes_per_pixel: int) -> None:
    if not msg.width or not msg.height:
        raise ValueError(f"image is {msg.width} x {msg.height} px, it must have pixels")
    if msg.step < msg.width * bytes_per_pixel:
        raise ValueError(
            f"{msg.encoding} image has rows of {msg.step} bytes (step), {msg.width} px need at "
            f"least {msg.width * bytes_per_pixel}"
        )
    if len(msg.data) != msg.step * msg.height:
        raise ValueError(
            f"{msg.encoding} image has {len(msg.data)} bytes, step {msg.step} x height "
            f"{msg.height} is {msg.step * msg.height}"
        )


def _view_pixels(msg: Image, dtype: type, channels: int) -> Pixels:
    """View checked data as (H, W) or (H, W, channels) in native byte order."""
    stored = np.dtype(dtype).newbyteorder(">" if msg.is_bigendian else "<")
    rows = np.frombuffer(msg.data, dtype=np.uint8).reshape(msg.height, msg.step)
    rows = np.ascontiguousarray(rows[:, : msg.width * channels * stored.itemsize])
    shape = (msg.height, msg.width) if channels == 1 else (msg.height, msg.width, channels)
    return rows.view(stored).reshape(shape).astype(dtype, copy=False)
