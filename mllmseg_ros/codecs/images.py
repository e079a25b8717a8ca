# SPDX-License-Identifier: Apache-2.0
"""Convert image and camera info messages to arrays.

Handles row padding, byte order and all encodings, and checks every size before memory is allocated:
messages may come from anyone on the network. Fields are read by their names in sensor_msgs, so that
messages of rclpy and of recorded bags work alike. Knows nothing of models.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.codecs.camera_info import NotCalibratedError, intrinsics_of_image
from mllmseg_ros.codecs.rvl import decode_rvl
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
MAX_RVL_PX = 3840 * 2160  # of depth; a few bytes can ask for as many zeros as they like
_DEPTH_HEADER = struct.Struct("<iff")  # of compressedDepth: format, a, b
_RVL_HEADER = struct.Struct("<ii")  # columns, rows
_COMPRESSED_FORMATS = ("JPEG", "PNG")
_WHITES = (1023, 4095, 65535)  # of 10, 12 and 16 bits
_MM_PER_M = 1000.0
_NO_DEPTH_MM = 65535  # what many drivers write where they see nothing
# Metres in which 90 % of an image are farther away are millimetres.
_FARTHEST_M, _FAR_SHARE = 60.0, 0.1
_NEAREST_M, _NEAR_SHARE = 0.02, 0.9  # and millimetres in which 90 % are nearer are metres


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Memory layout of one encoding, and its conversion to RGB."""

    dtype: type[np.uint8] | type[np.uint16]
    channels: int
    to_rgb: Callable[[Pixels], NDArray[np.uint8]]  # (H, W) or (H, W, channels) -> (H, W, 3)
    smallest_hw: tuple[int, int] = (1, 1)  # px, smallest size that can be converted
    multiple_hw: tuple[int, int] = (1, 1)  # px that share their colour: the size is a multiple
    # 4:2:0: behind the Y plane the colours of 2 x 2 pixels each; converted from (H * 3 / 2, W).
    chroma: Literal["", "one plane", "two planes"] = ""


def _opencv_conversion(code: int) -> Callable[[Pixels], NDArray[np.uint8]]:
    return lambda pixels: to_8_bit(cv2.cvtColor(pixels, code))


def to_8_bit(pixels: Pixels) -> NDArray[np.uint8]:
    """Scale uint16 to uint8 so that white stays white.

    Cameras of 10 or 12 bits leave the high bits 0. In 16 bits such an image would be nearly black,
    grey 15 at most, so that nothing is lost where a dark image of 16 bits is taken for one.
    """
    if pixels.dtype == np.uint8:
        return pixels
    brightest = int(pixels.max(initial=0))
    white = next(each for each in _WHITES if brightest <= each)
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255 / white), dtype=np.uint8)


def _color_encoding(
    channels: int, code: int | None, dtype: type[np.uint8] | type[np.uint16] = np.uint8
) -> Encoding:
    to_rgb = _opencv_conversion(code) if code is not None else to_8_bit
    return Encoding(dtype=dtype, channels=channels, to_rgb=to_rgb)


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
        multiple_hw=(1, 2),
    )


def _planar_encoding(chroma: Literal["one plane", "two planes"], code: int) -> Encoding:
    return Encoding(
        dtype=np.uint8,
        channels=1,
        to_rgb=_opencv_conversion(code),
        smallest_hw=(2, 2),
        multiple_hw=(2, 2),
        chroma=chroma,
    )


