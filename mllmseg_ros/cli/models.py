# SPDX-License-Identifier: Apache-2.0
"""``mllmseg models``: list, download and verify checkpoints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mllmseg_ros.cli.arguments import add_group, add_verb
from mllmseg_ros.cli.files import check_output_folder


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    models = add_group(verbs, "models", "list, download and verify checkpoints")
    add_verb(
        models,
        "list",
        "list published checkpoints, their size, and whether they are downloaded",
        "mllmseg models list",
    ).set_defaults(run=_list_models)
    download = add_verb(
        models,
        "download",
        "download a checkpoint (resumes)",
        "mllmseg models download MLLMSeg_InternVL2_5_1B_RES",
        "mllmseg models download MLLMSeg_InternVL2_5_8B_GRES --to /data/gres",
    )
    download.add_argument("name", help="name from mllmseg models list, or owner/name")
    download.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="target folder (default: the cache that --model searches)",
    )
    download.set_defaults(run=_download)
    verify = add_verb(
        models,
        "verify",
        "check shards, headers, lengths and checksums; needs no network",
        "mllmseg models verify MLLMSeg_InternVL2_5_1B_RES",
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

    if arguments.to is not None:
        check_output_folder(arguments.to)
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
