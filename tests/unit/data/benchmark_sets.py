# SPDX-License-Identifier: Apache-2.0
"""Small copies of public benchmarks in their real formats, with the square and the disc.

The layouts are those of the data sets' own readers and cards, which the loaders name; only the
pixels and the sentences are made up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from data_sets import HEIGHT, WIDTH, disc_mask, square_mask, write_image

from mllmseg_ros.data.region import encode

SCENE = "ARID20/table/top/curved/seq01"
NAME = "result_2018-08-24-15-20-44.png"
DEPTH_MM = 850
GRASP = [[10.0, 12.0], [10.0, 28.0], [26.0, 28.0], [26.0, 12.0]]  # across the square


def png(mask: np.ndarray) -> bytes:
    """A mask as a PNG of 0 and 255."""
    encoded, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    assert encoded
    return data.tobytes()


def encoded_image(folder: Path) -> bytes:
    """The bytes of the image."""
    path = folder / "encoded_image.png"
    write_image(path)
    data = path.read_bytes()
    path.unlink()
    return data


def write_table(path: Path, columns: dict[str, Any], schema: Any = None, **options: Any) -> Path:
    """A parquet file, as the datasets library writes it."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path, **options)
    return path


def write_refspatial_parquet(folder: Path) -> Path:
    """RefSpatial-Bench: a file per split, images and masks in structures of bytes and path."""
    import pyarrow

    folder.mkdir(parents=True, exist_ok=True)
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64()), ("image", image), ("mask", image),
            ("object", pyarrow.string()), ("prompt", pyarrow.string()),
            ("suffix", pyarrow.string()), ("step", pyarrow.int64()),
        ]
    )  # fmt: skip
    data = encoded_image(folder)
    for split, things in (
        ("location", [("the square", square_mask(), 1), ("the disc on the right", disc_mask(), 2)]),
        ("placement", [("the free space between square and disc", ~square_mask(), 2)]),
    ):
        n = range(len(things))
        columns = {
            "id": list(n),
            "image": [{"bytes": data, "path": f"{i}.png"} for i in n],
            "mask": [
                {"bytes": png(mask), "path": f"{i}.png"} for i, (_, mask, _) in enumerate(things)
            ],
            "object": [thing for thing, _, _ in things],
            "prompt": [f"Please point out {thing}." for thing, _, _ in things],
            "suffix": ["Your answer should be formatted as a list of tuples."] * len(things),
            "step": [step for _, _, step in things],
        }
        # A row group per row, so that images lie in several.
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        write_table(path, columns, schema, row_group_size=1)
    return folder


def write_pbench(
    folder: Path, rows: list[tuple[str, list[Any]]] | None = None, image: bytes = b""
) -> Path:
    """PBench: run lengths of every instance, none where there is no such thing."""
    import pyarrow

    folder.mkdir(parents=True, exist_ok=True)
    masks = pyarrow.list_(
        pyarrow.struct([("size", pyarrow.list_(pyarrow.int64())), ("counts", pyarrow.string())])
    )
    schema = pyarrow.schema(
        [
            ("image", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("expression", pyarrow.string()), ("masks", masks), ("count", pyarrow.int32()),
            ("id", pyarrow.int64()),
        ]
    )  # fmt: skip
    if rows is None:
        rows = [
            ("things", [encode(square_mask()), encode(disc_mask())]),
            ("square", [encode(square_mask())]),
            ("pizza", []),
        ]
    data = image or encoded_image(folder)
    for level in ("level_0", "level_1"):
        columns = {
            "image": [{"bytes": data, "path": None}] * len(rows),
            "expression": [text for text, _ in rows],
            "masks": [runs for _, runs in rows],
            "count": [len(runs) for _, runs in rows],
            "id": list(range(len(rows))),
        }
        write_table(folder / "data" / f"{level}-00000-of-00001.parquet", columns, schema)
    return folder


def write_refspatial(folder: Path) -> Path:
    """RefSpatial-Bench's raw files."""
    write_image(folder / "Location" / "image" / "0.png")
    mask = folder / "Location" / "mask" / "0.png"
    mask.parent.mkdir()
    mask.write_bytes(png(square_mask()))
    question = {
        "id": 0, "object": "the square", "prompt": "Please point out the square.",
        "suffix": "Your answer should be formatted as a list of tuples.",
        "rgb_path": "image/0.png", "mask_path": "mask/0.png", "category": "location", "step": 1,
    }  # fmt: skip
    (folder / "Location" / "question.json").write_text(json.dumps([question]))
    return folder


def write_ocid_images(root: Path, labels: str) -> None:
    """One image of OCID with depth, and the numbers of its objects: 3 the square, 7 the disc."""
    write_image(root / SCENE / "rgb" / NAME)
    numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
    numbers[square_mask()], numbers[disc_mask()] = 3, 7
    depth = np.full((HEIGHT, WIDTH), DEPTH_MM, np.uint16)
    depth[0, 0] = 0
    for name, values in ((labels, numbers), ("depth", depth)):
        path = root / SCENE / name / NAME
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), values)