# ROS names a Bayer pattern by its first row from the left, OpenCV by its second row from the
# second column: rggb is BayerBG.
ENCODINGS: dict[str, Encoding] = {
    "rgb8": _color_encoding(3, None),
    "bgr8": _color_encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": _color_encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": _color_encoding(4, cv2.COLOR_BGRA2RGB),
    "rgb16": _color_encoding(3, None, np.uint16),
    "bgr16": _color_encoding(3, cv2.COLOR_BGR2RGB, np.uint16),
    "rgba16": _color_encoding(4, cv2.COLOR_RGBA2RGB, np.uint16),
    "bgra16": _color_encoding(4, cv2.COLOR_BGRA2RGB, np.uint16),
    "mono8": _mono_encoding(np.uint8),
    "mono16": _mono_encoding(np.uint16),
    # OpenCV's names of its types, of images in OpenCV's order of channels.
    "8UC1": _mono_encoding(np.uint8),
    "8UC3": _color_encoding(3, cv2.COLOR_BGR2RGB),
    "8UC4": _color_encoding(4, cv2.COLOR_BGRA2RGB),
    "16UC3": _color_encoding(3, cv2.COLOR_BGR2RGB, np.uint16),
    "16UC4": _color_encoding(4, cv2.COLOR_BGRA2RGB, np.uint16),
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
    "nv12": _planar_encoding("one plane", cv2.COLOR_YUV2RGB_NV12),
    "nv21": _planar_encoding("one plane", cv2.COLOR_YUV2RGB_NV21),
    "yuv420": _planar_encoding("two planes", cv2.COLOR_YUV2RGB_I420),
    "i420": _planar_encoding("two planes", cv2.COLOR_YUV2RGB_I420),  # other names of yuv420
    "yuv420p": _planar_encoding("two planes", cv2.COLOR_YUV2RGB_I420),
    "yv12": _planar_encoding("two planes", cv2.COLOR_YUV2RGB_YV12),
}
DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
_DEPTH_FORMATS = "compressedDepth png or rvl of 16UC1 or 32FC1, 16-bit PNG"


def find_encoding(name: str) -> Encoding | None:
    """Look up the encoding of a colour image; some drivers write the names of YUV in capitals."""
    return ENCODINGS.get(name) or ENCODINGS.get(name.lower())


def _find_bayer(name: str) -> Encoding | None:
    return find_encoding(name) if name.lower().startswith("bayer") else None


def describe_unknown_encoding(name: str, accepted: Iterable[str] = ENCODINGS) -> str:
    """Say, in one line, that an encoding cannot be decoded, and which ones can."""
    plain = name.isprintable() and name.isascii() and " " not in name and name
    return f"encoding {name[:64] if plain else repr(name[:64])}; accepted: {', '.join(accepted)}"


def check_image(msg: Image) -> Encoding:
    """Look up the encoding of a colour image and check the sizes of the message.

    Raises:
        ValueError: if the encoding is unknown or a size is wrong, with the accepted ones.
    """
    encoding = find_encoding(msg.encoding)
    if encoding is None:
        raise ValueError(f"image {describe_unknown_encoding(msg.encoding)}")
    height = msg.height
    if encoding.chroma:
        height, _ = _find_planes(msg, encoding)
    else:
        _check_layout(msg, np.dtype(encoding.dtype).itemsize * encoding.channels)
    if height < encoding.smallest_hw[0] or msg.width < encoding.smallest_hw[1]:
        raise ValueError(
            f"{msg.encoding} image is {msg.width} x {height} px, accepted are at least "
            f"{encoding.smallest_hw[1]} x {encoding.smallest_hw[0]}"
        )
    if msg.width % encoding.multiple_hw[1]:
        raise ValueError(f"{msg.encoding} image is {msg.width} px wide, its width must be even")
    if height % encoding.multiple_hw[0]:
        raise ValueError(f"{msg.encoding} image is {height} px high, its height must be even")
    return encoding


def rgb_from_image(msg: Image) -> NDArray[np.uint8]:
    """Convert a colour or grey image to RGB (H, W, 3) uint8.

    16-bit images are scaled by 255 / 65535, those that use only 12 or 10 bits by as much more. An
    rgb8 image without padding is not copied.

    Raises:
        ValueError: from :func:`check_image`.
    """
    encoding = check_image(msg)
    if encoding.chroma:
        return encoding.to_rgb(_join_planes(msg, encoding))
    return encoding.to_rgb(_view_pixels(msg, encoding.dtype, encoding.channels))


