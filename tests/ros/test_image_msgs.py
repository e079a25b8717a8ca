# SPDX-License-Identifier: Apache-2.0
"""Every encoding against its definition, and against cv_bridge if that is installed."""

from __future__ import annotations

import array
import io
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image
import pytest

pytest.importorskip("sensor_msgs.msg", reason="needs ROS 2")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mllmseg_ros.codecs.images import find_encoding
from mllmseg_ros.ros.messages import cv_bridge_conversion as cv_bridge_path
from mllmseg_ros.ros.messages.cv_bridge_conversion import BRIDGED_ENCODINGS
from mllmseg_ros.ros.messages.image_msgs import (
    ENCODINGS,
    MAX_COMPRESSED_PX,
    depth_from_compressed,
    depth_from_image,
    image_from_array,
    intrinsics_from_info,
    nanoseconds,
    rgb_from_compressed,
    rgb_from_image,
    time_message,
)

PACKED = [name for name, encoding in ENCODINGS.items() if not encoding.chroma]
PLANAR = [name for name, encoding in ENCODINGS.items() if encoding.chroma]
BAYER = [name for name in ENCODINGS if name.startswith("bayer")]
PATTERNS = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def random_pixels(name: str, height: int = 24, width: int = 32) -> np.ndarray:
    encoding = find_encoding(name)
    assert encoding is not None
    shape = (height, width) if encoding.channels == 1 else (height, width, encoding.channels)
    top = np.iinfo(encoding.dtype).max
    random = np.random.default_rng(7)
    return random.integers(0, top, shape, dtype=encoding.dtype, endpoint=True)


