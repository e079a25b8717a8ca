# SPDX-License-Identifier: Apache-2.0
"""``mllmseg models``: which checkpoints are here, bring one here, is it whole."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    models = verbs.add_parser("models", help="checkpoints on this machine").add_subparsers(
        required=True, metavar="VERB"
    )
    models.add_parser(
        "list", help="published checkpoints, their size, and which are here"
    ).set_defaults(run=_list_models)
    download = models.add_parser("download", help="bring one here; a second call goes on")
    download.add_argument("name", help="as mllmseg models list has it, or owner/name")
    download.add_argument("--to", type=Path, metavar="FOLDER", help="default: where it is found")
    download.set_defaults(run=_download)
    verify = models.add_parser("verify", help="shards, headers, lengths and sums; no network")
    verify.add_argument("model", nargs="?", help="folder or name; default: the embedded model")
    verify.set_defaults(run=_verify)


def _list_models(asked: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import EMBEDDED, PUBLISHED, is_downloaded
    from mllmseg_ros.checkpoints.integrity import count_values

    print(f"{'name':28}{'bfloat16':>9}  here")
    print(f"{'(embedded)':28}{count_values(EMBEDDED) * 2e-9:6.2f} GB  yes")
    for each in PUBLISHED:
        here = "yes" if is_downloaded(each) else f"mllmseg models download {each.name}"
        print(f"{each.name:28}{each.n_bytes() / 1e9:6.2f} GB  {here}")


def _download(asked: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import download

    print(download(asked.name, asked.to, report=lambda line: print(line, file=sys.stderr)))


def _verify(asked: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.checkpoints.integrity import check

    folder = find_checkpoint(asked.model)
    report = check(folder)
    for problem in report.problems:
        print(problem)
    print(f"{folder}: {report.checked}")
    if report.problems:
        raise ValueError(f"{folder} is not whole: {len(report.problems)} problem(s)")