def rgb_from_compressed(msg: CompressedImage) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG image to RGB (H, W, 3) uint8, ignoring EXIF orientation.

    A grey image whose format names a Bayer pattern is the mosaic, as the compressed transport of
    ROS 2 leaves it.

    Raises:
        ValueError: if the data is neither, larger than MAX_COMPRESSED_PX, or broken.
    """
    try:
        # Reads the header only; nothing is decoded yet.
        data = view_bytes(msg.data)
        with PIL.Image.open(io.BytesIO(data.tobytes()), formats=_COMPRESSED_FORMATS) as header:
            width, height = header.size
            is_grey = header.mode == "L" or header.mode.startswith("I")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(
            f"compressed image of format {msg.format[:64]!r} with {len(msg.data)} bytes cannot be "
            f"read; accepted: {', '.join(_COMPRESSED_FORMATS)} up to {MAX_COMPRESSED_PX} px"
        ) from error
    if width * height > MAX_COMPRESSED_PX:
        raise ValueError(
            f"compressed image is {width} x {height} px, accepted are up to {MAX_COMPRESSED_PX} px"
        )
    pattern = _find_bayer(format_encoding(msg.format)) if is_grey else None
    color = cv2.IMREAD_GRAYSCALE if pattern else cv2.IMREAD_COLOR
    try:
        bgr = cv2.imdecode(data, color | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"compressed image is broken: {error.err}") from error
    if bgr is None:
        raise ValueError(f"compressed image of {width} x {height} px is broken")
    if pattern:
        if min(height, width) < min(pattern.smallest_hw):
            raise ValueError(f"compressed Bayer image is {width} x {height} px, too small")
        return pattern.to_rgb(bgr)
    return to_8_bit(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))


def depth_from_image(msg: Image) -> NDArray[np.float32]:
    """Convert a depth image to metres (H, W) float32, NaN where invalid.

    Source: REP 118; 16UC1 in millimetres with 0 as invalid, 32FC1 in metres. 65535 in 16UC1 is
    invalid, too.

    Raises:
        ValueError: for another encoding, sizes that do not fit it, millimetres in 32FC1, or metres
            in 16UC1.
    """
    if msg.encoding in ("16UC1", "mono16"):
        _check_layout(msg, 2)
        return _millimetres_to_metres(_view_pixels(msg, np.uint16, 1))
    if msg.encoding == "32FC1":
        _check_layout(msg, 4)
        depth = _without_invalid(_view_pixels(msg, np.float32, 1).copy())
        _check_unit(depth)
        return depth
    raise ValueError(f"depth {describe_unknown_encoding(msg.encoding, DEPTH_ENCODINGS)}")


def depth_from_compressed(msg: CompressedImage) -> NDArray[np.float32]:
    """Decode a compressed depth image to metres, NaN where invalid.

    The data of the compressedDepth transport are a header of 12 bytes (format, quantisation
    parameters a and b) and a 16-bit PNG or, behind its columns and rows, RVL: millimetres, or for
    32FC1 numbers n for ``a / (n - b)`` metres; 0 is invalid. Those of the compressed transport are
    a 16-bit PNG of millimetres.

    Raises:
        ValueError: if the format is unknown, or the data are broken or larger than
            MAX_COMPRESSED_PX, in RVL MAX_RVL_PX.
    """
    encoding, data = format_encoding(msg.format), view_bytes(msg.data).tobytes()
    if is_jpeg(msg):
        raise ValueError(
            f"depth as JPEG is not usable, because JPEG is lossy; accepted: {_DEPTH_FORMATS}"
        )
    unknown = (
        f"compressed depth of format {msg.format[:64]!r} is not known; accepted: {_DEPTH_FORMATS}"
    )
    if not is_compressed_depth(msg):
        if encoding == "32FC1":
            raise ValueError(unknown)
        return _millimetres_to_metres(_decode_png(data))
    codec = msg.format.rpartition("compressedDepth")[2].strip().lower()
    if encoding not in DEPTH_ENCODINGS or codec not in ("", "png", "rvl"):
        raise ValueError(unknown)
    if len(data) <= _DEPTH_HEADER.size:
        raise ValueError(f"compressed depth has {len(data)} bytes, its header alone needs 12")
    _, a, b = _DEPTH_HEADER.unpack_from(data)
    data = data[_DEPTH_HEADER.size :]
    stored = _decode_rvl_image(data) if codec == "rvl" else _decode_png(data)
    if encoding != "32FC1":
        return _millimetres_to_metres(stored)
    with np.errstate(divide="ignore"):
        depth = np.float32(a) / (stored.astype(np.float32) - np.float32(b))
    depth[stored == 0] = np.nan
    return _without_invalid(depth)


def format_encoding(text: str) -> str:
    """Encoding of the image that was compressed, from a format such as "16UC1; png compressed "."""
    return text.split(";")[0].strip()


def is_compressed_depth(msg: CompressedImage) -> bool:
    """Whether the data have the header of the compressedDepth transport."""
    return "compressedDepth" in msg.format


def is_jpeg(msg: CompressedImage) -> bool:
    """Whether the data are a JPEG image."""
    return view_bytes(msg.data)[:3].tobytes() == b"\xff\xd8\xff"


def is_16_bit_grey_png(msg: CompressedImage) -> bool:
    """Whether the data are a PNG image of one channel of 16 bits."""
    head = view_bytes(msg.data)[:26].tobytes()
    return head.startswith(b"\x89PNG") and head[24:] == b"\x10\x00"


def _millimetres_to_metres(stored: Pixels) -> NDArray[np.float32]:
    depth = stored.astype(np.float32) / np.float32(_MM_PER_M)
    depth[(stored == 0) | (stored == _NO_DEPTH_MM)] = np.nan
    valid = _sample_valid(depth)
    if len(valid) and float(np.quantile(valid, _NEAR_SHARE)) < _NEAREST_M:
        raise ValueError(
            f"16UC1 depth with a median of {np.median(valid) * _MM_PER_M:.0f} can only be metres; "
            "accepted: 16UC1 in millimetres, 32FC1 in metres"
        )
    return depth


def _without_invalid(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def _sample_valid(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    valid = depth[np.isfinite(depth)]
    return valid[:: max(1, len(valid) // 10_000)]  # enough of them


def _check_unit(depth: NDArray[np.float32]) -> None:
    valid = _sample_valid(depth)
    if len(valid) and float(np.quantile(valid, _FAR_SHARE)) > _FARTHEST_M:
        raise ValueError(
            f"32FC1 depth with a median of {np.median(valid):.0f} can only be millimetres; "
            "accepted: 32FC1 in metres, 16UC1 in millimetres"
        )


def _decode_png(data: bytes) -> Pixels:
    """Decode a 16-bit grey PNG (H, W)."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as png:
            if png.width * png.height > MAX_COMPRESSED_PX:
                raise ValueError(
                    f"compressed depth is {png.width} x {png.height} px, accepted are up to "
                    f"{MAX_COMPRESSED_PX} px"
                )
            stored = np.asarray(png)
    except PIL.UnidentifiedImageError:  # its text names an object by its address
        raise ValueError(
            f"compressed depth of {len(data)} bytes is not a valid PNG; accepted: {_DEPTH_FORMATS}"
        ) from None
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise ValueError(f"compressed depth is not a valid PNG: {error}") from error
    if stored.ndim != 2 or stored.dtype.kind not in "iu" or stored.dtype.itemsize < 2:
        raise ValueError(f"compressed depth is a PNG of {stored.dtype} {stored.shape}, not 16 bits")
    return stored


