# SPDX-License-Identifier: Apache-2.0
"""Read image files as they are displayed: the one place where the package opens image files.

PNG, JPEG, WebP, BMP and GIF are accepted, of an animation the first frame; HEIC where pillow-heif
is installed. The kind of file, its
length and its number of pixels are checked before anything is decoded. The EXIF orientation is
applied, as cameras and browsers do; 16-bit grey images are scaled to 8 bits.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from mllmseg_ros.codecs.images import MAX_COMPRESSED_PX, to_8_bit
from mllmseg_ros.codecs.mask_image import mask_from_image
from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import open_file
from mllmseg_ros.files.reading import show

__all__ = ["ImageFile", "open_encoded_image", "open_image", "read_image", "rgb_from_pil"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_IMAGE_BYTES = 256 << 20  # a PNG of MAX_COMPRESSED_PX that does not compress has 192 MB
_HEIF = "HEIF"  # name of pillow-heif's format
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NUMBER_MODES = ("1", "L", "P", "I")  # PIL's; of PNG, "I" has 16 bits
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what makes it upright


class ImageFile:
    """An image file whose header was read; nothing is decoded yet.

    Attributes:
        stored_hw: height and width as stored, px.
        size_hw: height and width as displayed, px.
        format: one of FORMATS, or HEIF.
    """

    def __init__(self, path: Path, file: BinaryIO, image: PIL.Image.Image) -> None:
        self._path, self._file = path, file
        self._orientation = _orientation(image)
        self.stored_hw = (image.height, image.width)
        self.size_hw = self.stored_hw if self._orientation < 5 else self.stored_hw[::-1]
        # Photographs of telephones can be JPEGs of several images (MPO); the first is read.
        self.format = "JPEG" if image.format == "MPO" else str(image.format)

    @property
    def is_upright(self) -> bool:
        """Whether the image is displayed as it is stored."""
        return self._orientation not in _TURNS

    def read_rgb(self, *, turned: bool = True) -> NDArray[np.uint8]:
        """Decode the image to RGB (H, W, 3).

        Args:
            turned: as it is displayed; otherwise as it is stored.

        Raises:
            ValueError: if the file is broken.
        """
        with _refusing_broken(self._path):
            return rgb_from_pil(self._load(), self._orientation if turned else 1)

    def _load(self) -> PIL.Image.Image:
        # From memory: of a file, PIL would reserve as many bytes as the length of a block says.
        self._file.seek(0)
        data = io.BytesIO(self._file.read(MAX_IMAGE_BYTES))
        image = PIL.Image.open(data, formats=(*FORMATS, _HEIF))
        _check_px(self._path, image)
        image.load()
        return image

    def read_mask(self) -> tuple[NDArray[np.bool_], str | None]:
        """Decode the image, as it is stored, to a mask.

        Returns:
            mask (H, W), and why its meaning is doubtful, None if it is not:
            :func:`~mllmseg_ros.codecs.mask_image.mask_from_image`.

        Raises:
            ValueError: if the file is broken.
        """
        with _refusing_broken(self._path):
            return mask_from_image(self._load())

    def read_numbers(self) -> NDArray[np.uint16]:
        """Decode an image whose pixels are numbers, as it is stored: labels, depth.

        Returns:
            (H, W), of 8 or 16 bits in the file; of a palette, the indices.

        Raises:
            ValueError: if it is broken, or has colours or transparency.
        """
        with _refusing_broken(self._path):
            image = self._load()
        if image.mode not in _NUMBER_MODES and not image.mode.startswith("I;16"):
            raise ValueError(
                f"{show(self._path)} is an image of mode {image.mode}; expected is one channel of "
                "8 or 16 bits"
            )
        return np.array(image).astype(np.uint16)


@contextmanager
def open_image(path: Path, *, formats: tuple[str, ...] = FORMATS) -> Iterator[ImageFile]:
    """Open an image file and check its header.

    Args:
        path: of the file.
        formats: that are accepted, of FORMATS.

    Raises:
        ValueError: if it is missing, is not an image of an accepted format, or is too large.
    """
    with open_file(path, max_bytes=MAX_IMAGE_BYTES) as file:
        yield _open(file, path, formats)


@contextmanager
def open_encoded_image(
    data: bytes, path: Path, *, formats: tuple[str, ...] = FORMATS
) -> Iterator[ImageFile]:
    """Open an image that lies, encoded, in another file, and check its header.

    Args:
        data: what an image file of it would hold.
        path: of the file that holds it, for messages.
        formats: that are accepted, of FORMATS.

    Raises:
        ValueError: from :func:`open_image`.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(
            f"{show(path)}: an image of {len(data)} bytes, accepted are up to {MAX_IMAGE_BYTES}"
        )
    yield _open(io.BytesIO(data), path, formats)


def _open(file: BinaryIO, path: Path, formats: tuple[str, ...]) -> ImageFile:
    if _is_heic(file.read(12)):
        if formats != FORMATS or not _can_read_heic():
            raise ValueError(
                f"{show(path)} is an HEIC image; accepted: {', '.join(formats)}; convert it to "
                "JPEG, or install pillow-heif"
            )
        formats = (_HEIF,)
    file.seek(0)
    with _refusing_broken(path, formats), warnings.catch_warnings():
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # checked below
        image = PIL.Image.open(file, formats=formats)
    with image:
        _check_px(path, image)
        return ImageFile(path, file, image)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as it is displayed, RGB (H, W, 3).

    Raises:
        ValueError: from :func:`open_image` and :meth:`ImageFile.read_rgb`.
    """
    with open_image(path) as image:
        return image.read_rgb()


def rgb_from_pil(image: PIL.Image.Image, orientation: int | None = None) -> NDArray[np.uint8]:
    """Convert a PIL image to RGB (H, W, 3).

    Args:
        image: of any mode; 16-bit grey values are scaled to 8 bits.
        orientation: EXIF orientation to apply; None is the image's own.
    """
    turn = _TURNS.get(_orientation(image) if orientation is None else orientation)
    if image.mode.startswith("I"):  # 16 bits; PIL's conversion would clip, not scale
        image = PIL.Image.fromarray(to_8_bit(np.asarray(image).astype(np.uint16)))
    rgb = image.convert("RGB")
    return np.array(rgb if turn is None else rgb.transpose(turn))


def _is_heic(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS


@cache
def _can_read_heic() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _check_px(path: Path, image: PIL.Image.Image) -> None:
    if image.width * image.height > MAX_COMPRESSED_PX:
        raise ValueError(
            f"{show(path)} is an image of {image.width} x {image.height} px, accepted are up to "
            f"{MAX_COMPRESSED_PX} px"
        )


@contextmanager
def _refusing_broken(path: Path, formats: tuple[str, ...] = FORMATS) -> Iterator[None]:
    """Turn whatever PIL raises for a broken file into a ValueError."""
    try:
        yield
    except PIL.UnidentifiedImageError as error:
        raise ValueError(
            f"{show(path)} is not an image that can be read; accepted: {', '.join(formats)}"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(
            f"{show(path)}: {error}; accepted are up to {MAX_COMPRESSED_PX} px"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # its decoders raise OSError, SyntaxError, struct.error and others
        reason = one_line(
            error, max_chars=200, with_type=not isinstance(error, (OSError, ValueError))
        )
        raise ValueError(f"{show(path)} cannot be read as an image: {reason}") from error


def _orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) if there is none or it is broken."""
    if "exif" not in image.info:  # of a PNG, getexif() would decode all pixels to look behind them
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they are corrupt
            value: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data do not make the image unusable
        return 1
    return value if value in _TURNS else 1
