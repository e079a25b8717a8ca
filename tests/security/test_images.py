# SPDX-License-Identifier: Apache-2.0
"""Image files: what is refused before it is decoded, and how the others are displayed."""

from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from mllmseg_ros.cli import main
from mllmseg_ros.codecs.image_file import MAX_IMAGE_BYTES, open_image, read_image
from mllmseg_ros.data.image_file import read_rgb, size_hw
from mllmseg_ros.data.region import MaskFile, decode
from mllmseg_ros.data.sample import Sample
from mllmseg_ros.recording.folder import FolderSource

pytestmark = pytest.mark.threat("F2", "F3")

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
# What a viewer shows: two rows of three pixels.
SHOWN = np.array([[RED, GREEN, BLUE], [WHITE, RED, GREEN]], np.uint8)


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def stored(orientation: int) -> np.ndarray:
    """What a camera stores so that SHOWN is displayed; by the definition in the EXIF standard.

    An orientation says where row 0 and column 0 of what is stored are displayed.
    """
    return {
        1: SHOWN,  # top, left
        2: SHOWN[:, ::-1],  # top, right
        3: SHOWN[::-1, ::-1],  # bottom, right
        4: SHOWN[::-1],  # bottom, left
        5: SHOWN.transpose(1, 0, 2),  # left, top
        6: SHOWN[:, ::-1].transpose(1, 0, 2),  # right, top
        7: SHOWN[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: SHOWN[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]


def png(width: int, height: int, data: bytes = b"", bits: int = 8, color: int = 2) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b",\0\0\0\0"
        + struct.pack("<HHBB", width, height, 0, 2)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_orientation_is_applied_everywhere(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    image = PIL.Image.fromarray(np.ascontiguousarray(stored(orientation)))
    image.save(
        path, kind, exif=turned(orientation), **({"lossless": True} if kind == "WEBP" else {})
    )
    np.testing.assert_array_equal(read_image(path), SHOWN)
    assert size_hw(path) == (2, 3)
    sample = Sample(image=path, size_hw=(2, 3), targets=(), entry="")
    np.testing.assert_array_equal(read_rgb(sample), SHOWN)
    if orientation >= 5:  # annotated by a program that ignores it
        sample = Sample(image=path, size_hw=(3, 2), targets=(), entry="")
        np.testing.assert_array_equal(read_rgb(sample), stored(orientation))
    if kind == "PNG":
        (recorded,) = FolderSource(tmp_path).images(1)
        np.testing.assert_array_equal(recorded.decode().rgb, SHOWN)
        # Who gets the file itself, as a message, would not turn it.
        assert (recorded.encoded is None) == (orientation != 1)


def test_a_phone_photo_is_rotated_by_the_command_too(tmp_path: Path) -> None:
    tall = np.zeros((40, 20, 3), np.uint8)
    tall[:20] = 255
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(np.ascontiguousarray(tall[:, ::-1].transpose(1, 0, 2))).save(
        path, exif=turned(6)
    )
    output = tmp_path / "out.png"
    assert main(["segment", str(path), "the red mug", "-o", str(output), "--device", "cpu"]) == 0
    assert cv2.imread(str(output)).shape == (40, 20, 3)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None]
    cv2.imwrite(str(tmp_path / "a.png"), ramp)
    expected = np.round(ramp[0] / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, :, 1], expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, kind: str) -> None:
    frames = [PIL.Image.new("RGB", (4, 3), color) for color in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), np.full((3, 4, 3), RED, np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(60_000, 60_000), "(3600000000 pixels)"),
        (png(9000, 9000), "9000 x 9000 px, accepted are up to 64000000 px"),
        (gif(65_535, 65_535), "accepted are up to 64000000 px"),
        (gif(9000, 9000), "9000 x 9000 px, accepted are up to 64000000 px"),
        (b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 9000, 9000, 1, 24) + bytes(24), "9000 px"),
        (b"", "is not an image that can be read; accepted: PNG, JPEG, WEBP, BMP, GIF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "accepted: PNG"),
        (b"II*\0\x08\0\0\0\0\0", "accepted: PNG"),  # TIFF
        (b"P6 2 2 255\n" + bytes(12), "accepted: PNG"),
        (png(100, 100, b"\0" * 10), "cannot be read as an image"),
    ],
)
def test_decompression_bombs_and_other_formats_are_refused_in_one_line(
    tmp_path: Path, content: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png") as caught:
        read_image(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"a\.png"):
        decode(MaskFile(path=path), (100, 100))
    assert main(["segment", str(path), "the red mug", "--device", "cpu"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_large_and_special_files_are_refused_without_reading_them(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.write(png(2, 2))
        file.truncate(6 << 30)
    with pytest.raises(ValueError, match=f"accepted are up to {MAX_IMAGE_BYTES}"):
        read_image(huge)
    os.mkfifo(tmp_path / "fifo.png")
    for path in (tmp_path / "fifo.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="accepted is a regular file"):
            read_image(path)
    for number, recorded in enumerate(FolderSource(tmp_path).images(1)):  # does not wait either
        assert recorded.encoded is None, number
        with pytest.raises(ValueError, match="accepted"):
            recorded.decode()


def test_the_length_of_a_block_reserves_no_memory(tmp_path: Path) -> None:
    whole = png(2, 2, (b"\0" + bytes(6)) * 2)
    at = whole.index(b"IDAT") - 4
    path = tmp_path / "a.png"
    path.write_bytes(whole[:at] + struct.pack(">I", 0xFFFFFFF0) + whole[at + 4 :])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        assert read_image(path).shape == (2, 2, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_broken_exif_data_do_not_cost_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(SHOWN).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\xffbroken")
    np.testing.assert_array_equal(read_image(path), SHOWN)
    with open_image(path) as image:
        assert image.is_upright
