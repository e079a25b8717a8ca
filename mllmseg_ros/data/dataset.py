# SPDX-License-Identifier: Apache-2.0
"""Read data sets of any format, recognised by the files in the folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from mllmseg_ros.data import json_folder, ocid, parquet, reason_seg, refcoco, refspatial, roborefit
from mllmseg_ros.data.check import check
from mllmseg_ros.data.foreign_format import name_foreign_file
from mllmseg_ros.data.sample import Problem, Sample, Skipped
from mllmseg_ros.files import show

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
) -> Iterator[Sample | Problem | Skipped]:
    """Read a data set of any known format.

    Args:
        folder: RefCLEF, RefCOCO, RefCOCO+, RefCOCOg or gRefCOCO (``instances.json`` beside the
            references, or the file with the references itself), ReasonSeg or RefSpatial-Bench (a
            folder per split), parquet files or one of them, OCID-VLG or OCID-Ref
            (``<split>_expressions.json``), RoboRefIt, or your own (``annotations.jsonl``).
        split: which part of it; None for "train", or the only one of parquet files.
        images: folders with the images, for RefCOCO and similar data sets and OCID; none for the
            usual places.

    Yields:
        Samples, entries that cannot be used, and how many ask for nothing.

    Raises:
        ValueError: if the folder as a whole cannot be used.
    """
    if json_folder.find_annotation_file(folder) is None and parquet.find_parquet_files(folder):
        return parquet.read_parquet(folder, split)
    split = split or json_folder.DEFAULT_SPLIT
    if folder.is_file():
        return refcoco.read_references(folder, split, _find_images(folder.parent, images))
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    if json_folder.find_annotation_file(folder) is not None:
        return json_folder.read_json_folder(folder, split)
    if refcoco.find_references(folder) or (folder / refcoco.INSTANCES).is_file():
        return refcoco.read_references(folder, split, _find_images(folder, images))
    if (expressions := ocid.find_expressions(folder)) is not None:
        return ocid.read_ocid(expressions, split, images)
    if (splits := roborefit.find_roborefit(folder)) is not None:
        return roborefit.read_roborefit(splits, split)
    if refspatial.list_splits(folder):
        return refspatial.read_refspatial(folder, split)
    if foreign := name_foreign_file(
        [*sorted(folder.glob("[!.]*.json")), *reason_seg.list_files(folder)]
    ):
        raise ValueError(foreign)
    if reason_seg.list_splits(folder):
        return reason_seg.read_reason_seg(folder, split)
    own = " or ".join(json_folder.ANNOTATIONS)
    raise ValueError(
        f"{folder}: no data set in a known format; expected {own}, {refcoco.INSTANCES} with "
        "refs(…).p or grefs(…).json, ReasonSeg's folders of JSON files, *.parquet, or the files of "
        "OCID-VLG, OCID-Ref, RoboRefIt or RefSpatial-Bench"
    )


def load_samples(
    folder: Path, split: str | None = None, images: Sequence[Path] = ()
) -> list[Sample]:
    """Read and check a data set; what cannot be used is skipped, and stderr says how much.

    Every image and mask is decoded once, so that none ends a training that has begun.

    Raises:
        ValueError: if there is no sample, or the folder as a whole cannot be used.
    """
    report = check(read_samples(folder, split, images))
    problems = report.problems
    if not report.samples:
        if not problems:
            raise ValueError(f"{folder}: no sample in it")
        raise ValueError(
            f"{folder}: no entry can be used; {problems[0]} "
            f"(`mllmseg data check {folder}` lists all {len(problems)} problems)"
        )
    lines = [str(skipped) for skipped in report.skipped]
    if problems:
        n_lost = sum(not problem.is_used for problem in problems)
        lines.append(
            f"{n_lost} entries cannot be used and are skipped, {len(problems) - n_lost} are "
            f"doubtful or used in part; the first: {problems[0]} (`mllmseg data check` lists all)"
        )
    for line in lines:
        print(f"{show(folder)}: {line}", file=sys.stderr)
    return list(report.samples)


def _find_images(folder: Path, named: Sequence[Path]) -> Sequence[Path]:
    found = named or [folder / name for name in _IMAGE_FOLDERS if (folder / name).is_dir()]
    if found:
        return found
    raise ValueError(
        f"{folder}: no images found beside the annotations; name their folder with --images"
    )