def pad_rows(message: Image, n_bytes: int) -> Image:
    """Return the same image with padding bytes after each row."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    rubbish = np.full((message.height, n_bytes), 77, dtype=np.uint8)
    message.step += n_bytes
    message.data = array.array("B", np.hstack([rows, rubbish]).tobytes())
    return message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rgb8", lambda p: p),
        ("bgr8", lambda p: p[:, :, ::-1]),
        ("rgba8", lambda p: p[:, :, :3]),
        ("bgra8", lambda p: p[:, :, 2::-1]),
        ("mono8", lambda p: np.repeat(p[:, :, None], 3, axis=2)),
        (
            "mono16",
            lambda p: np.repeat(np.rint(p / 257).astype(np.uint8)[:, :, None], 3, axis=2),
        ),
        ("8UC1", lambda p: np.repeat(p[:, :, None], 3, axis=2)),
        ("8UC3", lambda p: p[:, :, ::-1]),
        ("8UC4", lambda p: p[:, :, 2::-1]),
        ("RGB8", lambda p: p),  # as some drivers write it
        ("rgb16", lambda p: np.rint(p / 257)),
        ("bgr16", lambda p: np.rint(p / 257)[:, :, ::-1]),
        ("rgba16", lambda p: np.rint(p / 257)[:, :, :3]),
        ("bgra16", lambda p: np.rint(p / 257)[:, :, 2::-1]),
        ("16UC3", lambda p: np.rint(p / 257)[:, :, ::-1]),
        ("16UC4", lambda p: np.rint(p / 257)[:, :, 2::-1]),
    ],
)
def test_colour_and_grey(name: str, expected) -> None:  # type: ignore[no-untyped-def]
    pixels = random_pixels(name)
    rgb = rgb_from_image(image_from_array(pixels, name, Header()))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, expected(pixels))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_of_16_bits_those_that_are_used_are_scaled(bits: int) -> None:
    pixels = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    rgb = rgb_from_image(image_from_array(pixels, "mono16", Header()))
    np.testing.assert_allclose(rgb[..., 0].ravel(), np.arange(256), atol=1)
    black = rgb_from_image(image_from_array(np.zeros((4, 4), np.uint16), "mono16", Header()))
    assert not black.any()


def test_mono16_keeps_every_level_to_half_a_step() -> None:
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rgb = rgb_from_image(image_from_array(pixels, "mono16", Header()))
    np.testing.assert_array_equal(rgb[:, :, 0], np.rint(pixels / 257))


@pytest.mark.parametrize("name", BAYER)
def test_bayer_gives_back_the_colour_that_was_sampled(name: str) -> None:
    red, green, blue = 200, 120, 40
    level = {"R": red, "G": green, "B": blue}
    pattern = PATTERNS[name[6:10]]
    tile = np.array(
        [[level[pattern[0]], level[pattern[1]]], [level[pattern[2]], level[pattern[3]]]]
    )
    encoding = ENCODINGS[name]
    scale = 257 if encoding.dtype == np.uint16 else 1
    mosaic = (np.tile(tile, (8, 8)) * scale).astype(encoding.dtype)
    rgb = rgb_from_image(image_from_array(mosaic, name, Header()))
    np.testing.assert_array_equal(rgb[4:12, 4:12], np.broadcast_to([red, green, blue], (8, 8, 3)))


@pytest.mark.parametrize(
    ("name", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
@pytest.mark.parametrize("rgb", [(255, 255, 255), (0, 0, 0), (200, 60, 30), (20, 90, 220)])
def test_yuv422_gives_back_the_colour(name: str, order: str, rgb: tuple[int, int, int]) -> None:
    # ITU-R BT.601, limited range, as in OpenCV and cameras.
    r, g, b = (value / 255 for value in rgb)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    y = round(16 + 219 * luma)
    u, v = round(128 + 112 * (b - luma) / 0.886), round(128 + 112 * (r - luma) / 0.701)
    bytes_ = {"uyvy": [u, y, v, y], "yuyv": [y, u, y, v]}[order]
    pixels = np.tile(np.array(bytes_, dtype=np.uint8), (6, 4)).reshape(6, 8, 2)
    converted = rgb_from_image(image_from_array(pixels, name, Header()))
    np.testing.assert_allclose(converted, np.broadcast_to(rgb, (6, 8, 3)), atol=3)


def planar(name: str, y: np.ndarray, u: np.ndarray, v: np.ndarray, padding: int = 0) -> Image:
    """A 4:2:0 image; ``u`` and ``v`` are half as high and wide as ``y``."""
    height, width = y.shape
    order = {"nv12": (u, v), "nv21": (v, u), "yv12": (v, u)}.get(name.lower(), (u, v))
    if name.lower().startswith("nv"):
        chroma = [np.stack(order, axis=-1).reshape(height // 2, width)]
    else:
        chroma = list(order)
    rows = []
    for plane in (y, *chroma):
        n_bytes = padding if plane.shape[1] == width else padding // 2
        rows.append(np.pad(plane, ((0, 0), (0, n_bytes)), constant_values=77).ravel())
    message = Image(height=height, width=width, encoding=name, step=width + padding)
    message.data = array.array("B", np.concatenate(rows).tobytes())
    return message


@pytest.mark.parametrize("padding", [0, 2, 32])
@pytest.mark.parametrize("name", [*PLANAR, "NV12", "YUV420"])
def test_yuv420_gives_back_the_colours_of_its_quarters(name: str, padding: int) -> None:
    colors = np.array([[(200, 60, 30), (20, 90, 220)], [(255, 255, 255), (40, 180, 60)]])
    rgb = colors.repeat(8, axis=0).repeat(12, axis=1) / 255  # (16, 24, 3)
    # ITU-R BT.601, limited range, as in OpenCV and cameras.
    luma = rgb @ (0.299, 0.587, 0.114)
    y = np.rint(16 + 219 * luma).astype(np.uint8)
    u = np.rint(128 + 112 * (rgb[..., 2] - luma) / 0.886).astype(np.uint8)[::2, ::2]
    v = np.rint(128 + 112 * (rgb[..., 0] - luma) / 0.701).astype(np.uint8)[::2, ::2]
    message = planar(name, y, u, v, padding)
    np.testing.assert_allclose(rgb_from_image(message), 255 * rgb, atol=3)
    # Drivers that count the rows of all planes, or write the mean of bytes per row.
    message.height = 24
    np.testing.assert_allclose(rgb_from_image(message), 255 * rgb, atol=3)
    if not padding:
        message.height, message.step = 16, 36
        np.testing.assert_allclose(rgb_from_image(message), 255 * rgb, atol=3)


@pytest.mark.parametrize("name", PLANAR)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 23}, "24 bytes|23 px wide, its width must be even"),
        ({"width": 0}, "must have pixels"),
        ({"step": 23}, "rows of 23 bytes \\(step\\), 24 px need at least 24"),
        ({"height": 15}, "has 576 bytes, step 24 x height 15 x 3 / 2 is 540"),
        ({"height": 2**32 - 1, "step": 2**32 - 1}, "has 576 bytes"),
        ({"data": array.array("B")}, "has 0 bytes"),
        ({"data": array.array("B", bytes(24 * 16))}, "has 384 bytes, step 24 x height 16"),
    ],
)
def test_inconsistent_sizes_of_yuv420_are_refused(name: str, changes: dict, reason: str) -> None:
    planes = (np.zeros((16, 24), np.uint8), *np.zeros((2, 8, 12), np.uint8))
    message = planar(name, *planes)
    for field, value in changes.items():
        setattr(message, field, value)
    with pytest.raises(ValueError, match=reason):
        rgb_from_image(message)


@pytest.mark.parametrize("name", PLANAR)
def test_odd_sizes_of_yuv420_are_refused(name: str) -> None:
    message = Image(height=2, width=5, step=6, encoding=name, data=bytes(18))
    with pytest.raises(ValueError, match="5 px wide, its width must be even"):
        rgb_from_image(message)
    message = Image(height=5, width=4, step=4, encoding=name, data=bytes(30))
    with pytest.raises(ValueError, match="5 px high, its height must be even"):
        rgb_from_image(message)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("padding", [1, 2, 13])
def test_row_padding_changes_nothing(name: str, padding: int) -> None:
    message = image_from_array(random_pixels(name), name, Header())
    plain = rgb_from_image(message)
    np.testing.assert_array_equal(rgb_from_image(pad_rows(message, padding)), plain)


@pytest.mark.parametrize("name", PACKED)
def test_byte_order_changes_nothing(name: str) -> None:
    message = image_from_array(random_pixels(name), name, Header())
    plain = rgb_from_image(message)
    swapped = random_pixels(name).byteswap()  # no change to single bytes
    message = image_from_array(swapped, name, Header())
    message.is_bigendian = 1
    np.testing.assert_array_equal(rgb_from_image(pad_rows(message, 3)), plain)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 0}, "must have pixels"),
        ({"width": 0}, "must have pixels"),
        ({"step": 1}, "(step), 32 px need at least"),
        ({"height": 25}, "bytes, step"),
        ({"height": 2**32 - 1, "step": 2**32 - 1}, "bytes, step"),
        ({"data": array.array("B")}, "image has 0 bytes"),
    ],
)
def test_inconsistent_sizes_are_refused(name: str, changes: dict, reason: str) -> None:
    message = image_from_array(random_pixels(name), name, Header())
    for field, value in changes.items():
        setattr(message, field, value)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        rgb_from_image(message)
    assert reason in str(error.value)


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize(("height", "width"), [(1, 9), (2, 2), (3, 3), (9, 1), (5, 7)])
def test_tiny_bayer_images_are_converted_or_refused(name: str, height: int, width: int) -> None:
    message = image_from_array(random_pixels(name, height, width), name, Header())
    if min(height, width) < 3:
        with pytest.raises(ValueError, match="accepted are at least 3 x 3"):
            rgb_from_image(message)
    else:
        assert rgb_from_image(message).shape == (height, width, 3)


def test_odd_width_of_yuv422_and_unknown_encodings_are_refused() -> None:
    message = image_from_array(random_pixels("uyvy", 4, 5), "uyvy", Header())
    with pytest.raises(ValueError, match="5 px wide, its width must be even"):
        rgb_from_image(message)
    for name, shown in (
        ("nv24", "nv24"),
        ("16UC1", "16UC1"),  # depth
        ("", "''"),
        ("a\nb", r"'a\nb'"),
        ("x" * 10_000, "x" * 64),
    ):
        message.encoding = name
        reason = re.escape(f"image encoding {shown}; accepted: rgb8, bgr8,")
        with pytest.raises(ValueError, match=f"^{reason}"):
            rgb_from_image(message)


@pytest.fixture(scope="module")
def working_cv_bridge() -> bool:
    """Whether cv_bridge can be called; a difference in its output does not count."""
    convert, line = cv_bridge_path.choose_rgb_conversion()
    return convert is cv_bridge_path.rgb_by_cv_bridge or "differs from ours" in line


@pytest.mark.parametrize("name", BRIDGED_ENCODINGS)
def test_cv_bridge_gives_the_same_bytes(name: str, working_cv_bridge: bool) -> None:
    if not working_cv_bridge:
        pytest.skip("cv_bridge is not installed or cannot run here")
    for width in (32, 31 + (ENCODINGS[name].multiple_hw[1] > 1)):
        for n_bytes in (0, 1, 2, 3, 4, 12):
            pixels = random_pixels(name, width=width)
            each = pad_rows(image_from_array(pixels, name, Header()), n_bytes)
            for each.is_bigendian in (0, 1):
                theirs = cv_bridge_path.rgb_by_cv_bridge(each)
                np.testing.assert_array_equal(theirs, rgb_from_image(each))


# What cv_bridge's imgmsg_to_cv2 does with the rows of an image of 8 bits.
ROWS_AS_CV_BRIDGE = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        assert (message.encoding, message.is_bigendian) == ("rgb8", 0), message.encoding
        stored = np.frombuffer(message.data, np.uint8)
        shape = (message.height, int(message.step / 3), 3)
        return np.ndarray(shape, np.uint8, stored)[:, :message.width]
"""


