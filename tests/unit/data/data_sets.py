# SPDX-License-Identifier: Apache-2.0
"""Small data sets in each real format: two images, a square and a disc on each."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mllmseg_ros.data.region import encode

WIDTH, HEIGHT = 64, 48
SQUARE = (8, 10, 28, 30)  # x0, y0, x1, y1 px
DISC = (48, 24, 9)  # x, y, radius px


def square_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    x0, y0, x1, y1 = SQUARE
    mask[y0:y1, x0:x1] = True
    return mask


def disc_mask() -> np.ndarray:
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    x, y, radius = DISC
    return np.asarray((u - x) ** 2 + (v - y) ** 2 <= radius**2)


def square_polygon() -> list[float]:
    x0, y0, x1, y1 = SQUARE
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    image[square_mask()] = (30, 30, 200)
    image[disc_mask()] = (200, 60, 30)
    assert cv2.imwrite(str(path), image)


def instances(names: tuple[str, str]) -> dict[str, Any]:
    """COCO annotations: per image a square as polygon and a disc as run lengths."""
    x0, y0, x1, y1 = SQUARE
    annotations = []
    for image_id in (1, 2):
        annotations += [
            {
                "id": 10 * image_id,
                "image_id": image_id,
                "category_id": 1,
                "segmentation": [square_polygon()],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            },
            {
                "id": 10 * image_id + 1,
                "image_id": image_id,
                "category_id": 2,
                "segmentation": encode(disc_mask()),
                "bbox": [39, 15, 19, 19],
            },
        ]
    return {
        "images": [
            {"id": index + 1, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for index, name in enumerate(names)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "disc"}],
    }


def reference(ref_id: int, image_id: int, ann_id: Any, split: str, *sentences: Any) -> dict:
    return {
        "ref_id": ref_id,
        "image_id": image_id,
        "ann_id": ann_id,
        "category_id": 1,
        "split": split,
        "file_name": "",
        "sentences": [
            {"sent_id": 100 * ref_id + i, "sent": text, "raw": text, "tokens": str(text).split()}
            for i, text in enumerate(sentences)
        ],
    }


def write_refcoco(folder: Path, references: list[dict] | None = None) -> Path:
    """RefCOCO's layout; RefCOCO+, RefCOCOg and RefCLEF have the same."""
    names = ("COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg")
    for name in names:
        write_image(folder / "images" / name)
    (folder / "instances.json").write_text(json.dumps(instances(names)))
    with (folder / "refs(unc).p").open("wb") as file:
        pickle.dump(references or refcoco_references(), file, protocol=2)
    return folder


def refcoco_references() -> list[dict]:
    return [
        reference(1, 1, 10, "train", "red square", "the left thing"),
        reference(2, 1, 11, "train", "blue disc"),
        reference(3, 2, 20, "testA", "square"),
    ]


def write_grefcoco(folder: Path, references: list[dict] | None = None) -> Path:
    names = ("a.jpg", "b.jpg")
    for name in names:
        write_image(folder / "images" / name)
    (folder / "instances.json").write_text(json.dumps(instances(names)))
    default = [
        {**reference(1, 1, [10, 11], "train", "both things"), "no_target": False},
        {**reference(2, 1, [-1], "train", "the pizza"), "no_target": True},
        {**reference(3, 2, [21], "train", "disc"), "no_target": False},
    ]
    (folder / "grefs(unc).json").write_text(json.dumps(references or default))
    return folder


def write_reason_seg(folder: Path) -> Path:
    write_image(folder / "train" / "000.jpg")
    x0, y0, x1, y1 = SQUARE
    shapes = [
        {"label": "target", "shape_type": "polygon", "points": corners(x0, y0, x1, y1)},
        {"label": "ignore", "shape_type": "polygon", "points": corners(x0, y0, x0 + 6, y0 + 6)},
        {"label": "flag", "shape_type": "polygon", "points": [[0, 0], [1, 1]]},
    ]
    fields = {"text": ["what would you stack?"], "is_sentence": True, "shapes": shapes}
    (folder / "train" / "000.json").write_text(json.dumps(fields))
    return folder


def corners(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def own_entries() -> list[dict[str, Any]]:
    return [
        {"image": "a.png", "expression": "the square", "mask": "a_square.png"},
        {"image": "a.png", "expressions": ["disc", "round thing"], "mask": encode(disc_mask())},
        {"image": "a.png", "expression": "the pizza", "mask": None},
        {"image": "b.png", "expression": "the square", "mask": [square_polygon()]},
        {"image": "b.png", "expression": "disc", "mask": encode(disc_mask()), "split": "test"},
    ]


def write_own(
    folder: Path, entries: list[dict[str, Any]] | None = None, *, lines: bool = True
) -> Path:
    for name in ("a.png", "b.png"):
        write_image(folder / name)
    cv2.imwrite(str(folder / "a_square.png"), square_mask().astype(np.uint8) * 255)
    entries = own_entries() if entries is None else entries
    if lines:
        text = "".join(json.dumps(each) + "\n" for each in entries)
        (folder / "annotations.jsonl").write_text(text)
    else:
        (folder / "annotations.json").write_text(json.dumps(entries))
    return folder
