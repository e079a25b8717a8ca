# SPDX-License-Identifier: Apache-2.0
"""``mllmseg models``: list, download and verify checkpoints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    models = verbs.add_parser(
        "models", help="list, download and verify checkpoints"
    ).add_subparsers(required=True, metavar="VERB")
    models.add_parser(
        "list", help="list published checkpoints, their size, and whether they are downloaded"
    ).set_defaults(run=_list_models)
    download = models.add_parser("download", help="download a checkpoint (resumes)")
    download.add_argument("name", help="name from mllmseg models list, or owner/name")
    download.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="target folder (default: the cache that --model searches)",
    )
    download.set_defaults(run=_download)
    verify = models.add_parser(
        "verify", help="check shards, headers, lengths and checksums; needs no network"
    )
    verify.add_argument("model", nargs="?", help="folder or name (default: embedded model)")
    verify.set_defaults(run=_verify)


def _list_models(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import EMBEDDED, PUBLISHED, is_downloaded
    from mllmseg_ros.checkpoints.integrity import count_values

    print(f"{'name':28}{'bfloat16':>9}  here")
    print(f"{'(embedded)':28}{count_values(EMBEDDED) * 2e-9:6.2f} GB  yes")
    for checkpoint in PUBLISHED:
        here = "yes" if is_downloaded(checkpoint) else f"mllmseg models download {checkpoint.name}"
        print(f"{checkpoint.name:28}{checkpoint.n_bytes() / 1e9:6.2f} GB  {here}")


def _download(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import download

    print(download(arguments.name, arguments.to, report=lambda line: print(line, file=sys.stderr)))


def _verify(arguments: argparse.Namespace) -> None:
    from mllmseg_ros.checkpoints.hub import find_checkpoint
    from mllmseg_ros.checkpoints.integrity import check

    folder = find_checkpoint(arguments.model)
    report = check(folder)
    for problem in report.problems:
        print(problem)
    print(f"{folder}: {report.checked}")
    if report.problems:
        raise ValueError(f"{folder} is damaged or incomplete: {len(report.problems)} problem(s)")