def _decode_rvl_image(data: bytes) -> Pixels:
    """Decode columns, rows and RVL to (H, W)."""
    if len(data) < _RVL_HEADER.size:
        raise ValueError(f"compressed depth has {len(data)} bytes of RVL, its header needs 8")
    width, height = _RVL_HEADER.unpack_from(data)
    if width < 1 or height < 1 or width * height > MAX_RVL_PX:
        raise ValueError(
            f"compressed depth in RVL is {width} x {height} px, accepted are up to {MAX_RVL_PX} px"
        )
    try:
        return decode_rvl(data[_RVL_HEADER.size :], width * height).reshape(height, width)
    except ValueError as error:
        raise ValueError(f"compressed depth is broken: {error}") from None


def intrinsics_from_info(msg: CameraInfo, *, rectified: bool) -> Intrinsics | None:
    """Read a camera's intrinsics, of an image of the size that the camera info says.

    :func:`~mllmseg_ros.codecs.camera_info.intrinsics_of_image` knows the image and checks its size.

    Args:
        msg: the camera info.
        rectified: the images are rectified already, so P applies instead of K and D.

    Returns:
        The intrinsics, None if it is not calibrated (K[0] = 0).

    Raises:
        ValueError: if the distortion model is unknown, or D is not finite or has the wrong length.
    """
    size = []
    for full, region, binning in (
        (msg.height, msg.roi.height, msg.binning_y),
        (msg.width, msg.roi.width, msg.binning_x),
    ):
        size.append(max(1, (region or full) // max(1, binning)))
    try:
        return intrinsics_of_image(msg, (size[0], size[1]), rectified=rectified)
    except NotCalibratedError:
        return None


def view_bytes(data: Any) -> NDArray[np.uint8]:
    """View the data of an image message, or fetch them from where a driver keeps them.

    Source: ROS 2 Lyrical's rosidl_buffer. It passes for array.array and need not be in this memory.
    """
    fetch = getattr(data, "to_bytes", None)
    return np.frombuffer(data if fetch is None else fetch(), dtype=np.uint8)


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


def _find_planes(msg: Image, encoding: Encoding) -> tuple[int, int]:
    """Find height and stride of the Y plane of a 4:2:0 image, and check its sizes.

    ``height`` and ``step`` are those of the Y plane. Some drivers count the rows of all planes, or
    write the mean number of bytes per row, of planes without padding.
    """
    if not msg.width or not msg.height:
        raise ValueError(f"image is {msg.width} x {msg.height} px, it must have pixels")
    if msg.step < msg.width:
        raise ValueError(
            f"{msg.encoding} image has rows of {msg.step} bytes (step), {msg.width} px need at "
            f"least {msg.width}"
        )
    height, stride, n_bytes = msg.height, msg.step, len(msg.data)
    if n_bytes == stride * height:
        if 2 * stride == 3 * msg.width:
            stride = msg.width
        elif height % 3 == 0:
            height = 2 * height // 3
    if 2 * n_bytes != 3 * stride * height:
        raise ValueError(
            f"{msg.encoding} image has {n_bytes} bytes, step {msg.step} x height {msg.height} "
            f"x 3 / 2 is {3 * msg.step * msg.height / 2:g}"
        )
    if encoding.chroma == "two planes" and stride % 2:
        raise ValueError(f"{msg.encoding} image has rows of {stride} bytes, accepted: even numbers")
    return height, stride


def _join_planes(msg: Image, encoding: Encoding) -> NDArray[np.uint8]:
    """Copy the planes of a checked 4:2:0 image, without padding, to (H * 3 / 2, W)."""
    height, stride = _find_planes(msg, encoding)
    width, data = msg.width, view_bytes(msg.data)
    luma = data[: stride * height].reshape(height, stride)[:, :width]
    colors = data[stride * height :]
    if encoding.chroma == "one plane":
        chroma = colors.reshape(height // 2, stride)[:, :width]
    else:
        chroma = colors.reshape(height, stride // 2)[:, : width // 2]
    return np.concatenate([luma.ravel(), chroma.ravel()]).reshape(-1, width)


def _view_pixels(msg: Image, dtype: type, channels: int) -> Pixels:
    """View checked data as (H, W) or (H, W, channels) in native byte order."""
    stored = np.dtype(dtype).newbyteorder(">" if msg.is_bigendian else "<")
    rows = view_bytes(msg.data).reshape(msg.height, msg.step)
    rows = np.ascontiguousarray(rows[:, : msg.width * channels * stored.itemsize])
    shape = (msg.height, msg.width) if channels == 1 else (msg.height, msg.width, channels)
    return rows.view(stored).reshape(shape).astype(dtype, copy=False)
