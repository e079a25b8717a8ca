# SPDX-License-Identifier: Apache-2.0
"""Parse untrusted JSON and YAML from files, requests and messages."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mllmseg_ros.files.reading import MAX_TEXT_BYTES, check_encoding, read_bytes, read_text, show

__all__ = [
    "MAX_DEPTH",
    "JsonLine",
    "parse_json",
    "parse_json_lines",
    "parse_yaml",
    "read_json",
    "read_json_lines",
    "read_yaml",
]

MAX_DEPTH = 64  # levels of lists and objects
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_QUOTE = 2
_STEPS = np.zeros(256, np.int8)  # per byte: +1 opens a level, -1 closes one
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
_STEPS[ord('"')] = _QUOTE


def read_json(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Read and parse a JSON file.

    Raises:
        ValueError: from :func:`~mllmseg_ros.files.reading.read_text` and :func:`parse_json`.
    """
    return parse_json(read_text(path, max_bytes=max_bytes), show(path))


@dataclass(frozen=True, kw_only=True)
class JsonLine:
    """A line of a file with a JSON value per line, not parsed yet."""

    number: int  # from 1
    data: bytes  # without the line end

    def parse(self) -> Any:
        """Parse it.

        Raises:
            ValueError: if it is not UTF-8, or from :func:`parse_json`.
        """
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 text (byte {error.start} of the line)") from error
        return parse_json(text)


def read_json_lines(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> list[JsonLine]:
    r"""Read a file with a JSON value per line, with or without a byte order mark.

    Lines end with "\n" alone; empty ones are left out.

    Raises:
        ValueError: from :func:`~mllmseg_ros.files.reading.read_bytes`.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    check_encoding(path, data)
    return parse_json_lines(data)


def parse_json_lines(data: bytes) -> list[JsonLine]:
    """Split what a file with a JSON value per line holds."""
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    return [
        JsonLine(number=number, data=line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def parse_json(text: str, name: str = "") -> Any:
    """Parse JSON text.

    Args:
        text: the text; the caller has limited its length.
        name: of the file, request or message, with which an error begins.

    Raises:
        ValueError: if it is not valid JSON, nests deeper than MAX_DEPTH, or has characters that
            UTF-8 cannot write (an unpaired surrogate).
    """
    where = f"{name}: " if name else ""
    if _json_depth(text) > MAX_DEPTH:
        raise ValueError(f"{where}nested deeper than {MAX_DEPTH} levels")
    try:
        text.encode()
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}an unpaired surrogate, which is not a character") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}not valid JSON ({error})") from error
    return value


def read_yaml(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Read and parse a YAML file.

    Raises:
        ValueError: from :func:`~mllmseg_ros.files.reading.read_text` and :func:`parse_yaml`.
    """
    return parse_yaml(read_text(path, max_bytes=max_bytes), show(path))


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML text; only plain values are made, never objects of a class.

    Raises:
        ValueError: if it is not valid YAML or nests too deep.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError(f"{name}: nested too deep") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name}: not valid YAML ({reason})") from error


def _json_depth(text: str) -> int:
    """Levels of lists and objects, without parsing; too high at most for invalid JSON."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0  # the usual short text
    # Escaped quotes do not end a string, and brackets in strings do not nest.
    plain = text.replace("\\\\", "__").replace('\\"', "__").encode(errors="replace")
    steps = _STEPS[np.frombuffer(plain, np.uint8)]
    steps = steps[steps != 0]
    quotes = steps == _QUOTE
    in_string = np.logical_xor.accumulate(quotes)
    levels = np.cumsum(np.where(in_string | quotes, 0, steps), dtype=np.int64)
    return int(levels.max(initial=0))