def vlg_entries() -> list[dict[str, Any]]:
    def entry(index: int, text: str, answer: int, template: str, *steps: str) -> dict[str, Any]:
        return {
            "image_filename": f"{SCENE},{NAME}", "question_index": index, "question": text,
            "answer": answer, "target": "square_1" if answer == 3 else "disc_1",
            "box": [8, 10, 20, 20] if answer == 3 else [39, 15, 19, 19],
            "grasps": [GRASP] if answer == 3 else [],
            "template_filename": f"{template}.json",
            "program": [{"type": step} for step in ("scene", *steps, "unique", "return")],
        }  # fmt: skip

    return [
        entry(0, "Pick the square", 3, "name", "filter_category"),
        entry(1, "Grasp the disc right of the square", 7, "relation", "relate"),
        entry(2, "Grasp the red thing left of the disc", 3, "relation", "relate", "filter_color"),
    ]


def write_ocid_vlg(root: Path, entries: list[dict[str, Any]] | None = None) -> Path:
    write_ocid_images(root, "seg_mask_instances_combi")
    folder = root / "refer" / "multiple"
    folder.mkdir(parents=True)
    content = {"info": {}, "data": vlg_entries() if entries is None else entries}
    (folder / "test_expressions.json").write_text(json.dumps(content))
    return root


def ref_entries() -> dict[str, dict[str, Any]]:
    def entry(text: str, instance: int, box: str, take: int) -> dict[str, Any]:
        return {
            "seq_id": 1, "scene_id": 12, "take_id": take, "scene_path": f"{SCENE}/rgb/{NAME}",
            "sequence_path": SCENE, "sub_dataset": "ARID20", "instance_id": 5527,
            "scene_instance_id": instance, "class": "thing", "class_instance": "thing_1",
            "sentence": text, "tokens": text.split(), "bbox": box, "sentence_type": "attribute",
        }  # fmt: skip

    return {
        "83152": entry("the red square", 3, "[8, 10, 28, 30]", 4),
        "83153": entry("the blue disc", 7, "[39, 15, 58, 34]", 18),
    }


def write_ocid_ref(folder: Path, entries: dict[str, Any] | None = None) -> Path:
    write_ocid_images(folder / "OCID-dataset", "label")
    content = ref_entries() if entries is None else entries
    (folder / "test_expressions.json").write_text(json.dumps(content))
    return folder


def write_roborefit(folder: Path, **changed: Any) -> Path:
    split = folder / "final_dataset" / "testA"
    write_image(split / "image" / "0000000.png")
    entries = []
    for name, mask, box in (
        ("square", square_mask(), [8, 10, 28, 30]),
        ("disc", disc_mask(), [39, 15, 58, 34]),
    ):
        path = split / "mask" / "0000000" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(mask))
        entry = {
            "num": len(entries), "text": f"pick up the {name}", "bbox": box,
            "rgb_path": "final_dataset\\testA\\image\\0000000.png",
            "depth_path": "final_dataset\\testA\\depth\\0000000.png",
            "mask_path": f"final_dataset\\testA\\mask\\0000000\\{name}.png",
            "scene": "table" if name == "disc" else "shelf", "class": name,
        }  # fmt: skip
        entries.append({**entry, **changed})
    depth = np.full((HEIGHT, WIDTH), DEPTH_MM, np.uint16)
    (split / "depth").mkdir()
    assert cv2.imwrite(str(split / "depth" / "0000000.png"), depth)
    (split / "roborefit_testA.json").write_text(json.dumps(entries))
    return folder