def test_rows_with_a_fraction_of_a_pixel_are_not_passed_to_cv_bridge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv_bridge.py").write_text(ROWS_AS_CV_BRIDGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    for n_bytes in (0, 1, 2, 3, 4, 6):
        padded = pad_rows(image_from_array(random_pixels("rgb8"), "rgb8", Header()), n_bytes)
        np.testing.assert_array_equal(
            cv_bridge_path.rgb_by_cv_bridge(padded), rgb_from_image(padded)
        )
    monkeypatch.setattr(cv_bridge_path, "BRIDGED_ENCODINGS", ("rgb8",))
    cv_bridge_path.self_check()


def test_the_self_check_sees_skewed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cv_bridge.py").write_text(ROWS_AS_CV_BRIDGE.replace("step / 3", "width + 0"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    monkeypatch.setattr(cv_bridge_path, "BRIDGED_ENCODINGS", ("rgb8",))
    with pytest.raises(ValueError, match="its rgb8 differs from ours"):
        cv_bridge_path.self_check()


class DeviceBuffer:
    """Data as ROS 2 Lyrical may hand them over: not in this memory, and passing for array.array."""

    def __init__(self, contents: bytes) -> None:
        self._contents = contents

    @property
    def __class__(self) -> type:
        return array.array

    def __len__(self) -> int:
        return len(self._contents)

    def to_bytes(self) -> bytes:
        return self._contents


