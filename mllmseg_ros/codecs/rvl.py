# SPDX-License-Identifier: Apache-2.0
"""Decode depth images in RVL, run lengths with variable-length differences.

Source: A. D. Wilson, Fast Lossless Depth Image Compression, ISS 2017. An image is a sequence of
runs: the number of zeros, the number of other values, and of each of these its difference to the
one before, the sign in the lowest bit. A number is stored three bits to a nibble, the lowest first,
with the highest bit of the nibble set while more follow; nibbles fill 32-bit words from the top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_rvl"]

_MAX_NIBBLES = 10  # of a number: 30 bits
_MAX_BYTES_PER_VALUE = 4  # a difference of 16-bit values and its share of a run


def decode_rvl(data: bytes, n_values: int) -> NDArray[np.uint16]:
    """Decode an image.

    Args:
        data: the runs.
        n_values: number of pixels.

    Returns:
        The pixels (n_values,), row by row.

    Raises:
        ValueError: if the data end early, or their runs do not give that many pixels.
    """
    numbers = _read_numbers(data[: _MAX_BYTES_PER_VALUE * n_values + 16])
    pixel = number = 0
    runs = []  # first pixel, first difference, length of the values other than zero
    while pixel < n_values:
        if number + 2 > len(numbers):
            raise ValueError(f"RVL data end after {pixel} of {n_values} pixels")
        n_zeros, length = numbers.item(number), numbers.item(number + 1)
        runs.append((pixel + n_zeros, number + 2, length))
        pixel += n_zeros + length
        number += 2 + length
        if not n_zeros + length or pixel > n_values or number > len(numbers):
            raise ValueError(f"RVL data are broken: {pixel} of {n_values} pixels")
    starts, firsts, lengths = np.array(runs, dtype=np.int64).reshape(-1, 3).T
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    stored = numbers[np.repeat(firsts, lengths) + within].astype(np.int64)
    differences = (stored >> 1) ^ -(stored & 1)
    decoded = np.zeros(n_values, np.uint16)
    decoded[np.repeat(starts, lengths) + within] = np.cumsum(differences) & 0xFFFF
    return decoded


def _read_numbers(data: bytes) -> NDArray[np.uint32]:
    """Read the variable-length numbers."""
    words = np.frombuffer(data, dtype="<u4", count=len(data) // 4)
    octets = words.astype(">u4").view(np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=-1).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.zeros(0, np.uint32)
    nibbles = nibbles[: ends[-1] + 1]
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends + 1 - starts
    if lengths.max() > _MAX_NIBBLES:
        raise ValueError("RVL data are broken: a number of more than 30 bits")
    shifts = 3 * (np.arange(len(nibbles)) - np.repeat(starts, lengths))
    bits = (nibbles & 7).astype(np.uint32) << shifts.astype(np.uint32)
    return np.add.reduceat(bits, starts, dtype=np.uint32)
