# SPDX-License-Identifier: Apache-2.0
"""``mllmseg data``: check a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_group, add_images, add_verb, require
from mllmseg_ros.cli.files import check_image_files


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    check = add_verb(
        add_group(verbs, "data", "check data sets of referring expressions"),
        "check",
        "list all problems of a data set, and draw samples",
        "mllmseg data check tools -o sheet.png",
        "mllmseg data check refcoco --split val --images train2014",
    )
    check.add_argument(
        "folder",
        type=Path,
        help="RefCOCO (+, g, gRefCOCO), ReasonSeg, parquet files, OCID-VLG, OCID-Ref, RoboRefIt, "
        "RefSpatial-Bench, or your own data",
    )
    check.add_argument("--split", help="split of the data set (default: train)")
    add_images(check)
    check.add_argument("-o", "--output", type=Path, help="contact sheet to write (PNG)")
    check.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> None:
    require("train", "pycocotools")
    check_image_files(arguments.output)
    from mllmseg_ros.data.check import check, contact_sheet
    from mllmseg_ros.data.dataset import read_samples
    from mllmseg_ros.data.review import count_unreviewed
    from mllmseg_ros.drawing.image_file import write_image

    report = check(read_samples(arguments.folder, arguments.split, arguments.images))
    print(report)
    if n := count_unreviewed(arguments.folder):
        print(f"{n} entries need review and are not counted: mllmseg review {arguments.folder}")
    if arguments.output is not None and report.samples:
        write_image(arguments.output, contact_sheet(report.samples))
    if n := sum(not problem.is_used for problem in report.problems):
        raise ValueError(f"{arguments.folder}: {n} entries cannot be used")
