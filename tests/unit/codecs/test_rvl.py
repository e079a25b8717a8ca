# SPDX-License-Identifier: Apache-2.0
"""RVL, against an encoder written from its description."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from mllmseg_ros.codecs.rvl import decode_rvl


def nibbles_of(number: int) -> list[int]:
    digits = []
    while True:
        digits.append(number & 7)
        number >>= 3
        if not number:
            return [each | 8 for each in digits[:-1]] + digits[-1:]


def pack(numbers: list[int]) -> bytes:
    nibbles = [nibble for number in numbers for nibble in nibbles_of(number)]
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)
    ]
    return struct.pack(f"<{len(words)}I", *words)


def encode_rvl(values: np.ndarray) -> bytes:
    numbers, previous, at = [], 0, 0
    flat = [int(each) for each in values.ravel()]
    while at < len(flat):
        end = at
        while end < len(flat) and not flat[end]:
            end += 1
        numbers.append(end - at)
        at = end
        while end < len(flat) and flat[end]:
            end += 1
        numbers.append(end - at)
        for value in flat[at:end]:
            difference = value - previous
            numbers.append(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = value
        at = end
    return pack(numbers)


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, 0],
        [5],
        [0, 500, 501, 0, 0, 65535, 1, 0],
        [65535, 1, 65535, 0, 65534],
        [0] * 1000 + [7] * 1000,
    ],
)
def test_pixels_survive(values: list[int]) -> None:
    decoded = decode_rvl(encode_rvl(np.array(values)), len(values))
    assert decoded.dtype == np.uint16
    assert decoded.tolist() == values


def test_noise_survives() -> None:
    random = np.random.default_rng(3)
    values = random.integers(0, 65536, 20_000) * (random.random(20_000) < 0.5)
    np.testing.assert_array_equal(decode_rvl(encode_rvl(values), len(values)), values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "end after 0 of 12 pixels"),
        (b"\0\0", "end after 0 of 12 pixels"),
        (pack([3, 2, 10, 11]), "pixels"),
        (pack([13, 0]), "broken: 13 of 12 pixels"),
        (pack([0, 12, 1]), "broken|end after"),
        (pack([0, 0, 0, 0]), "broken: 0 of 12 pixels"),
        (b"\xff" * 400, "end after 0 of 12"),
        (b"\xff" * 40 + b"\0\0\0\0", "a number of more than 30 bits"),
    ],
)
def test_broken_data_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_rvl(data, 12)