@pytest.mark.parametrize("name", [*PACKED, *PLANAR])
def test_pixels_may_be_in_a_buffer_elsewhere(name: str) -> None:
    if name in PACKED:
        message = image_from_array(random_pixels(name), name, Header())
    else:
        y, u, v = random_pixels("rgb8").transpose(2, 0, 1)
        message = planar(name, y, u[::2, ::2], v[::2, ::2])
    buffered = SimpleNamespace(
        **{field.lstrip("_"): getattr(message, field) for field in message.__slots__}
    )
    buffered.data = DeviceBuffer(message.data.tobytes())
    assert isinstance(buffered.data, array.array)
    np.testing.assert_array_equal(rgb_from_image(buffered), rgb_from_image(message))


@pytest.mark.parametrize(
    ("encoding", "extension", "decode"),
    [("rgb8", ".jpg", rgb_from_compressed), ("16UC1", ".png", depth_from_compressed)],
)
def test_compressed_images_may_be_in_a_buffer_elsewhere(
    encoding: str, extension: str, decode: Callable[[CompressedImage], np.ndarray]
) -> None:
    pixels = np.full((6, 8), 700, np.uint16) if encoding == "16UC1" else random_pixels("rgb8")
    contents = cv2.imencode(extension, pixels)[1].tobytes()
    message = CompressedImage(format=f"{encoding}; {extension[1:]} compressed", data=contents)
    buffered = SimpleNamespace(format=message.format, data=DeviceBuffer(contents))
    np.testing.assert_array_equal(decode(buffered), decode(message))


