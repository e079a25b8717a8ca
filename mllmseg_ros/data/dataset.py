# SPDX-License-Identifier: Apache-2.0
"""Read data sets of any format, recognised by the files in the folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mllmseg_ros.data import json_folder, reason_seg, refcoco
from mllmseg_ros.data.sample import Problem, Sample

# Usual places of the images of RefCOCO and similar data sets, from the annotations' folder.
_IMAGE_FOLDERS = (
    "images",
    "../images/mscoco/images/train2014",
    "../../train2014",
    "../train2014",
    "../images/saiapr_tc-12",
)


def read_samples(
    folder: Path, split: str | None = None, images: Sequence[Path] = ()
) -> Iterator[Sample | Problem]:
    """Read a data set of any known format.

    Args:
        folder: RefCLEF, RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO (``instances.json`` beside the
            references, or the file with the references itself), ReasonSeg (a folder per split) or
            your own (``annotations.jsonl``).
        split: which part of it; None for "train".
        images: folders with the images, for RefCOCO and similar data sets; none for the usual
            places.

    Yields:
        Samples, and entries that cannot be used.

    Raises:
        ValueError: if the folder as a whole cannot be used.
    """
    split = split or json_folder.DEFAULT_SPLIT
    if folder.is_file():
        return refcoco.read_references(folder, split, _find_images(folder.parent, images))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    if json_folder.find_annotation_file(folder) is not None:
        return json_folder.read_json_folder(folder, split)
    if refcoco.find_references(folder) or (folder / refcoco.INSTANCES).is_file():
        return refcoco.read_references(folder, split, _find_images(folder, images))
    if reason_seg.list_splits(folder):
        return reason_seg.read_reason_seg(folder, split)
    own = " or ".join(json_folder.ANNOTATIONS)
    raise ValueError(
        f"{folder}: no data set in a known format; expected {own}, {refcoco.INSTANCES} with "
        "refs(…).p or grefs(…).json, or ReasonSeg's folders of JSON files"
    )


def load_samples(
    folder: Path, split: str | None = None, images: Sequence[Path] = ()
) -> list[Sample]:
    """Read a data set, of which every entry must be valid.

    Raises:
        ValueError: naming the first entry that cannot be used, or why there is no sample.
    """
    samples: list[Sample] = []
    for each in read_samples(folder, split, images):
        if isinstance(each, Problem):
            raise ValueError(f"{each} (`mllmseg data check {folder}` lists all)")
        samples.append(each)
    if not samples:
        raise ValueError(f"{folder}: no sample in it")
    return samples


def _find_images(folder: Path, named: Sequence[Path]) -> Sequence[Path]:
    found = named or [folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()]
    if found:
        return found
    raise ValueError(
        f"{folder}: no images found beside the annotations; name their folder with --images"
    )
