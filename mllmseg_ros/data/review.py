# SPDX-License-Identifier: Apache-2.0
"""Review of a model's labels: accepted, rejected and redrawn by a person.

``mllmseg label`` writes ``"review": "sure"`` or ``"unsure"`` into its entries, by the confidence of
the model. They are not used before the field is ``"accepted"``. Entries without the field are human
annotations and are always used. Each change replaces the file as a whole, so that a kill leaves the
old one or the new one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mllmseg_ros.data.image_file import size_hw
from mllmseg_ros.data.region import Coco, decode
from mllmseg_ros.data.run_folder import write_atomically

__all__ = ["LabelledSet", "Review", "count_unreviewed", "is_used"]

FILE = "annotations.jsonl"
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


def count_unreviewed(folder: Path) -> int:
    """Count the entries of a folder that nobody has reviewed; 0 if it is not a labelled set."""
    try:
        counts = LabelledSet(folder).counts()
    except ValueError:
        return 0
    return counts[Review.SURE.value] + counts[Review.UNSURE.value]


class LabelledSet:
    """The entries of a labelled folder, by their number in its annotation file.

    Attributes:
        folder: of the data set.
    """

    def __init__(self, folder: Path) -> None:
        """Read it.

        Raises:
            ValueError: if there is no annotation file, or a line of it cannot be used.
        """
        self.folder = folder
        self._path = folder / FILE
        if not self._path.is_file():
            raise ValueError(f"{folder}: no {FILE} in it; `mllmseg label … -o {folder}` writes one")
        self._entries: list[dict[str, Any]] = []
        self._undo: list[tuple[int, dict[str, Any]]] = []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._entries.append(_entry(line, f"{self._path}, line {number}"))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """An entry's fields.

        Raises:
            ValueError: if there is no such entry.
        """
        if not 0 <= number < len(self._entries):
            raise ValueError(f"there is no entry {number}, accepted: 0 to {len(self) - 1}")
        return self._entries[number]

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
        path = (self.folder / self[number]["image"]).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise ValueError(f"image {self[number]['image']!r} lies outside the folder")
        return path

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
            return decode(Coco(polygons=tuple(tuple(each) for each in mask)), size)
        raise ValueError(f"entry {number}: its mask is a file, which is not redrawn here")

    def accept(self, number: int) -> None:
        """Accept an entry."""
        self._change(number, review=Review.ACCEPTED.value)

    def reject(self, number: int) -> None:
        """Reject an entry."""
        self._change(number, review=Review.REJECTED.value)

    def redraw(self, number: int, polygons: Sequence[Sequence[float]]) -> None:
        """Replace the mask by polygons and accept the entry; no polygons mean no target.

        Args:
            number: of the entry.
            polygons: each x0, y0, x1, y1, … px of the image.

        Raises:
            ValueError: if a polygon has under three corners or leaves the image, or there are
                too many.
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
            if not decode(region, size_hw(self.image(number))).any():
                raise ValueError("the polygons hold no pixel")
        self._change(number, mask=rounded or None, review=Review.ACCEPTED.value)

    def accept_sure(self) -> int:
        """Accept all entries of which the model was sure; return their number."""
        sure = [number for number in range(len(self)) if self.review(number) is Review.SURE]
        for number in sure:
            self._entries[number] = {**self[number], "review": Review.ACCEPTED.value}
        self._write()
        return len(sure)

    def undo(self) -> int | None:
        """Undo the last change; return the number of its entry, None if there is none."""
        if not self._undo:
            return None
        number, before = self._undo.pop()
        self._entries[number] = before
        self._write()
        return number

    def _change(self, number: int, **fields: Any) -> None:
        self._undo.append((number, self[number]))
        self._entries[number] = {**self[number], **fields}
        self._write()

    def _write(self) -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in self._entries)
        write_atomically(self._path, text)


def _entry(line: str, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not complete, valid JSON ({error})") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("image"), str):
        raise ValueError(f"{where}: expected an object with an 'image'")
    if "mask" not in fields:
        raise ValueError(f"{where}: it has no 'mask'")
    is_used(fields)
    return fields
