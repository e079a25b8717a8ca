# SPDX-License-Identifier: Apache-2.0
"""Review of a model's labels: accepted, rejected and redrawn by a person.

``mllmseg label`` writes ``"review": "sure"`` or ``"unsure"`` into its entries, by the confidence of
the model. They are not used before the field is ``"accepted"``. Entries without the field are human
annotations and are always used. Each change replaces the file as a whole, so that a kill leaves the
old one or the new one, and is refused if another program has changed the file meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.image_file import path_in_folder, size_hw
from mllmseg_ros.data.region import Coco, decode, decode_checked, encode, polygons_from
from mllmseg_ros.data.sample import describe_error
from mllmseg_ros.files import JsonLine, open_file, parse_json_lines, read_bytes, show, write_file

__all__ = ["ChangedError", "LabelledSet", "Review", "count_unreviewed", "expressions_of", "is_used"]

FILE = "annotations.jsonl"
MAX_BYTES = 256 << 20  # of that file, which is written anew with each decision
MAX_POLYGONS, MAX_POINTS = 64, 2000


class Review(str, Enum):
    """State of an entry."""

    SURE = "sure"  # not reviewed; the model was confident
    UNSURE = "unsure"  # not reviewed; the model was not confident
    ACCEPTED = "accepted"
    REJECTED = "rejected"


def is_used(fields: dict[str, Any]) -> bool:
    """Return whether an entry is used.

    Raises:
        ValueError: if ``review`` is not a value of :class:`Review`.
    """
    if "review" not in fields:
        return True
    try:
        return Review(fields["review"]) is Review.ACCEPTED
    except ValueError:
        accepted = ", ".join(each.value for each in Review)
        raise ValueError(f"'review' is {fields['review']!r}, accepted: {accepted}") from None


def expressions_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the expressions of an entry.

    Raises:
        ValueError: if it has none.
    """
    texts = fields.get("expressions", fields.get("expression"))
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise ValueError("it has no 'expression' (text) or 'expressions' (list of text)")
    return tuple(texts)


class ChangedError(Exception):
    """Another program has changed the annotation file; it was read again, nothing was written."""


def count_unreviewed(folder: Path) -> int:
    """Count the entries of a folder that nobody has reviewed; 0 if it is not a labelled set."""
    try:
        counts = LabelledSet(folder).counts()
    except ValueError:
        return 0
    return counts[Review.SURE.value] + counts[Review.UNSURE.value]