def test_the_conversion_in_use_is_named() -> None:
    convert, line = cv_bridge_path.choose_rgb_conversion()
    pixels = random_pixels("bgr8")
    message = image_from_array(pixels, "bgr8", Header())
    np.testing.assert_array_equal(convert(message), pixels[:, :, ::-1])
    assert ("numpy" in line) == (convert is rgb_from_image)
    assert "cv_bridge" in line


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
        ("import os; os.kill(os.getpid(), 11)", "it crashed with signal 11"),
        (
            "class CvBridge:\n    def imgmsg_to_cv2(self, message, encoding):\n        return None",
            "its rgb8 differs from ours",
        ),
    ],
    ids=["NumPy ABI", "crash", "other bytes"],
)
def test_a_broken_cv_bridge_is_not_used(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv_bridge.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))  # where this process searches for it
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", paths)  # for the child that tries it
    convert, line = cv_bridge_path.choose_rgb_conversion()
    assert convert is rgb_from_image
    assert reason in line


def test_encodings_that_cv_bridge_does_not_know_are_not_passed_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv_bridge.py").write_text("class CvBridge:\n    pass")  # any call would fail
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("8UC3", "16UC4", "uyvy", "RGB8"):
        message = image_from_array(random_pixels(name), name, Header())
        np.testing.assert_array_equal(
            cv_bridge_path.rgb_by_cv_bridge(message), rgb_from_image(message)
        )
    planes = (np.full((16, 24), 90, np.uint8), *np.full((2, 8, 12), 99, np.uint8))
    for name in PLANAR:
        message = planar(name, *planes)
        np.testing.assert_array_equal(
            cv_bridge_path.rgb_by_cv_bridge(message), rgb_from_image(message)
        )


def encode(rgb: np.ndarray, extension: str) -> array.array:
    return array.array("B", cv2.imencode(extension, rgb[:, :, ::-1])[1].tobytes())


def test_compressed_images() -> None:
    rgb = np.full((40, 60, 3), (200, 60, 30), dtype=np.uint8)
    png = CompressedImage(format="rgb8; png compressed bgr8", data=encode(rgb, ".png"))
    np.testing.assert_array_equal(rgb_from_compressed(png), rgb)
    jpeg = CompressedImage(format="jpeg", data=encode(rgb, ".jpg"))
    np.testing.assert_allclose(rgb_from_compressed(jpeg), rgb, atol=4)
    grey = CompressedImage(format="png", data=encode(rgb[:, :, :1], ".png"))
    assert rgb_from_compressed(grey).shape == (40, 60, 3)


def test_the_exif_rotation_of_a_jpeg_is_ignored() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (60, 40)).save(buffer, "JPEG", exif=exif)
    message = CompressedImage(format="jpeg", data=array.array("B", buffer.getvalue()))
    assert rgb_from_compressed(message).shape == (40, 60, 3)


