# SPDX-License-Identifier: Apache-2.0
"""``mllmseg data``: look a data set through."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_images, require
from mllmseg_ros.cli.files import write_image


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    check = (
        verbs.add_parser("data", help="data sets of referring expressions")
        .add_subparsers(required=True, metavar="VERB")
        .add_parser("check", help="look a data set through: all problems at once, and a picture")
    )
    check.add_argument("folder", type=Path, help="RefCOCO and its like, ReasonSeg, or your own")
    check.add_argument("--split", help="which part of it; default: train")
    add_images(check)
    check.add_argument("-o", "--output", type=Path, help="contact sheet to write (PNG)")
    check.set_defaults(run=_check)


def _check(asked: argparse.Namespace) -> None:
    require("train", "pycocotools")
    from mllmseg_ros.data.check import check, contact_sheet
    from mllmseg_ros.data.dataset import read_samples
    from mllmseg_ros.data.review import waiting

    report = check(read_samples(asked.folder, asked.split, asked.images))
    print(report)
    if n := waiting(asked.folder):
        print(f"{n} entries wait for review and are not counted; mllmseg review {asked.folder}")
    if asked.output is not None:
        write_image(contact_sheet(report.samples), asked.output)
    if report.problems:
        raise ValueError(f"{asked.folder}: {len(report.problems)} entries cannot be used")