class LabelledSet:
    """The entries of a labelled folder, numbered as in its annotation file.

    Lines that cannot be used have no number. They stay in the file as they are.

    Attributes:
        folder: of the data set.
        problems: why lines cannot be used, one text per line.
    """

    def __init__(self, folder: Path) -> None:
        """Read it.

        Raises:
            ValueError: if there is no annotation file, or it cannot be read.
        """
        self.folder = folder
        self._path = folder / FILE
        if not self._path.is_file():
            raise ValueError(f"{folder}: no {FILE} in it; `mllmseg label … -o {folder}` writes one")
        self._read(read_bytes(self._path, max_bytes=MAX_BYTES))

    def reload(self) -> bool:
        """Read the file again if another program has changed it; returns whether it has.

        The entries then have other numbers, and no change can be undone.

        Raises:
            ValueError: if it cannot be read.
        """
        data = read_bytes(self._path, max_bytes=MAX_BYTES)
        if _digest(data) == self._saved:
            return False
        self._read(data)
        return True

    def _read(self, data: bytes) -> None:
        lines: list[bytes] = []
        places: list[int] = []
        entries, problems = [], []
        for line in parse_json_lines(data):
            try:
                entries.append(_entry(line))
                places.append(len(lines))
            except ValueError as error:
                problems.append(f"{show(self._path)}, line {line.number}: {describe_error(error)}")
            lines.append(line.data)
        self._saved = _digest(data)
        self._lines = lines  # as they are in the file
        self._entries: list[dict[str, Any]] = entries
        self._places = places  # of the entries in them
        self._undo: list[tuple[int, dict[str, Any], bytes]] = []  # number, entry and line before
        self.problems = problems

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """An entry's fields.

        Raises:
            ValueError: if there is no such entry.
        """
        entries = self._entries  # of one reading, also while another thread reads it again
        if not 0 <= number < len(entries):
            raise ValueError(f"there is no entry {number}, accepted: 0 to {len(entries) - 1}")
        return entries[number]

    def review(self, number: int) -> Review:
        """Return the state of an entry; human annotations are accepted."""
        return Review(self[number].get("review", Review.ACCEPTED))

    def order(self) -> list[int]:
        """Return the numbers of the entries in the order of review: unsure ones first."""
        return sorted(range(len(self)), key=lambda n: (self.review(n) is not Review.UNSURE, n))

    def counts(self) -> dict[str, int]:
        """Count the entries in each state."""
        found = Counter(self.review(number) for number in range(len(self)))
        return {each.value: found[each] for each in Review}

    def image(self, number: int) -> Path:
        """Return the image file of an entry.

        Raises:
            ValueError: if it lies outside the folder.
        """
        return path_in_folder(self.folder, self[number]["image"])

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Decode the mask of an entry (H, W); empty without a target.

        Raises:
            ValueError: if it cannot be read.
        """
        mask, size = self[number]["mask"], size_hw(self.image(number))
        if mask is None:
            return np.zeros(size, np.bool_)
        if isinstance(mask, dict):
            return decode(Coco(runs=(mask,)), size)
        if isinstance(mask, list):
            return decode(Coco(polygons=polygons_from(mask)), size)
        raise ValueError(f"entry {number}: its mask is a file, which is not redrawn here")

    def accept(self, number: int) -> None:
        """Accept an entry.

        Raises:
            ChangedError: if another program has changed the file.
            OSError: if it cannot be written; nothing has changed then.
        """
        self._change(number, review=Review.ACCEPTED.value)

    def reject(self, number: int) -> None:
        """Reject an entry; raises as :meth:`accept`."""
        self._change(number, review=Review.REJECTED.value)

    def redraw(self, number: int, polygons: Sequence[Sequence[float]]) -> None:
        """Replace the mask by polygons and accept the entry; no polygons mean no target.

        Args:
            number: of the entry.
            polygons: each x0, y0, x1, y1, … px of the image.

        Raises:
            ValueError: if a polygon has under three corners or leaves the image, or there are
                too many.
            ChangedError, OSError: from :meth:`accept`.
        """
        n_points = sum(len(each) // 2 for each in polygons)
        if len(polygons) > MAX_POLYGONS or n_points > MAX_POINTS:
            raise ValueError(
                f"{len(polygons)} polygons of {n_points} corners, accepted are up to "
                f"{MAX_POLYGONS} of {MAX_POINTS} in all"
            )
        rounded = [[round(float(n), 1) for n in each] for each in polygons]
        if rounded:
            region = Coco(polygons=tuple(tuple(each) for each in rounded))
            mask, faults = decode_checked(region, size_hw(self.image(number)))
            if faults:
                raise ValueError(faults[0])
            if not mask.any():
                raise ValueError("the polygons hold no pixel")
        self._change(number, mask=rounded or None, review=Review.ACCEPTED.value)

    def keep_piece(self, number: int, uv: tuple[float, float]) -> None:
        """Reduce the mask to the connected piece at a pixel, and accept the entry.

        A mask that has spilled over to other objects is often right but for these pieces.

        Args:
            number: of the entry.
            uv: px of the image, within the piece.

        Raises:
            ValueError: if there is no piece of the mask, or the mask cannot be read.
            ChangedError, OSError: from :meth:`accept`.
        """
        mask = self.mask(number)
        _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        u, v = (int(position) for position in uv)
        inside = 0 <= v < mask.shape[0] and 0 <= u < mask.shape[1]
        if not inside or not mask[v, u]:
            raise ValueError(f"there is no mask at ({u}, {v}); choose a piece of it")
        piece = encode(labels == labels[v, u])
        self._change(number, mask=piece, review=Review.ACCEPTED.value)

    def accept_sure(self) -> int:
        """Accept all entries of which the model was sure; returns their number.

        Raises:
            ChangedError, OSError: from :meth:`accept`.
        """
        sure = [number for number in range(len(self)) if self.review(number) is Review.SURE]
        accepted = {"review": Review.ACCEPTED.value}
        self._write({number: _with_line({**self[number], **accepted}) for number in sure})
        return len(sure)

    def undo(self) -> int | None:
        """Undo the last change; returns the number of its entry, None if there is none.

        Raises:
            ChangedError, OSError: from :meth:`accept`.
        """
        if not self._undo:
            return None
        number, entry, line = self._undo[-1]
        self._write({number: (entry, line)})
        self._undo.pop()
        return number

    def _change(self, number: int, **fields: Any) -> None:
        entry = self[number]
        before = number, entry, self._lines[self._places[number]]
        self._write({number: _with_line({**entry, **fields})})
        self._undo.append(before)

    def _write(self, changes: Mapping[int, tuple[dict[str, Any], bytes]]) -> None:
        """Replace entries and their lines, on disk first."""
        lines, entries = [*self._lines], [*self._entries]
        for number, (entry, line) in changes.items():
            entries[number], lines[self._places[number]] = entry, line
        data = b"".join(line + b"\n" for line in lines)
        # Locked, so that of two programs one has read what the other has written.
        with open_file(self._path, max_bytes=MAX_BYTES) as file:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            is_replaced = not os.path.samestat(os.fstat(file.fileno()), self._path.stat())
            if is_replaced or _digest(file.read()) != self._saved:
                self._read(read_bytes(self._path, max_bytes=MAX_BYTES))
                raise ChangedError(
                    f"{show(self._path)} was changed by another program; it was read again, "
                    "and nothing was saved: decide again"
                )
            write_file(self._path, data)
        self._saved, self._lines, self._entries = _digest(data), lines, entries


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _with_line(entry: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    return entry, json.dumps(entry).encode()


def _entry(line: JsonLine) -> dict[str, Any]:
    fields = line.parse()
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise ValueError("expected an object with an 'image'")
    if "mask" not in fields:
        raise ValueError("it has no 'mask'")
    expressions_of(fields)
    is_used(fields)
    return fields