def test_broken_and_huge_compressed_images_are_refused() -> None:
    whole = encode(np.zeros((40, 60, 3), np.uint8), ".png").tobytes()
    side = int(MAX_COMPRESSED_PX**0.5) + 1
    buffer = io.BytesIO()
    PIL.Image.new("1", (side, side)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 100_000
    bomb = bytearray(whole)
    bomb[16:24] = (2**31 - 1).to_bytes(4, "big") * 2  # width and height in the PNG header
    gif = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(gif, "GIF")
    for data, reason in (
        (b"", "with 0 bytes cannot be read"),
        (b"\x00" * 100, "with 100 bytes cannot be read"),
        (gif.getvalue(), "cannot be read; accepted: JPEG, PNG"),
        (buffer.getvalue(), "accepted are up to 64000000 px"),
        (bytes(bomb), "accepted"),
    ):
        message = CompressedImage(format="png", data=array.array("B", data))
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
            rgb_from_compressed(message)
        assert reason in str(error.value)


def test_depth_in_millimetres_and_metres() -> None:
    mm = np.array([[0, 1, 1500], [65535, 2, 3]], dtype=np.uint16)
    expected = np.array([[np.nan, 0.001, 1.5], [np.nan, 0.002, 0.003]], dtype=np.float32)
    for encoding in ("16UC1", "mono16"):
        message = pad_rows(image_from_array(mm, encoding, Header()), 3)
        np.testing.assert_allclose(depth_from_image(message), expected, rtol=1e-6)
        message = image_from_array(mm.byteswap(), encoding, Header())
        message.is_bigendian = 1
        np.testing.assert_allclose(depth_from_image(message), expected, rtol=1e-6)
    metres = np.array([[np.nan, np.inf, -np.inf], [0.0, -1.0, 2.5]], dtype=np.float32)
    expected = np.array([[np.nan] * 3, [np.nan, np.nan, 2.5]], dtype=np.float32)
    message = pad_rows(image_from_array(metres, "32FC1", Header()), 5)
    np.testing.assert_array_equal(depth_from_image(message), expected)
    message = image_from_array(metres.byteswap(), "32FC1", Header())
    message.is_bigendian = 1
    np.testing.assert_array_equal(depth_from_image(message), expected)


def test_bad_depth_is_refused() -> None:
    message = image_from_array(np.zeros((2, 2), np.float32), "64FC1", Header())
    with pytest.raises(ValueError, match=r"^depth encoding 64FC1; accepted: 16UC1, mono16, 32FC1"):
        depth_from_image(message)
    for encoding in ("32SC1", "8UC1", "16SC1", "rgb8", ""):
        message.encoding = encoding
        with pytest.raises(ValueError, match=r"^depth encoding .*; accepted: 16UC1, mono16, 32FC1"):
            depth_from_image(message)
    message.encoding, message.step = "32FC1", 7
    with pytest.raises(ValueError, match="rows of 7 bytes"):
        depth_from_image(message)


def test_metres_that_can_only_be_millimetres_are_refused() -> None:
    far_m = np.linspace(0.3, 200.0, 100, dtype=np.float32).reshape(10, 10)  # outdoors
    assert np.nanmax(depth_from_image(image_from_array(far_m, "32FC1", Header()))) == 200.0
    mm = 1000 * far_m / 200
    mm[0] = np.nan
    reason = "32FC1 depth with a median of 551 can only be millimetres"
    with pytest.raises(ValueError, match=f"^{reason}; accepted: 32FC1 in metres, 16UC1"):
        depth_from_image(image_from_array(mm, "32FC1", Header()))
    empty = np.full((4, 4), np.inf, np.float32)
    assert np.isnan(depth_from_image(image_from_array(empty, "32FC1", Header()))).all()


def test_intrinsics() -> None:
    info = CameraInfo(distortion_model="plumb_bob", d=[0.1, 0.0, 0.0, 0.0, 0.0])
    assert intrinsics_from_info(info, rectified=False) is None
    info.k = [500.0, 0.0, 320.0, 0.0, 501.0, 240.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 300.0, -5.0, 0.0, 401.0, 200.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    raw = intrinsics_from_info(info, rectified=False)
    rectified = intrinsics_from_info(info, rectified=True)
    assert raw is not None
    assert rectified is not None
    assert (raw.K[0, 0], raw.K[1, 2], raw.D[0]) == (500.0, 240.0, 0.1)
    assert (rectified.K[0, 0], rectified.K[1, 2], rectified.D.size) == (400.0, 200.0, 0)
    info.k[0] = float("nan")
    assert intrinsics_from_info(info, rectified=False) is None


@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [0.1]),
        ("plumb_bob", [0.1] * 6),
        ("plumb_bob", [float("nan")] * 5),
        ("rational_polynomial", [float("inf")] * 8),
        ("equidistant", [0.1] * 3),
        ("equidistant", [0.1] * 5),
    ],
)
def test_unsupported_distortion_is_named(model: str, D: list[float]) -> None:
    info = CameraInfo(distortion_model=model, d=D, k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    with pytest.raises(ValueError, match=r"expected .* finite numbers"):
        intrinsics_from_info(info, rectified=False)
    info.d = [0.0] * len(D)
    info.p = [500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]
    assert intrinsics_from_info(info, rectified=False) is not None


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, 1_000_000_000, 1_795_485_746_123_456_789])
def test_stamps_survive_exactly(stamp_ns: int) -> None:
    assert nanoseconds(time_message(stamp_ns)) == stamp_ns


def compressed_depth(stored: np.ndarray, form: str, a: float = 0.0, b: float = 0.0) -> object:
    data = io.BytesIO()
    PIL.Image.fromarray(stored).save(data, "PNG")
    header = struct.pack("<iff", 0, a, b)
    return CompressedImage(format=form, data=array.array("B", header + data.getvalue()))


def test_compressed_depth_in_millimetres_and_in_metres() -> None:
    stored = np.array([[0, 500, 1000], [1500, 65535, 1]], np.uint16)
    depth = depth_from_compressed(compressed_depth(stored, "16UC1; compressedDepth png"))
    np.testing.assert_allclose(depth, [[np.nan, 0.5, 1.0], [1.5, np.nan, 0.001]], rtol=1e-6)
    # Of the compressed transport: without a header.
    png = io.BytesIO()
    PIL.Image.fromarray(stored).save(png, "PNG")
    for form in ("16UC1; png compressed ", "mono16; png compressed ", "png"):
        message = CompressedImage(format=form, data=array.array("B", png.getvalue()))
        np.testing.assert_array_equal(depth_from_compressed(message), depth)
    # As the transport stores metres: n = a / z + b.
    a, b = 1000.0, -50.0
    metres = np.array([[0.5, 1.0, 4.0]], np.float32)
    numbers = np.round(a / metres + b).astype(np.uint16)
    numbers[0, 1] = 0
    depth = depth_from_compressed(compressed_depth(numbers, "32FC1; compressedDepth", a, b))
    np.testing.assert_allclose(depth, [[0.5, np.nan, 4.0]], rtol=1e-3)
    rvl = rvl_message(rvl_data(3, 1, numbers), "32FC1; compressedDepth rvl", a, b)
    np.testing.assert_array_equal(depth_from_compressed(rvl), depth)


def rvl_data(width: int, height: int, stored: np.ndarray) -> bytes:
    """Columns, rows and RVL of pixels: one run of values for each pixel, none of zeros."""
    nibbles: list[int] = []
    previous = 0
    for value in stored.ravel().astype(int).tolist():
        numbers = [1, 0] if value == 0 else [0, 1, (value - previous) << 1]
        if value:
            if value < previous:
                numbers[2] = -numbers[2] - 1
            previous = value
        for number in numbers:
            while number > 7:
                nibbles.append(number & 7 | 8)
                number >>= 3
            nibbles.append(number)
    nibbles += [0] * (-len(nibbles) % 8)
    words = np.array(nibbles, np.int64).reshape(-1, 8) @ (16 ** np.arange(7, -1, -1))
    return struct.pack("<ii", width, height) + words.astype("<u4").tobytes()


def rvl_message(
    data: bytes, form: str = "16UC1; compressedDepth rvl", a: float = 0.0, b: float = 0.0
) -> CompressedImage:
    return CompressedImage(format=form, data=array.array("B", struct.pack("<iff", 0, a, b) + data))


def test_compressed_depth_in_rvl() -> None:
    stored = np.array([[0, 500, 1000], [1500, 65535, 1]], np.uint16)
    depth = depth_from_compressed(rvl_message(rvl_data(3, 2, stored)))
    np.testing.assert_allclose(depth, [[np.nan, 0.5, 1.0], [1.5, np.nan, 0.001]], rtol=1e-6)


def jpeg_depth(form: str) -> CompressedImage:
    return CompressedImage(format=form, data=encode(np.zeros((4, 4, 3), np.uint8), ".jpg"))


def header_of(width: int, height: int) -> bytes:
    return struct.pack("<ii", width, height)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (CompressedImage(format="16UC1; png compressed "), "of 0 bytes is not a valid PNG"),
        (CompressedImage(format="32FC1; png compressed "), "is not known; accepted"),
        (CompressedImage(format="16UC1; compressedDepth zstd"), "zstd' is not known; accepted"),
        (jpeg_depth("16UC1; jpeg compressed "), "^depth as JPEG is not usable"),
        (jpeg_depth("jpeg"), "^depth as JPEG is not usable"),
        (rvl_message(b"\x01"), "has 1 bytes of RVL, its header needs 8"),
        (rvl_message(header_of(-4, -4)), "is -4 x -4 px"),
        (rvl_message(header_of(0, 4)), "is 0 x 4 px"),
        (rvl_message(header_of(2**31 - 1, 2**31 - 1)), "accepted are up to 8294400 px"),
        (rvl_message(header_of(4, 4)), "RVL data end after 0 of 16 pixels"),
        (CompressedImage(format="8UC1; compressedDepth png"), "is not known; accepted"),
        (CompressedImage(format="16UC1; compressedDepth png", data=[0] * 12), "has 12 bytes"),
        (CompressedImage(format="16UC1; compressedDepth png", data=[7] * 40), "not a valid PNG"),
        (
            compressed_depth(np.zeros((2, 2), np.uint8), "16UC1; compressedDepth png"),
            "PNG of uint8",
        ),
    ],
)
def test_bad_compressed_depth_is_named(message: CompressedImage, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        depth_from_compressed(message)
    assert " object at 0x" not in str(error.value)
